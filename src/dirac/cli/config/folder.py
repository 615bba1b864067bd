"""A directory with the files of a configuration, and what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dirac.core.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from dirac.client import Client

MARK = ".dirac-config.json"
_AT_ONCE = 50


class Edit(NamedTuple):
    """What a directory has other than a version.

    Attributes:
        changed: Texts by name of the file.
        removed: Names of files that are gone.
        base: The version; None if nobody wrote down which one it was.
    """

    changed: dict[str, str]
    removed: list[str]
    base: int | None


def texts(folder: Path) -> dict[str, str]:
    """Return the YAML files below a directory, by their names from there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if path.suffix in (".yml", ".yaml") and path.is_file() and not hidden:
            found[name] = read(path)
    if not found:
        raise InvalidInputError(
            f"there is no file with the ending .yml or .yaml in {folder}",
            hint=f"Get the current files: dirac config pull {folder}",
        )
    return found


def read(path: Path) -> str:
    """Return what a file says.

    Raises:
        InvalidInputError: It cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def edit(dirac: Client, folder: Path, base: int | None) -> Edit:
    """Compare a directory with the version that it was made from, or with the current one."""
    here = texts(folder)
    base = base if base is not None else marked_version(folder)
    known = {each.name: each.digest for each in dirac.config.files(version=base).files}
    changed = {name: text for name, text in here.items() if known.get(name) != digest(text)}
    return Edit(changed, sorted(known.keys() - here.keys()), base)


def pull(dirac: Client, folder: Path, version: int | None, *, applied: Sequence[str] = ()) -> list[str]:
    """Bring the files of a version into a directory; return the names of those that were written or removed.

    Args:
        dirac: The client.
        folder: The directory.
        version: The version; None for the current one.
        applied: Files that are the server's already, whatever is in them.

    Raises:
        ConflictError: A file was changed here since, and would be overwritten.
    """
    listed = dirac.config.files(version=version)
    there = {each.name: each.digest for each in listed.files}
    before: Mapping[str, str] = _mark(folder).get("files", {})
    present = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*.y*ml")} if folder.is_dir() else set()
    )
    here = {name: digest(read(folder / name)) for name in (there.keys() | before.keys()) & present}
    edited = [
        name
        for name, found in here.items()
        if found not in (there.get(name), before.get(name)) and name not in applied
    ]
    if edited:
        raise ConflictError(
            f"changed here, and not applied: {', '.join(edited[:10])}",
            hint="Apply the change first, or move these files away",
        )
    wanted = [name for name, found in there.items() if here.get(name) != found]
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        for each in dirac.config.files(version=listed.version, names=some).files:
            path = folder / each.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(each.text or "", "utf-8")
    gone = [name for name in here if name not in there]
    for name in gone:
        (folder / name).unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(json.dumps({"version": listed.version, "files": there}, indent=1) + "\n")
    return sorted([*wanted, *gone])


def digest(text: str) -> str:
    """Return the name of a text: its SHA-256, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def marked_version(folder: Path) -> int | None:
    """Return the version that a directory has the files of; None if nobody wrote that down."""
    version = _mark(folder).get("version")
    return version if isinstance(version, int) else None


def _mark(folder: Path) -> dict[str, Any]:
    path = folder / MARK
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise InvalidInputError(f"{path} is damaged", hint="Remove it, and give --base") from None
    return found if isinstance(found, dict) else {}
