"""Conditions as they are typed: ``Site=LCG.CERN.ch and (UserPriority>=3 or not MinorStatus~*Input*)``.

::

    conditions = condition { ("and" | "or") condition }           "and" binds closer
    condition  = "not" condition | "(" conditions ")"
               | NAME ("=" | "!=" | "<" | "<=" | ">" | ">=") VALUE
               | NAME ("~" | "!~") VALUE                           * stands for anything
               | NAME "=~" VALUE                                   a regular expression
               | NAME ["not"] "in" "(" VALUE { "," VALUE } ")"
               | NAME "is" ["not"] "null"

A value ends before ``and``, ``or`` and a closing bracket; in quotes it may hold these.
"""

from __future__ import annotations

import re

from dirac.core.errors import InvalidInputError
from dirac.core.search import Condition, ScalarOperator, all_of, any_of, none_of

_SIGNS: dict[str, ScalarOperator] = {
    "!=": "neq",
    "!~": "not like",
    "=~": "regex",
    "<=": "lte",
    ">=": "gte",
    "=": "eq",
    "<": "lt",
    ">": "gt",
    "~": "like",
}
_name = re.compile(r"[A-Za-z_][\w./-]*(?:\([^()\s]*\)[\w./-]*)*").match
_sign = re.compile(r"\s*(!=|!~|=~|<=|>=|=|<|>|~)\s*").match
_test = re.compile(r"\s+is\s+(not\s+)?null\b", re.IGNORECASE).match
_list = re.compile(r"\s+(not\s+)?in\s*\(", re.IGNORECASE).match
_quoted = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)')\s*""").match
_BARE = re.compile(r"(?:(?!\s+(?:and|or)(?:[\s(]|$))[^()]|\([^()]*\))*", re.IGNORECASE)
_ITEM = re.compile(r"[^,()]*")
_HINT = "Type NAME=VALUE, or with != < <= > >= ~ !~ =~, 'in (A, B)', 'is null'; join with and, or, not, ( )"


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Condition:
        found = self._alternatives()
        if self._rest().strip():
            raise self._fault("and, or, or the end")
        return found

    def _alternatives(self) -> Condition:
        found = [self._together()]
        while self._word("or"):
            found.append(self._together())
        return any_of(found)

    def _together(self) -> Condition:
        found = [self._one()]
        while self._word("and"):
            found.append(self._one())
        return all_of(found)

    def _one(self) -> Condition:
        self._skip()
        if self._rest().startswith("("):
            self._at += 1
            found = self._alternatives()
            self._skip()
            if not self._rest().startswith(")"):
                raise self._fault("a closing bracket")
            self._at += 1
            return found
        if re.match(r"not(\s+(?!in\b|[=!<>~])|\()", self._rest(), re.IGNORECASE):
            self._at += 3
            return none_of([self._one()])
        return self._condition()

    def _condition(self) -> Condition:
        name = _name(self._text, self._at)
        if name is None:
            raise self._fault("the name of an attribute")
        self._at = name.end()
        if test := _test(self._text, self._at):
            self._at = test.end()
            return Condition(name[0], "is not null" if test[1] else "is null")
        if listed := _list(self._text, self._at):
            self._at = listed.end()
            return Condition(name[0], "not in" if listed[1] else "in", values=[*self._values()])
        sign = _sign(self._text, self._at)
        if sign is None:
            raise self._fault("one of = != < <= > >= ~ !~ =~, in, is null")
        self._at = sign.end()
        operator, value = _SIGNS[sign[1]], self._value(_BARE)
        return Condition(name[0], operator, pattern(value) if "like" in operator else value)

    def _values(self) -> list[str]:
        found = [self._value(_ITEM)]
        while self._rest().startswith(","):
            self._at += 1
            found.append(self._value(_ITEM))
        if not self._rest().startswith(")"):
            raise self._fault("a comma or a closing bracket")
        self._at += 1
        return found

    def _value(self, bare: re.Pattern[str]) -> str:
        if quoted := _quoted(self._text, self._at):
            self._at = quoted.end()
            return quoted[1] if quoted[1] is not None else quoted[2]
        match = bare.match(self._text, self._at)
        if match is None:
            raise self._fault("a value")
        self._at = match.end()
        return match[0].strip()

    def _word(self, word: str) -> bool:
        match = re.compile(rf"\s*{word}(?=[\s(]|$)", re.IGNORECASE).match(self._text, self._at)
        if match is None:
            return False
        self._at = match.end()
        return True

    def _skip(self) -> None:
        self._at += len(self._rest()) - len(self._rest().lstrip())

    def _rest(self) -> str:
        return self._text[self._at :]

    def _fault(self, expected: str) -> InvalidInputError:
        self._skip()
        found = repr(self._rest()[:20]) if self._rest() else "the end"
        return InvalidInputError(
            f"{self._text!r} is no condition: at {self._at + 1} is {found}, expected {expected}",
            where="--where",
            hint=_HINT,
        )


def parse_where(text: str) -> Condition:
    """Return the condition that a text stands for.

    Raises:
        InvalidInputError: It stands for none; the message says where it ends to make sense.
    """
    return _Reader(text.strip()).read()


def pattern(text: str) -> str:
    r"""Return a pattern of ``like`` for a text in which ``*`` stands for anything."""
    return re.sub(r"([\\%_])", r"\\\1", text).replace("*", "%")
