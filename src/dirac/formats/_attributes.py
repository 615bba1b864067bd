"""Typed reading of a JDL that goes on after a fault, so that a user sees all of them at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dirac.core.errors import InvalidInputError
from dirac.formats.jdl import Jdl, Value

# Given a text, says what would have been accepted in its place; None if it is.
Check: TypeAlias = Callable[[str], str | None]

_SHOWN = 60
_MOST_FAULTS = 50
_VARIABLES = 'a list of "NAME=value", names of letters, digits and _'
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_whole_number = re.compile(r"[+-]?[0-9]{1,18}(?:\.0{1,18})?").fullmatch
_control = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search
_control_in_lines = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]").search
_variable = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}").fullmatch


class AttributeReader:
    """Reads attributes by name; a fault is remembered and the default returned in its place."""

    def __init__(self, jdl: Jdl, *, text_max: int, items_max: int, names: Mapping[str, str]) -> None:
        self.jdl = jdl
        self._names = names
        self.text_max = text_max
        self.items_max = items_max
        self.faults: list[str] = []
        self._read: set[str] = set()

    def fault(self, name: str, value: object, accepted: str) -> None:
        """Remember that `value` of attribute `name` is not what is `accepted`."""
        head, dot, tail = name.partition(".")
        called = self._names.get(head, head) + dot + tail
        self.faults.append(f"{called} = {_shown(value)}: accepted is {accepted}")

    def raise_faults(self) -> None:
        """Raise one InvalidInputError that lists all faults, if there are any."""
        if not self.faults:
            return
        listed = self.faults[:_MOST_FAULTS]
        if more := len(self.faults) - len(listed):
            listed.append(f"and {more} more")
        noun = "fault" if len(self.faults) == 1 else "faults"
        raise InvalidInputError(f"{len(self.faults)} {noun} in the description: " + "; ".join(listed))

    def text(self, name: str, default: str = "", *, longest: int = 0, check: Check | None = None) -> str:
        """Read one line of text, without blanks around it; an empty one counts as not given."""
        value = self._take(name)
        if value is None:
            return default
        text = self._as_text(name, value, longest or self.text_max, _control)
        if text is None or not (text := text.strip()):
            return default
        if check is not None and (accepted := check(text)):
            self.fault(name, text, accepted)
            return default
        return text

    def lines(self, name: str, *, longest: int) -> str:
        """Read a text as it stands, which may hold line breaks."""
        value = self._take(name)
        return "" if value is None else self._as_text(name, value, longest, _control_in_lines) or ""

    def number(self, name: str, low: int, high: int, unit: str = "") -> int | None:
        """Read a whole number, which may be written as a text; None if it is not given."""
        value = self._take(name)
        if value is None:
            return None
        number = as_whole(value)
        if number is None or not low <= number <= high:
            self.fault(name, value, f"a whole number from {low} to {high}{f' ({unit})' if unit else ''}")
            return None
        return number

    def numbers(self, name: str, low: int, high: int) -> tuple[int, ...]:
        """Read a list of whole numbers, each once; one number, or a text with commas, will do as well."""
        value = self._take(name)
        if value is None or value == "":
            return ()
        items = list[Value](value.split(",")) if isinstance(value, str) else value
        found: dict[int, None] = {}
        for item in items if isinstance(items, list) else [items]:
            number = as_whole(item)
            if number is None or not low <= number <= high:
                self.fault(name, item, f"whole numbers from {low} to {high}")
            else:
                found[number] = None
        return tuple(found)

    def flag(self, name: str) -> bool:
        """Read a truth value, which may be written as a text; False if it is not given."""
        value = self._take(name)
        if value is None or value == "":
            return False
        truth = truth_of(value)
        if truth is None:
            self.fault(name, value, "true or false")
        return bool(truth)

    def texts(self, *names: str, check: Check | None = None, any_word: bool = False) -> tuple[str, ...]:
        """Read a list of texts, each once; one text stands for a list with commas between the items.

        Several names are spellings of one attribute whose values are joined. With `any_word`, the item
        ``ANY`` means that there is no restriction: the result is empty.
        """
        found: dict[str, None] = {}
        for name in names:
            value = self._take(name)
            if value is None:
                continue
            items = list[Value](value.split(",")) if isinstance(value, str) else value
            if isinstance(items, list) and len(items) > self.items_max:
                self.fault(name, f"{len(items)} items", f"a list of at most {self.items_max}")
                continue
            for item in items if isinstance(items, list) else [items]:
                text = self._as_text(name, item, self.text_max, _control)
                if text is None or not (text := text.strip()):
                    continue
                if check is not None and (accepted := check(text)):
                    self.fault(name, text, accepted)
                else:
                    found[text] = None
        if any_word and any(text.upper() == "ANY" for text in found):
            return ()
        return tuple(found)

    def environment(self, name: str) -> dict[str, str]:
        """Read variables: a list of ``NAME=value``, one such text, or a nested ``[ NAME = value; ]``."""
        value = self._take(name)
        if value is None or value == "":
            return {}
        if isinstance(value, Jdl):
            pairs = list(value.items())
        else:
            items = value if isinstance(value, list) else [value]
            pairs = [(head.strip(), tail) for head, equals, tail in map(_split, items) if equals]
            for item in items:
                if not _split(item)[1]:
                    self.fault(name, item, _VARIABLES)
        if len(pairs) > self.items_max:
            self.fault(name, f"{len(pairs)} variables", f"at most {self.items_max}")
            return {}
        result: dict[str, str] = {}
        for variable, content in pairs:
            if not _variable(variable):
                self.fault(name, variable, _VARIABLES)
                continue
            text = self._as_text(f"{name}.{variable}", content, self.text_max, _control_in_lines)
            result[variable] = text or ""
        return result

    def remaining(self, *, longest: int) -> dict[str, Any]:
        """Return the attributes that nobody has read, as plain values of at most `longest` characters."""
        kept: dict[str, Any] = {}
        for name, value in self.jdl.items():
            if name.lower() not in self._read:
                content, size = plain(value)
                if size > longest:
                    self.fault(name, value, f"at most {longest} characters")
                kept[name] = content
        return kept

    def expect_text(self, name: str) -> None:
        """Check that an attribute that is kept as it stands is a text if it is given."""
        value = self.jdl.get(name)
        if value is not None:
            self._as_text(name, value, self.text_max, _control_in_lines)

    def expect_texts(self, name: str) -> None:
        """Check that an attribute that is kept as it stands is a text or a list of texts if it is given."""
        value = self.jdl.get(name)
        if value is not None:
            for item in value if isinstance(value, list) else [value]:
                self._as_text(name, item, self.text_max, _control_in_lines)

    def _take(self, name: str) -> Value | None:
        self._read.add(name.lower())
        return self.jdl.get(name)

    def _as_text(
        self, name: str, value: Value, longest: int, forbidden: Callable[[str], object]
    ) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            # 1.10 without quotes has lost its zero, true its spelling: better to ask than to guess.
            hint = 'a text in quotes: "..."' if isinstance(value, bool | float) else "one text"
            self.fault(name, value, hint)
        elif len(value) > longest:
            self.fault(name, value, f"a text of at most {longest} characters, this has {len(value)}")
        elif forbidden(value):
            self.fault(name, value, "a text without control characters and line breaks")
        else:
            return str(value)
        return None


def truth_of(value: Value) -> bool | None:
    """Return a truth value that may be written as a text; None if it is none."""
    return None if isinstance(value, float | list | Jdl) else _TRUTH.get(str(value).strip().lower())


def _split(item: Value) -> tuple[str, str, str]:
    return item.partition("=") if isinstance(item, str) else ("", "", "")


def as_whole(value: Value) -> int | None:
    """Return a whole number that may be written as a text; None if it is none."""
    if isinstance(value, str):
        text = value.strip()
        return int(text.partition(".")[0]) if _whole_number(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _shown(value: object) -> str:
    if isinstance(value, Jdl):
        return "[ ... ]"
    if isinstance(value, list):
        return "{ " + ", ".join(_shown(item) for item in value[:3]) + (", ... }" if len(value) > 3 else " }")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(str(value[:_SHOWN])) + ("..." if len(value) > _SHOWN else "")
    return str(value)[:_SHOWN]


def plain(value: Value) -> tuple[Any, int]:
    """Return a value in the types of JSON and about how many characters it holds."""
    if isinstance(value, str):
        return str(value), len(value)
    if isinstance(value, list):
        items = [plain(item) for item in value]
        return [item for item, _ in items], sum(size + 1 for _, size in items)
    if isinstance(value, Jdl):
        pairs = {name: plain(item) for name, item in value.items()}
        size = sum(len(name) + size for name, (_, size) in pairs.items())
        return {name: item for name, (item, _) in pairs.items()}, size
    return value, 1
