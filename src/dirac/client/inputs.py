"""The local files that a description names in its input sandbox.

``InputSandbox`` may name files of the submitter's machine, relative to a directory, with ``~`` and wildcards,
and whole directories. They travel in one archive, flat as the job finds them: a file under its own name, a
directory with what is below it. What begins with ``LFN:``, ``SB:`` or ``/S3/`` stays as it is.
"""

from __future__ import annotations

import glob
from pathlib import Path

from dirac.core.errors import InvalidInputError
from dirac.formats.jdl import Jdl, Value, dump
from dirac.formats.parametric import expand

_ATTRIBUTE = "InputSandbox"
_REMOTE = ("LFN:", "SB:", "/S3/")
_MOST_JOBS = 100_000


def local_files(jdl: Jdl, base_dir: Path) -> dict[str, Path]:
    """Return the local files that a description needs, by their name in the job's directory.

    Those of a parametric description are the files of all its jobs together.

    Args:
        jdl: The description.
        base_dir: The directory that relative names are relative to.

    Raises:
        InvalidInputError: One is not there, two have the same name, or the parameters are wrong.
    """
    if not _local(jdl):
        return {}
    wanted = dict.fromkeys(item for job in expand(jdl, limit=_MOST_JOBS) for item in _local(job))
    members: dict[str, Path] = {}
    for item in wanted:
        for name, path in _found(item, base_dir):
            if members.setdefault(name, path) != path:
                raise InvalidInputError(
                    f"{members[name]} and {path} would both be {name} in the job's directory",
                    where=_ATTRIBUTE,
                    hint="Rename one of them",
                )
    return members


def with_reference(jdl: Jdl, reference: str) -> str:
    """Return the text of a description with an uploaded archive in the place of its local files."""
    rewritten = Jdl(jdl)
    rewritten[_ATTRIBUTE] = [*(item for item in _items(jdl) if _is_remote(item)), reference]
    return dump(rewritten)


def _items(jdl: Jdl) -> list[Value]:
    """Return the items as the server will read them: one text is a list with commas."""
    value = jdl.get(_ATTRIBUTE)
    if value is None:
        return []
    if isinstance(value, str):
        return [text for part in value.split(",") if (text := part.strip())]
    return value if isinstance(value, list) else [value]


def _is_remote(item: Value) -> bool:
    return not isinstance(item, str) or not item.strip() or item.strip().upper().startswith(_REMOTE)


def _local(jdl: Jdl) -> list[str]:
    return [str(item).strip() for item in _items(jdl) if not _is_remote(item)]


def _found(item: str, base_dir: Path) -> list[tuple[str, Path]]:
    start = (base_dir / Path(item).expanduser()).absolute()
    paths = [start] if start.exists() else [Path(name) for name in sorted(glob.glob(str(start)))]  # noqa: PTH207
    if not paths:
        raise InvalidInputError(f"there is no file {start}", where=_ATTRIBUTE)
    found: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(below for below in path.rglob("*") if below.is_file())
            found += [(f"{path.name}/{below.relative_to(path).as_posix()}", below) for below in inside]
        else:
            found.append((path.name, path))
    return found
