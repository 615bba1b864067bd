"""From a graph of YAML nodes to plain values of a type, with every fault and the place of everything.

The types and their limits are those of the models, as msgspec sees them; there is no second schema.
What is accepted here is what msgspec accepts, with words that help the person who wrote the text.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from msgspec import inspect
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dirac.core.secrets import ADVICE, SecretReference

Path = tuple[str, ...]

MAX_DEPTH = 40
_BUDGET = 4 * 1024 * 1024
_VALUE_COST = 16
_QUOTED = 60

_TAG = "tag:yaml.org,2002:"
_KNOWN = frozenset({"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value", "merge"})
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_TRUE, _FALSE = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Position(NamedTuple):
    """A place in a text, counted from 1."""

    line: int
    column: int


class Fault(NamedTuple):
    """Something that is wrong at a place of a text.

    Attributes:
        line: Its line, from 1.
        column: Its column, from 1.
        path: Its place in the tree.
        text: What is wrong, and what is accepted instead.
    """

    line: int
    column: int
    path: Path
    text: str

    @property
    def message(self) -> str:
        """The text with the place in the tree."""
        place = _UNFIT.sub("?", "/".join(self.path)).replace("\n", "?")
        return f"{place}: {self.text}" if place else self.text


class _Bad:
    """Stands for a value that has a fault."""


_BAD: Final = _Bad()


class _TooMuchError(Exception):
    """The aliases of the text expand to more than anybody needs."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return what to say after a word that is not known: the nearest one, or all."""
    known = sorted(known)
    if near := difflib.get_close_matches(word, known, n=1):
        return f"; did you mean `{near[0]}`?"
    return f"; known are {', '.join(f'`{name}`' for name in known)}" if known else "; there are none"


