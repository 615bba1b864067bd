"""The values that a JDL holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TypeAlias, Union

from dirac.core.errors import InvalidInputError

MAX_NAME = 128
NAME = r"[A-Za-z_][A-Za-z0-9_]*+(?:\.[A-Za-z0-9_]++)*"
NAME_HINT = f"letters, digits, '_' and inner '.', not beginning with a digit, at most {MAX_NAME} characters"

_name = re.compile(NAME).fullmatch


class Bare(str):
    """Text that was written without quotes: a word, or an expression that is kept as it stands."""

    __slots__ = ()


class Jdl(MutableMapping[str, "Value"]):
    """The attributes of a description, in order, found by name whatever its case.

    The spelling of the first assignment is the one that is kept. Two are equal if they hold equal values
    under the same names, in any order.
    """

    __slots__ = ("_items",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, items: Mapping[str, Value] | None = None) -> None:
        self._items: dict[str, tuple[str, Value]] = {}
        if items is not None:
            self.update(items)

    def __getitem__(self, name: str) -> Value:
        return self._items[name.lower()][1]

    def __setitem__(self, name: str, value: Value) -> None:
        if len(name) > MAX_NAME or not _name(name):
            raise InvalidInputError(f"{name[:MAX_NAME]!r} cannot be the name of an attribute", hint=NAME_HINT)
        self._put(name, value)

    def _put(self, name: str, value: Value) -> None:
        key = name.lower()
        known = self._items.get(key)
        self._items[key] = (known[0] if known else name, value)

    def __delitem__(self, name: str) -> None:
        del self._items[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._items

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Jdl):
            return NotImplemented
        return {k: v for k, (_, v) in self._items.items()} == {k: v for k, (_, v) in other._items.items()}

    def __repr__(self) -> str:
        return f"Jdl({dict(self.items())!r})"


Value: TypeAlias = Union[str, int, float, bool, "list[Value]", Jdl]
