"""An edit of some files: read, put together with the files that stay, and judged as a difference.

What was wrong before and is not touched does not stand in the way of a change: it is a warning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, structs

from dirac.core.errors import InvalidInputError
from dirac.systems.configuration import document
from dirac.systems.configuration.checks import Checker
from dirac.systems.configuration.document import Document, refusal
from dirac.systems.configuration.layout import Part, State, join, owner
from dirac.systems.configuration.models import Change, Snapshot, Tree
from dirac.systems.configuration.shape import Fault, Path, Position
from dirac.systems.configuration.trees import diff, normal_form, plain

_BY_NAME = ("virtual_organisations", "sites")
_SHOWN = 20

Known: TypeAlias = frozenset[tuple[Path, str]]


class Edit(Struct, frozen=True):
    """What somebody wants to be other than in a base version.

    Attributes:
        changed: Texts by name of the file.
        removed: Names of files that are to go.
        shown: By name, what a file is called in messages.
    """

    changed: dict[str, str]
    removed: frozenset[str] = frozenset()
    shown: dict[str, str] = {}


class Outcome(Struct, frozen=True):
    """What an edit makes of a version.

    Attributes:
        tree: All of it.
        parts: Its files.
        changes: The differences.
        files: Names of files that make another part than before, or none.
        documents: What was read, by name of the file.
        warnings: What was wrong before and still is.
    """

    tree: Tree
    parts: dict[str, Part]
    changes: list[Change]
    files: list[str]
    documents: dict[str, Document]
    warnings: list[str]


class _Lazy(Mapping[str, Any]):
    """A section as plain values, made when they are looked at."""

    def __init__(self, section: Struct) -> None:
        self._section = section

    def __getitem__(self, name: str) -> Any:
        return plain(getattr(self._section, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._section.__struct_fields__)

    def __len__(self) -> int:
        return len(self._section.__struct_fields__)


def text_digest(text: str) -> str:
    """Return the name of a text: its SHA-256, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def standing(texts: Mapping[str, str], number: int, near: State) -> State:
    """Return the state that some files make, with a number; what another state has of them is taken from it.

    Raises:
        InvalidInputError: They make none.
    """
    parts: dict[str, Part] = {}
    for name, text in sorted(texts.items()):
        digest, known = text_digest(text), near.parts.get(name)
        same = known is not None and known.digest == digest
        parts[name] = known if same and known is not None else Part(digest, document.read(text, name).tree())
    if parts == near.parts:
        return near
    tree, clashes = join({name: part.tree for name, part in parts.items()})
    if clashes:
        place = "/".join(clashes[0].path)
        raise InvalidInputError(f"{clashes[0].first} and {clashes[0].second} both say {place}")
    return State(Snapshot(version=min(number, near.snapshot.version), tree=tree), parts)


class Judge:
    """Decides whether an edit may be.

    Args:
        checker: What must hold beyond the types.
    """

    def __init__(self, checker: Checker) -> None:
        self._checker = checker

    def judge(self, base: State, edit: Edit, old_texts: Mapping[str, str]) -> Outcome:
        """Return what an edit makes of a version.

        Args:
            base: The version.
            edit: The edit.
            old_texts: What files say in that version: those that are edited, and those that others name.

        Raises:
            InvalidInputError: It has faults; the message has a line for each, `where` is the first.
            TooLargeError: A text is too large.
        """
        documents = {
            name: document.read(text, edit.shown.get(name, name)) for name, text in edit.changed.items()
        }
        before = self._check(base, edit, documents)
        warnings = _tolerated(before, documents, old_texts)
        parts = {
            name: part
            for name, part in base.parts.items()
            if name not in edit.removed and name not in documents
        }
        parts |= {
            name: Part(text_digest(edit.changed[name]), each.sound()) for name, each in documents.items()
        }
        parts = dict(sorted(parts.items()))
        tree, clashes = join({name: part.tree for name, part in parts.items()})
        if clashes:
            raise refusal(_clash(clash, documents) for clash in clashes)
        files = [
            name
            for name in sorted(base.parts.keys() | parts.keys())
            if name not in parts
            or name not in base.parts
            or normal_form(parts[name].tree) != normal_form(base.parts[name].tree)
            if name in documents or name in edit.removed
        ]
        return Outcome(tree, parts, diff(base.snapshot.tree, tree), files, documents, warnings)

    def faults(self, tree: Tree) -> list[str]:
        """Return all that is wrong with a tree."""
        return sorted(f"{'/'.join(path)}: {text}" for path, text in self._checker.check(plain(tree)))

    def _check(self, base: State, edit: Edit, documents: Mapping[str, Document]) -> Known:
        """Add to the documents what does not fit together; return what did not before."""
        values = {name: each.value for name, each in documents.items()}
        staying = {
            name: part.tree
            for name, part in base.parts.items()
            if name not in documents and name not in edit.removed
        }
        within = {
            entry for value in values.values() for section in _BY_NAME for entry in value.get(section) or ()
        }
        found = list(self._checker.check(_plain_whole(staying, values), within))
        if not found:
            return frozenset()
        was = _plain_whole({name: part.tree for name, part in base.parts.items()}, {})
        before = frozenset(_known(path, text) for path, text in self._checker.check(was, within))
        for path, text in found:
            if (each := _holder(path, documents)) is not None:
                each.fault(path, text)
            elif _known(path, text) not in before:
                # It is in a file that is not edited: something that it refers to has gone.
                raise InvalidInputError(
                    f"{'/'.join(path)}: {text}",
                    where=owner(staying, path) or "configuration",
                    hint="Change that file as well, in the same application",
                )
        return before