class Shaper:
    """Reads nodes as values of a type; keeps the faults and the positions of all it has read."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.positions: dict[Path, Position] = {}
        self._left = _BUDGET

    def shape(self, node: Node, kind: type) -> dict[str, Any]:
        """Return the sections and options of a struct that are sound, as plain JSON values."""
        try:
            value = self._value(node, inspect.type_info(kind), ())
        except _TooMuchError:
            self._fault(node, (), "its aliases make it far too large; write less with them")
            return {}
        return value if isinstance(value, dict) else {}

    def _fault(self, node: Node, path: Path, text: str) -> _Bad:
        mark = node.start_mark
        self.faults.append(Fault(mark.line + 1, mark.column + 1, path, text))
        return _BAD

    def _value(self, node: Node, kind: inspect.Type, path: Path) -> Any:
        self._left -= _VALUE_COST + (len(node.value) if isinstance(node, ScalarNode) else 0)
        if self._left < 0:
            raise _TooMuchError
        if path not in self.positions or (isinstance(node, ScalarNode) and not _is_null(node)):
            # Of a section the name is what one looks for, of an option the value.
            self.positions[path] = Position(node.start_mark.line + 1, node.start_mark.column + 1)
        if node.tag.removeprefix(_TAG) not in _KNOWN:
            return self._fault(node, path, f"the tag {_quoted(node.tag)} is not accepted; remove it")
        kind, extra = _parts(kind)
        if isinstance(kind, inspect.UnionType):
            if _is_null(node):
                return None
            kind, extra = _parts(_alternative(node, kind))
        if isinstance(kind, inspect.AnyType):
            return self._free(node, path)
        if isinstance(kind, inspect.StructType):
            return self._section(node, kind, path)
        if isinstance(kind, inspect.DictType):
            return self._mapping(node, kind, path)
        if isinstance(kind, inspect.ListType):
            return self._list(node, kind, path)
        return self._scalar(node, kind, path, extra)

    def _entries(self, node: Node, path: Path) -> dict[str, tuple[Node, Node]] | None:
        """Return the key and the value of each entry by name; an empty value is a mapping without any."""
        if _is_null(node):
            return {}
        if not isinstance(node, MappingNode) or node.tag != f"{_TAG}map":
            self._fault(node, path, f"expected lines of `name: value`, found {_found(node)}")
            return None
        entries: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._fault(key, path, f"expected a name, found {_found(key)}")
            elif key.tag == f"{_TAG}merge":
                self._fault(key, path, "merging with `<<` is not accepted; write the options out")
            elif key.value in entries:
                first = entries[key.value][0].start_mark.line + 1
                self._fault(key, (*path, key.value), f"this is here twice; the first is on line {first}")
            else:
                entries[key.value] = (key, value)
                mark = key.start_mark
                self.positions[(*path, key.value)] = Position(mark.line + 1, mark.column + 1)
        return entries

    def _section(self, node: Node, kind: inspect.StructType, path: Path) -> Any:
        if kind.cls is SecretReference and not isinstance(node, MappingNode):
            # Whatever stands here is not repeated: messages are kept in logs.
            return self._fault(node, path, f"a secret never stands here; {ADVICE}")
        entries = self._entries(node, path)
        if entries is None:
            return _BAD
        fields = {field.encode_name: field for field in kind.fields}
        section: dict[str, Any] = {}
        for name, (key, value) in entries.items():
            if name not in fields:
                hint = suggestion(name, fields)
                self._fault(key, (*path, name), f"unknown option {_quoted(name)}{hint}")
                continue
            shaped = self._value(value, fields[name].type, (*path, name))
            if shaped is not _BAD:
                section[name] = shaped
        for name, field in fields.items():
            if field.required and name not in entries:
                line, column = self.positions[path]
                self.faults.append(Fault(line, column, path, f"the option `{name}` is missing"))
        return section

    def _mapping(self, node: Node, kind: inspect.DictType, path: Path) -> Any:
        entries = self._entries(node, path)
        if entries is None:
            return _BAD
        if kind.min_length and len(entries) < kind.min_length:
            return self._fault(node, path, f"expected at least {kind.min_length} entry, found none")
        mapping: dict[str, Any] = {}
        for name, (key, value) in entries.items():
            key_kind, extra = _parts(kind.key_type)
            if isinstance(key_kind, inspect.StrType) and not _fits(name, key_kind):
                wanted = accepted(key_kind, extra)
                self._fault(key, (*path, name), f"expected {wanted}, found {_quoted(name)}")
            shaped = self._value(value, kind.value_type, (*path, name))
            # A name that others may refer to stays known even when what stands under it is not sound.
            mapping[name] = {} if shaped is _BAD else shaped
        return mapping

    def _list(self, node: Node, kind: inspect.ListType, path: Path) -> Any:
        if not isinstance(node, SequenceNode) or node.tag != f"{_TAG}seq":
            return self._fault(node, path, f"expected a list, as in [a, b], found {_found(node)}")
        if kind.min_length and len(node.value) < kind.min_length:
            return self._fault(node, path, f"expected at least {kind.min_length} value, found none")
        items = [
            self._value(item, kind.item_type, (*path, str(index))) for index, item in enumerate(node.value)
        ]
        return [item for item in items if item is not _BAD]

    def _scalar(self, node: Node, kind: inspect.Type, path: Path, extra: Mapping[str, Any]) -> Any:
        value: Any = _BAD
        tag = node.tag.removeprefix(_TAG)
        if not isinstance(node, ScalarNode):
            pass
        elif isinstance(kind, inspect.BoolType) and tag == "bool":
            value = _boolean(node.value)
        elif isinstance(kind, inspect.IntType) and tag == "int":
            value = _integer(node.value, kind.ge, kind.le)
        elif isinstance(kind, inspect.StrType) and tag in ("str", "value") and _fits(node.value, kind):
            value = node.value
        elif isinstance(kind, inspect.EnumType) and tag == "str":
            choices = {str(choice.value) for choice in kind.cls}
            if node.value in choices:
                return node.value
            hint = suggestion(node.value, choices)
            return self._fault(node, path, f"{_quoted(node.value)} is not accepted here{hint}")
        if value is not _BAD:
            return value
        advice = ""
        if isinstance(kind, inspect.StrType) and tag in ("int", "float", "bool", "timestamp"):
            advice = "; put it in quotes"
        return self._fault(node, path, f"expected {accepted(kind, extra)}, found {_found(node)}{advice}")

    def _free(self, node: Node, path: Path) -> Any:
        """Read what a plugin will check: any JSON value."""
        if len(path) > MAX_DEPTH:
            return self._fault(node, path[:MAX_DEPTH], f"more than {MAX_DEPTH} levels of nesting")
        if isinstance(node, MappingNode):
            entries = self._entries(node, path) or {}
            shaped = {name: self._value(value, _ANY, (*path, name)) for name, (_, value) in entries.items()}
            for name, (key, _) in entries.items():
                if _UNFIT.search(name):
                    self._fault(
                        key, path, f"expected a name without control characters, found {_quoted(name)}"
                    )
            return {name: value for name, value in shaped.items() if value is not _BAD}
        if isinstance(node, SequenceNode):
            items = [self._value(item, _ANY, (*path, str(index))) for index, item in enumerate(node.value)]
            return [item for item in items if item is not _BAD]
        value = _free_scalar(node.tag.removeprefix(_TAG), node.value)
        if value is _BAD:
            return self._fault(node, path, f"expected a plain value, found {_found(node)}")
        return value


_ANY = inspect.AnyType()


def _free_scalar(tag: str, text: str) -> Any:
    if tag == "bool":
        return _boolean(text)
    if tag == "int":
        return _integer(text, -(2**63), 2**63 - 1)
    if tag == "float":
        try:
            number = float(text.replace("_", ""))
        except ValueError:
            return _BAD
        return number if math.isfinite(number) else _BAD
    if tag == "null" or _UNFIT.search(text):
        return _BAD
    return text


def _boolean(text: str) -> Any:
    word = text.lower()
    return word in _TRUE if word in _TRUE | _FALSE else _BAD


def _integer(text: str, least: int | None, most: int | None) -> Any:
    # YAML also has octal numbers and ones to the base 60, which nobody means; long ones are costly to read.
    if len(text) > 40 or not _DECIMAL.fullmatch(text):
        return _BAD
    number = int(text.replace("_", ""))
    if (least is not None and number < least) or (most is not None and number > most):
        return _BAD
    return number


def _fits(text: str, kind: inspect.StrType) -> bool:
    if _UNFIT.search(text) or (kind.pattern is not None and not re.fullmatch(kind.pattern, text)):
        return False
    return (kind.min_length or 0) <= len(text) <= (kind.max_length or len(text))


def _parts(kind: inspect.Type) -> tuple[inspect.Type, Mapping[str, Any]]:
    """Split a type from what was said of it."""
    if isinstance(kind, inspect.Metadata):
        return kind.type, kind.extra or {}
    return kind, {}


def _alternative(node: Node, kind: inspect.UnionType) -> inspect.Type:
    """Return which of the types of an option is meant: a section where lines are, else the other."""
    types = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
    wanted = isinstance(node, MappingNode)
    return next(
        (part for part in types if isinstance(_parts(part)[0], inspect.StructType) == wanted), types[0]
    )


def accepted(kind: inspect.Type, extra: Mapping[str, Any]) -> str:
    """Say what an option accepts."""
    if "accepts" in extra:
        return str(extra["accepts"])
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.IntType):
        return f"a whole number from {kind.ge} to {kind.le}"
    if isinstance(kind, inspect.EnumType):
        return "one of " + ", ".join(f"`{choice.value}`" for choice in kind.cls)
    if isinstance(kind, inspect.StrType):
        if kind.pattern is not None:
            return f"text that matches {kind.pattern}"
        limits = [f"at least {kind.min_length}"] if kind.min_length else []
        limits += [f"at most {kind.max_length}"] if kind.max_length else []
        return f"text of {' and '.join(limits)} characters" if limits else "text"
    raise TypeError(f"options of the type {kind} are not supported")


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == f"{_TAG}null"


def _quoted(text: str) -> str:
    short = text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
    return f"`{_UNFIT.sub('?', short).replace(chr(10), ' ')}`"


def _found(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    if _is_null(node):
        return "no value"
    return _quoted(str(node.value))
