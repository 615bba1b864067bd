"""The search language: conditions, sort order and pages, as they go over the wire.

The shapes and operators are those of DiracX 0.7, and more: ``gte``, ``lte``, tests for what has no value, and
groups. A list of conditions means *and*::

    {"search": [
        {"parameter": "Site", "operator": "eq", "value": "LCG.CERN.ch"},
        {"or": [{"parameter": "Status", "operator": "eq", "value": "Failed"},
                {"not": {"parameter": "EndExecTime", "operator": "is null"}}]}]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

ScalarOperator: TypeAlias = Literal["eq", "neq", "gt", "gte", "lt", "lte", "like", "not like", "regex"]
VectorOperator: TypeAlias = Literal["in", "not in"]
NullOperator: TypeAlias = Literal["is null", "is not null"]
Operator: TypeAlias = ScalarOperator | VectorOperator | NullOperator
MAX_CONDITIONS = 100
MAX_VALUES = 10_000
MAX_PAGE = 10_000
MAX_DEPTH = 8

_VALUE_LENGTH = 4096

Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One condition on one parameter, or a group: exactly one of `or_`, `and_` and `not_`.

    `value` belongs to the scalar operators, `values` to ``in`` and ``not in``; the tests ``is null`` and
    ``is not null`` have neither. `fault` tells what is missing or too much: one shape for all keeps a
    wrong mixture a clear message instead of several vague ones.

    A condition on a row without a value for its parameter does not hold, whatever its operator; so its
    negation by `not_` does.
    """

    parameter: str | None = None
    operator: Operator | None = None
    value: str | Integer | None = None
    values: list[str | Integer] | None = None
    or_: list[Condition] | None = msgspec.field(name="or", default=None)
    and_: list[Condition] | None = msgspec.field(name="and", default=None)
    not_: Condition | None = msgspec.field(name="not", default=None)

    @property
    def members(self) -> Sequence[Condition] | None:
        """The conditions of a group, None if it is none."""
        if self.not_ is not None:
            return [self.not_]
        return self.or_ if self.or_ is not None else self.and_

    def fault(self) -> str | None:
        """Say what is wrong with the condition by itself, None if nothing is."""
        groups = [each for each in (self.or_, self.and_, self.not_) if each is not None]
        single = [
            each for each in (self.parameter, self.operator, self.value, self.values) if each is not None
        ]
        if groups:
            if len(groups) > 1 or single:
                return "a group has one of 'or', 'and', 'not' and nothing else"
            return None if groups[0] else "a group without conditions means nothing"
        if self.parameter is None or self.operator is None:
            missing = "parameter" if self.parameter is None else "operator"
            return f"the condition has no '{missing}'; nor is it a group: 'or', 'and', 'not'"
        return self._value_fault(f"operator {self.operator!r} on {self.parameter[:80]!r}")

    def _value_fault(self, what: str) -> str | None:
        if self.operator in ("is null", "is not null"):
            return None if self.value is None and self.values is None else f"{what} takes no value"
        if self.operator in ("in", "not in"):
            if self.values is None:
                return f"{what} needs a list in 'values'"
            if len(self.values) > MAX_VALUES:
                return f"{len(self.values)} values for {self.parameter!r}; at most {MAX_VALUES} are accepted"
        elif self.value is None:
            return f"{what} needs one 'value'"
        elif isinstance(self.value, str) and len(self.value) > _VALUE_LENGTH:
            return f"the value for {self.parameter!r} is longer than {_VALUE_LENGTH} characters"
        return None


def any_of(conditions: Sequence[Condition]) -> Condition:
    """Return the condition that at least one of some holds."""
    return conditions[0] if len(conditions) == 1 else Condition(or_=[*conditions])


def all_of(conditions: Sequence[Condition]) -> Condition:
    """Return the condition that all of some hold."""
    return conditions[0] if len(conditions) == 1 else Condition(and_=[*conditions])


def none_of(conditions: Sequence[Condition]) -> Condition:
    """Return the condition that not one of some holds."""
    return Condition(not_=any_of(conditions))


def leaves(conditions: Sequence[Condition]) -> Iterator[Condition]:
    """Yield the conditions on parameters, out of all groups."""
    for each in conditions:
        if (members := each.members) is None:
            yield each
        else:
            yield from leaves(members)


class Sort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One parameter to sort by."""

    parameter: str
    direction: Literal["asc", "desc"] = "asc"


class SearchParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to find, what to return of it, and in which order."""

    parameters: list[str] | None = None
    search: list[Condition] = []
    sort: list[Sort] = []
    distinct: bool = False


class SummaryParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to count, and by which parameters."""

    grouping: list[str]
    search: list[Condition] = []


class Paging(msgspec.Struct, frozen=True):
    """Which part of a result is wanted.

    Attributes:
        page: Number of the page, from 1; without meaning if there is a cursor.
        per_page: Rows at most, up to `MAX_PAGE`.
        cursor: Where to go on, from `Page.cursor` of the page before; empty for the beginning. None for
            pages by number.
        count: Whether to count the whole result: exactly; or not at all. None for what its kind of page
            needs: those by number have a total, which beyond some thousands may only be a lower bound.
    """

    page: int = 1
    per_page: int = 100
    cursor: str | None = None
    count: bool | None = None


class Page(msgspec.Struct, frozen=True):
    """A part of a result.

    Attributes:
        rows: One mapping from wire name to value per row.
        total: Number of rows of the whole result; None if nobody counted.
        first: Position of the first row in the whole result, from 0; None after a cursor.
        exact: Whether `total` is; otherwise there are at least so many.
        cursor: Where the next page begins; None if this is the last one, or the server gives none.
    """

    rows: list[dict[str, Any]]
    total: int | None
    first: int | None
    exact: bool = True
    cursor: str | None = None