def _tolerated(before: Known, documents: Mapping[str, Document], old_texts: Mapping[str, str]) -> list[str]:
    """Return faults that were there before.

    Raises:
        InvalidInputError: There are others.
    """
    new: list[tuple[str, Fault]] = []
    old: list[tuple[str, Fault]] = []
    for name, each in documents.items():
        if not each.faults:
            continue
        text = old_texts.get(name, "")
        known = before | {_known(fault.path, fault.text) for fault in document.read(text).faults if text}
        for fault in each.faults:
            (old if _known(fault.path, fault.text) in known else new).append((each.file, fault))
    if new:
        raise refusal([*new, *old])
    return [f"{file}:{fault.line}:{fault.column}: {fault.message} (as before)" for file, fault in sorted(old)]


def place_of(outcome: Outcome, path: str) -> str:
    """Return file, line and column of a place of the tree, as an edit has it."""
    for each in outcome.documents.values():
        if (position := each.position(tuple(path.split("/")))) is not None:
            return f"{each.file}:{position.line}:{position.column}"
    return "removed here"


def unknown_options(tree: Tree) -> list[str]:
    """Return what to say of options that nobody here knows."""
    found = [f"extensions/{name}" for name in tree.extensions]
    found += [
        f"virtual_organisations/{vo}/extensions/{name}"
        for vo, options in tree.virtual_organisations.items()
        for name in options.extensions
    ]
    if not found:
        return []
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [f"kept for extensions, and read by nobody here: {', '.join(found[:_SHOWN])}{more}"]


def _known(path: Path, text: str) -> tuple[Path, str]:
    """Return what stays of a fault when lines and values in front of it come or go."""
    return (path[:-1] if path and path[-1].isdigit() else path), text


def _holder(path: Path, documents: Mapping[str, Document]) -> Document | None:
    best, most = None, 0
    for each in documents.values():
        depth = len(path)
        while depth > most and path[:depth] not in each.positions:
            depth -= 1
        if depth > most:
            best, most = each, depth
    # A section that many files share says nothing of an entry that is in none of these.
    return best if most > 1 or len(path) == 1 or path[0] not in _BY_NAME else None


def _clash(clash: Any, documents: Mapping[str, Document]) -> tuple[str, Fault]:
    name, other = clash.second, clash.first
    if name not in documents:
        name, other = other, name
    each = documents[name]
    place = each.position(clash.path) or Position(1, 1)
    return each.file, Fault(*place, clash.path, f"this is in the file {other} as well; say it in one of them")


def _plain_whole(staying: Mapping[str, Tree], values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return all of a tree as plain values, those of edited files as far as they are sound."""
    whole: dict[str, Any] = {section: {} for section in _BY_NAME}
    for tree in staying.values():
        for section in _BY_NAME:
            entries = getattr(tree, section)
            whole[section].update((name, _Lazy(entry)) for name, entry in entries.items())
        _lay(whole, plain(structs.replace(tree, virtual_organisations={}, sites={})))
    for value in values.values():
        _lay(whole, value)
    return whole


def _lay(whole: dict[str, Any], value: Mapping[str, Any]) -> None:
    for name, below in value.items():
        if isinstance(below, Mapping) and not isinstance(below, _Lazy):
            mine = whole.get(name)
            inner = whole[name] = mine if isinstance(mine, dict) else {}
            _lay(inner, below)
        else:
            whole[name] = below
