"""Lays out a release as sites find it on CVMFS.

::

    <root>/dirac/<version>/<System>-<machine>/diracosrc      to be sourced; gives the environment
    <root>/dirac/<version>/<System>-<machine>/sha256sums     its check sum
    <root>/dirac/pro -> <version>                            the version in production
    <root>/dirac/pilot/dirac-pilot.py                        the pilot, with its settings and check sums
    <root>/dirac/pilot/dirac-node.py                         the launcher for nodes without a batch system
    <root>/dirac/pilot/pilot.json
    <root>/dirac/pilot/checksums.sha512

A second run with the same input changes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

if not __package__:  # run as a program
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pilot.build import SUMS_FILE, BuildError, check_version, programs, put_file, sums_bytes  # noqa: E402

AGENT = "dirac-agent"


class _Changes:
    """Makes changes, or in check mode only notes that they would be made."""

    def __init__(self, *, check: bool) -> None:
        self.check = check
        self.paths: list[str] = []

    def directory(self, path: Path) -> None:
        if path.is_dir() or str(path) in self.paths:
            return
        self.directory(path.parent)
        self.paths.append(str(path))
        if not self.check:
            path.mkdir()
            path.chmod(0o755)  # whatever the umask: pilots run as somebody else

    def file(self, path: Path, content: bytes) -> None:
        if put_file(path, content, check=self.check):
            self.paths.append(str(path))

    def link(self, path: Path, target: str) -> None:
        if path.is_symlink() and path.readlink() == Path(target):
            return
        self.paths.append(str(path))
        if not self.check:
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            part.symlink_to(target)
            part.replace(path)


def make_release(
    target_root: Path,
    version: str,
    venv_bin_dir: Path,
    *,
    settings: Mapping[str, object] | None = None,
    check: bool = False,
) -> list[str]:
    """Lay out a release and make it the one in production.

    Args:
        target_root: What takes the place of `/cvmfs/<repository>`.
        version: Name of the release.
        venv_bin_dir: The `bin` directory of its environment. Inside the release it is found relative to
            `diracosrc`, so that the whole can be moved; elsewhere by its path.
        settings: Further keys for `pilot.json`, over `cvmfs_locations`, which is `target_root`.
        check: Change nothing, only tell.

    Returns:
        The paths that changed (or would).

    Raises:
        BuildError: If the input is not usable; nothing was changed then.
        OSError: If the target cannot be written.
    """
    root, bin_dir = target_root.absolute(), venv_bin_dir.absolute()
    base = root / "dirac"
    _validate(base, version, bin_dir)
    changes = _Changes(check=check)
    home = base / version / f"{os.uname().sysname}-{os.uname().machine}"
    source = {"diracosrc": diracosrc(home, bin_dir)}
    changes.directory(home)
    changes.file(home / "diracosrc", source["diracosrc"])
    changes.file(home / "sha256sums", sums_bytes(source, "sha256"))
    _put_pilot(changes, base / "pilot", version, {"cvmfs_locations": [str(root)], **(settings or {})})
    changes.link(base / "pro", version)  # last: now everything it leads to is there
    return changes.paths


def _validate(base: Path, version: str, bin_dir: Path) -> None:
    check_version(version)
    if not os.access(bin_dir / AGENT, os.X_OK):
        raise BuildError(f"{bin_dir / AGENT} is not an executable file: install the distribution there first")
    if (base / "pro").exists() and not (base / "pro").is_symlink():
        raise BuildError(f"{base / 'pro'} is not a symbolic link: move it away")


def _put_pilot(changes: _Changes, folder: Path, version: str, settings: Mapping[str, object]) -> None:
    changes.directory(folder)
    files = {
        **programs(version),
        "pilot.json": (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode("ascii"),
    }
    for name in sorted(files):
        changes.file(folder / name, files[name])
    changes.file(folder / SUMS_FILE, sums_bytes(files, "sha512"))


def diracosrc(home: Path, bin_dir: Path) -> bytes:
    """Return the bash file that gives an environment, for the directory `home`."""
    environment = bin_dir.parent
    if environment.is_relative_to(home):
        place = '"$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"'
        place += "".join(f"/{shlex.quote(part)}" for part in environment.relative_to(home).parts)
    else:
        place = shlex.quote(str(environment))
    bin_name = shlex.quote(bin_dir.name)
    lines = [
        "# Source this in bash: it gives the environment of a DIRAC release.",
        f"export DIRACOS={place}",
        "unset PYTHONHOME PYTHONPATH",
        'case ":$PATH:" in',
        f'    ":$DIRACOS/"{bin_name}":"*) ;;',
        f'    *) export PATH="$DIRACOS/"{bin_name}"${{PATH:+:$PATH}}" ;;',
        "esac",
        "",
    ]
    return os.fsencode("\n".join(lines))


def main(arguments: list[str] | None = None) -> int:
    """Make a release as told by the command line; print what changed as JSON."""
    parser = argparse.ArgumentParser(description="Lay out a release as on CVMFS.")
    parser.add_argument("--root", type=Path, required=True, help="takes the place of /cvmfs/<repository>")
    parser.add_argument("--version", required=True, help="name of the release")
    parser.add_argument("--environment", type=Path, required=True, help="virtual environment that holds dirac-agent")
    parser.add_argument("--settings", type=Path, help="JSON file with further keys for pilot.json")
    parser.add_argument("--check", action="store_true", help="change nothing, only tell")
    options = parser.parse_args(arguments)
    try:
        settings = json.loads(options.settings.read_text()) if options.settings else None
        changed = make_release(
            options.root, options.version, options.environment / "bin", settings=settings, check=options.check
        )
    except (BuildError, OSError, ValueError) as error:
        print(f"release.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"changed": bool(changed), "files": changed, "version": options.version}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
