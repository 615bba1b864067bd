"""From YAML to a tree, with the place of everything in the text, and back.

All faults of a text are found in one go: one that is repaired does not uncover the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml
from yaml.nodes import Node

from dirac.core.errors import InternalError, InvalidInputError, TooLargeError
from dirac.systems.configuration.models import Tree
from dirac.systems.configuration.shape import MAX_DEPTH, Fault, Path, Position, Shaper
from dirac.systems.configuration.trees import plain

MAX_BYTES = 1024 * 1024
"""Size of a text that is accepted."""

_SHOWN = 100
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Document:
    """What a text says, and what is wrong with it.

    Attributes:
        file: Name of the file, for messages.
        value: Its sections and options, without those that have a fault.
        positions: Where each of them stands.
        faults: What is wrong.
    """

    file: str
    value: Mapping[str, Any]
    positions: Mapping[Path, Position]
    faults: list[Fault]

    def fault(self, path: Path, text: str) -> None:
        """Add a fault at a place of the tree."""
        self.faults.append(Fault(*(self.position(path) or Position(1, 1)), path, text))

    def position(self, path: Path) -> Position | None:
        """Return where something stands, or the nearest that is around it; None if nothing is."""
        known = path
        while known and known not in self.positions:
            known = known[:-1]
        return self.positions.get(known) if known else None

    def tree(self) -> Tree:
        """Return the tree.

        Raises:
            InvalidInputError: The text has faults; the message has a line for each, `where` is the first.
        """
        if self.faults:
            raise refusal([(self.file, fault) for fault in self.faults])
        return self.sound()

    def sound(self) -> Tree:
        """Return the tree without what has faults.

        Raises:
            InvalidInputError: There is no tree without it.
        """
        try:
            return msgspec.convert(self.value, Tree)
        except msgspec.ValidationError as error:
            if self.faults:
                raise refusal([(self.file, fault) for fault in self.faults]) from None
            raise InternalError(f"a fault in the configuration was overlooked: {error}") from error


def read(text: str, file: str = "configuration") -> Document:
    """Read a text, with faults found on the way.

    Raises:
        TooLargeError: It is larger than `MAX_BYTES`.
    """
    text = text.removeprefix("\ufeff")
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise TooLargeError(
            f"the text is larger than {MAX_BYTES} bytes",
            where=file,
            hint="Anchors and aliases save repetition",
        )
    shaper = Shaper()
    try:
        node = _compose(text)
        value = {} if node is None else shaper.shape(node, Tree)
    except _NoYamlError as error:
        return Document(file, {}, {}, [error.fault])
    if node is None:
        shaper.faults.append(
            Fault(1, 1, (), "the document is empty; write {} for a configuration of defaults")
        )
    return Document(file, value, shaper.positions, shaper.faults)


def write(tree: Tree) -> str:
    """Print a tree as YAML, options that have their default left out."""
    return print_yaml(plain(tree))


def print_yaml(value: Any) -> str:
    """Print plain values as YAML."""
    return str(yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))


class _NoYamlError(Exception):
    def __init__(self, line: int, column: int, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(line, column, (), text)


def _compose(text: str) -> Node | None:
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        raise _NoYamlError(line, column, f"a character that cannot be printed (U+{ord(found[0]):04X})")
    try:
        _check_depth(text)  # composing is recursive in C
        node: Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _no_yaml(text, error) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _NoYamlError(1, 1, f"this is no valid YAML: {error}") from None
    return node


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line, column = _place(event.start_mark)
                raise _NoYamlError(line, column, f"more than {MAX_DEPTH} levels of nesting")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _no_yaml(text: str, error: yaml.MarkedYAMLError) -> _NoYamlError:
    mark = error.problem_mark or error.context_mark
    problem = f"this is no valid YAML: {error.problem}"
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        problem = "a tab; YAML is indented with spaces only"
    elif "mapping values are not allowed" in str(error.problem):
        problem += "; look at the indentation, and quote text that has a colon and a space in it"
    elif "another document" in str(error.problem):
        problem = "a second document; a configuration is one document, without a line of ---"
    return _NoYamlError(*_place(mark), problem)


def _place(mark: Any) -> Position:
    return Position(1, 1) if mark is None else Position(mark.line + 1, mark.column + 1)


def refusal(faults: Iterable[tuple[str, Fault]]) -> InvalidInputError:
    """Return the error that tells all faults of some files, ordered by file and place."""
    ordered = sorted(faults)
    places = [f"{file}:{fault.line}:{fault.column}" for file, fault in ordered]
    if len(ordered) == 1:
        return InvalidInputError(ordered[0][1].message, where=places[0])
    lines = [f"{place}: {fault.message}" for place, (_, fault) in zip(places, ordered, strict=True)][:_SHOWN]
    if len(ordered) > _SHOWN:
        lines.append(f"and {len(ordered) - _SHOWN} more")
    return InvalidInputError("\n".join([f"there are {len(ordered)} faults", *lines]), where=places[0])
