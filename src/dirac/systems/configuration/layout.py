"""A configuration as files: each makes a part of the tree, and together they make all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from msgspec import NODEFAULT, Struct, structs

from dirac.systems.configuration.models import Snapshot, Tree
from dirac.systems.configuration.ports import ConfigurationUnit
from dirac.systems.configuration.shape import Path
from dirac.systems.configuration.trees import digest, normal_form

FILE_NAME: Final = re.compile(r"(?!.*//)(?!/)(?!.*(^|/)\.)[A-Za-z0-9_.@+/ -]{1,240}\.ya?ml(?!\n)")
"""Names that files may have: relative, below the directory, nothing hidden."""

EMPTY: Final = Snapshot(version=0, digest=digest(normal_form(Tree())))


class Part(Struct, frozen=True):
    """What one file makes of the tree.

    Attributes:
        digest: Of its text.
        tree: Its part; what it does not say has its default.
    """

    digest: str
    tree: Tree


class State(Struct, frozen=True):
    """A version with its parts; versions in memory share what they have in common.

    Attributes:
        snapshot: The version.
        parts: Its files, by name, in their order.
        unreadable: This release cannot read it; tree and parts are empty.
    """

    snapshot: Snapshot
    parts: dict[str, Part]
    unreadable: bool = False


class Clash(NamedTuple):
    """Something that two files say.

    Attributes:
        path: Where it is in the tree.
        first: The one file.
        second: The other.
    """

    path: Path
    first: str
    second: str


async def load(unit: ConfigurationUnit, number: int, known: State | None = None) -> State | None:
    """Return a version; None if there is none.

    Args:
        unit: Where they are kept.
        number: Its number.
        known: A version that is in memory, of which only the difference is read.

    Raises:
        InternalError: It was written by another release, and this one cannot read it.
    """
    if number == 0:
        return State(EMPTY, {})
    version = await unit.versions.version(number)
    if version is None:
        return None
    start = known if known is not None and known.snapshot.version <= number else State(EMPTY, {})
    anew, changed = await unit.versions.parts(start.snapshot.version, number)
    parts = {} if anew else dict(start.parts)
    for kept in changed:
        if kept.tree is None:
            parts.pop(kept.name, None)
        else:
            parts[kept.name] = Part(kept.digest, kept.tree)
    parts = dict(sorted(parts.items()))
    tree, _ = join({name: part.tree for name, part in parts.items()})
    return State(Snapshot(version=version.number, digest=version.digest, time=version.time, tree=tree), parts)


def join(parts: Mapping[str, Tree]) -> tuple[Tree, list[Clash]]:
    """Put the parts of a tree together; what two of them say is a clash, and the first one counts."""
    clashes: list[Clash] = []
    tree = _joined(list(parts.items()), (), clashes) if parts else Tree()
    return tree, clashes


def _joined(values: list[tuple[str, Any]], path: Path, clashes: list[Clash]) -> Any:
    first = values[0][1]
    if len(values) == 1:
        return first
    if isinstance(first, dict):
        return _united(values, path, clashes)
    if not isinstance(first, Struct):
        clashes.append(Clash(path, values[0][0], values[1][0]))
        return first
    options = {}
    for field in structs.fields(first):
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        said = [(file, value) for file, part in values if (value := getattr(part, field.name)) != default]
        options[field.name] = _joined(said, (*path, field.name), clashes) if said else default
    return type(first)(**options)


def _united(values: list[tuple[str, Any]], path: Path, clashes: list[Clash]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for file, entries in values:
        for name, value in entries.items():
            if name in found:
                clashes.append(Clash((*path, name), owners[name], file))
            else:
                found[name] = value
                owners[name] = file
    return found


def owner(parts: Mapping[str, Tree], path: Path) -> str | None:
    """Return the file that says something of a place of the tree, the one that says most of it."""
    best, most = None, 0
    for file, tree in parts.items():
        depth, value = 0, tree
        for depth, name in enumerate(path):  # noqa: B007 - its last value is what counts
            below = getattr(value, name, None) if isinstance(value, Struct) else None
            if isinstance(value, Mapping):
                below = value.get(name)
            if below is None or below in ({}, []) or below == _default(value, name):
                break
            value = below
        else:
            return file
        if depth > most:
            best, most = file, depth
    return best


def _default(value: Any, name: str) -> Any:
    if not isinstance(value, Struct):
        return None
    return next(
        (
            field.default if field.default_factory is NODEFAULT else field.default_factory()
            for field in structs.fields(value)
            if field.name == name
        ),
        None,
    )
