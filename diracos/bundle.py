"""Packs a version of DIRAC into one file, the bundle, from which hosts make their environment.

::

    bundle.json         name and version
    requirements.txt    the locked packages that it needs, with hashes
    wheels/             the package itself; with --with-packages all that it needs, for hosts without network
    pilot/              what the release tree for pilots is made with

The name is a digest of what went in: equal sources give the same name, before anything is built.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
_LOCKS = ("requirements/server.txt", "requirements/build.txt")
_FOLDERS = ("src", "pilot")


class BundleError(Exception):
    """The bundle cannot be made; the text says why and what to do."""


def sources(tree: Path) -> Iterator[Path]:
    """Return the files of a source tree that decide what is installed, in order.

    Raises:
        BundleError: It is no source tree of DIRAC.
    """
    heads = [tree / "pyproject.toml", *(tree / lock for lock in _LOCKS)]
    for file in heads:
        if not file.is_file():
            raise BundleError(f"{tree} is no source tree of DIRAC: {file.relative_to(tree)} is not there")
    yield from heads
    for folder in _FOLDERS:
        for path in sorted((tree / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.name != "_version.py":
                yield path


def digest(tree: Path) -> str:
    """Return the name that the bundle of a source tree has."""
    total = hashlib.sha256()
    for path in sources(tree):
        total.update(str(path.relative_to(tree)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:12]


def make(tree: Path, target: Path, *, name: str, uv: str, python: str, packages_for: str = "") -> None:
    """Build the package of a source tree and write its bundle, all or nothing.

    Args:
        tree: The source tree.
        target: The file to write.
        name: Name of the environments made from it.
        uv: The program uv.
        python: Python for the build; has pip if packages are packed too.
        packages_for: Version of the hosts' Python, as 3.11, to pack all that it needs; empty for nothing.

    Raises:
        BundleError: A step failed; nothing was written.
    """
    with tempfile.TemporaryDirectory(prefix="dirac-bundle-") as work:
        wheels = Path(work)
        constraints = str(tree / "requirements/build.txt")
        _run(uv, "build", "--quiet", "--wheel", "--python", python, "--build-constraints", constraints,
             "--out-dir", work, str(tree))  # fmt: skip
        (wheels / ".gitignore").unlink(missing_ok=True)
        if packages_for:
            _run(python, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:",
                 "--python-version", packages_for, "--dest", work,
                 "-r", str(tree / "requirements/server.txt"))  # fmt: skip
        _pack(tree, wheels, target, name=name, complete=bool(packages_for))


def pack_wheels(tree: Path, wheels: Path, target: Path, *, name: str) -> None:
    """Write the bundle of wheels that are there: the package, and all that it needs.

    Args:
        tree: Source tree that the pilot's files are taken from.
        wheels: Directory of the wheels.
        target: The file to write.
        name: Name of the environments made from it.
    """
    _pack(tree, wheels, target, name=name, complete=True)


def _pack(tree: Path, wheels: Path, target: Path, *, name: str, complete: bool) -> None:
    found = sorted(wheels.glob("*.whl"))
    own = next(wheel for wheel in found if wheel.name.startswith("dirac_interware-"))
    facts = {"name": name, "version": own.name.split("-")[1], "complete": complete}
    files = {
        "bundle.json": json.dumps(facts, sort_keys=True).encode(),
        "requirements.txt": (tree / "requirements/server.txt").read_bytes(),
    }
    files |= {f"wheels/{path.name}": path.read_bytes() for path in found}
    files |= {
        str(path.relative_to(tree)): path.read_bytes()
        for path in sources(tree)
        if path.is_relative_to(tree / "pilot") and path.suffix == ".py"
    }
    _write(target, files)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BundleError(f"{command[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise BundleError(f"{' '.join(command[:3])} failed; is the package index reachable?\n{said}")


def _write(target: Path, files: dict[str, bytes]) -> None:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(packed.getvalue())
    part.replace(target)


def main() -> int:
    """Make a bundle as told by the command line."""
    parser = argparse.ArgumentParser(description="Pack a version of DIRAC into one file.")
    parser.add_argument("--tree", type=Path, default=CHECKOUT, help="source tree (default: this checkout)")
    parser.add_argument("--out", type=Path, required=True, help="file to write, NAME.tar.gz")
    parser.add_argument("--name", help="name of its environments (default: a digest of the sources)")
    parser.add_argument("--uv", default="uv", help="the program uv")
    parser.add_argument("--python", default=sys.executable, help="Python for the build")
    parser.add_argument(
        "--with-packages",
        metavar="PYTHON",
        default="",
        help="pack all that it needs for this Python, as 3.11",
    )
    given = parser.parse_args()
    try:
        name = given.name or digest(given.tree)
        make(
            given.tree,
            given.out,
            name=name,
            uv=given.uv,
            python=given.python,
            packages_for=given.with_packages,
        )
    except BundleError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    digested = hashlib.sha256(given.out.read_bytes()).hexdigest()
    sys.stdout.write(json.dumps({"name": name, "sha256": digested}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
