"""Builds the pilot and the launcher of worker nodes: `dirac-pilot.py`, `dirac-node.py`, and their check sums.

Each is an archive that every Python from 2.7 on runs as it is: `python dirac-pilot.py`. Nothing from the
directory it is started in can take the place of one of its modules. The same sources and the same version
give the same bytes, on every machine.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

PILOT_FILE = "dirac-pilot.py"
NODE_FILE = "dirac-node.py"
SUMS_FILE = "checksums.sha512"
SOURCE_VERSION = "0+source"
_SOURCES = Path(__file__).resolve().parent
_SHEBANG = b"#!/usr/bin/env python3\n"
_VERSION_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class BuildError(Exception):
    """The pilot or a release cannot be made as asked; the text says why and what to do."""


def check_version(version: str) -> str:
    """Return `version` if it can be the name of a directory.

    Raises:
        BuildError: If it cannot.
    """
    if not _VERSION_PATTERN.fullmatch(version) or version in ("pro", "pilot"):
        raise BuildError(
            f"{version!r} cannot be a version: letters, digits and . _ + - are allowed, not 'pro' or 'pilot'"
        )
    return version


def pilot_bytes(version: str = SOURCE_VERSION) -> bytes:
    """Return the content of `dirac-pilot.py`.

    Args:
        version: What the pilot calls itself in its report and towards the server.

    Raises:
        BuildError: If the version is not usable.
    """
    return _archive("dirac_pilot", version)


def node_bytes(version: str = SOURCE_VERSION) -> bytes:
    """Return the content of `dirac-node.py`, which shares modules with the pilot; otherwise as `pilot_bytes`."""
    return _archive("dirac_node", version)


def programs(version: str = SOURCE_VERSION) -> dict[str, bytes]:
    """Return the content of each program, by its name."""
    return {PILOT_FILE: pilot_bytes(version), NODE_FILE: node_bytes(version)}


def _archive(package: str, version: str) -> bytes:
    check_version(version)
    members = {"__main__.py": f'"""Starts the program."""\n\nfrom {package}.main import main\n\nmain()\n'}
    for folder in sorted({"dirac_pilot", package}):
        for path in sorted((_SOURCES / folder).glob("*.py")):
            members[f"{folder}/{path.name}"] = path.read_text(encoding="ascii")
    changed = members["dirac_pilot/version.py"].replace(f'"{SOURCE_VERSION}"', f'"{version}"')
    members["dirac_pilot/version.py"] = changed
    buffer = io.BytesIO()
    buffer.write(_SHEBANG)
    # Stored, not deflated: compressors differ from machine to machine, and the file is small.
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[name].encode("ascii"))
    return buffer.getvalue()


def sums_bytes(files: Mapping[str, bytes], algorithm: str) -> bytes:
    """Return check sums, one line of hash, two blanks and name for each file, as `sha512sum` prints them."""
    lines = [f"{hashlib.new(algorithm, files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return "".join(lines).encode("ascii")


def put_file(path: Path, content: bytes, mode: int = 0o644, *, check: bool = False) -> bool:
    """Make `path` hold this content and mode, in one step for its readers; return whether that was a change.

    Args:
        path: The file.
        content: What it shall hold.
        mode: Its permissions.
        check: Change nothing, only tell.
    """
    if path.is_file() and not path.is_symlink():
        same_mode = path.stat().st_mode & 0o7777 == mode
        if same_mode and path.read_bytes() == content:
            return False
    if not check:
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_bytes(content)
        part.chmod(mode)
        part.replace(path)
    return True


def build(output: Path, version: str = SOURCE_VERSION) -> list[Path]:
    """Write the programs and `checksums.sha512` into a directory.

    Args:
        output: The directory, made if it is not there.
        version: As for `pilot_bytes`.

    Returns:
        The files that changed.
    """
    files = programs(version)
    files[SUMS_FILE] = sums_bytes(files, "sha512")
    output.mkdir(parents=True, exist_ok=True)
    # The sums come last, so that whoever finds them finds the files.
    return [output / name for name in (PILOT_FILE, NODE_FILE, SUMS_FILE) if put_file(output / name, files[name])]


def main(arguments: list[str] | None = None) -> int:
    """Build as told by the command line; print what changed as JSON."""
    parser = argparse.ArgumentParser(description="Build the pilot and the launcher of worker nodes.")
    parser.add_argument("--output", type=Path, required=True, help="directory for the result")
    parser.add_argument("--version", default=SOURCE_VERSION, help="version the pilot reports")
    options = parser.parse_args(arguments)
    try:
        changed = build(options.output, options.version)
    except (BuildError, OSError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"changed": bool(changed), "files": [str(path) for path in changed]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
