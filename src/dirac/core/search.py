"""The search language: conditions, sort order and pages, as they go over the wire.

The shapes and operators are those of DiracX 0.7. A list of conditions means *and*.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

ScalarOperator: TypeAlias = Literal["eq", "neq", "gt", "lt", "like", "not like", "regex"]
VectorOperator: TypeAlias = Literal["in", "not in"]
MAX_CONDITIONS = 100
MAX_VALUES = 10_000
MAX_PAGE = 10_000

_VALUE_LENGTH = 4096

Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One condition on one parameter.

    `value` belongs to the scalar operators, `values` to ``in`` and ``not in``; `fault` tells which is
    missing. One shape instead of two keeps a wrong pair a clear message instead of two vague ones.
    """

    parameter: str
    operator: ScalarOperator | VectorOperator
    value: str | Integer | None = None
    values: list[str | Integer] | None = None

    def fault(self) -> str | None:
        """Say what is wrong with the condition by itself, None if nothing is."""
        if self.operator in ("in", "not in"):
            if self.values is None:
                return f"operator {self.operator!r} on {self.parameter!r} needs a list in 'values'"
            if len(self.values) > MAX_VALUES:
                return f"{len(self.values)} values for {self.parameter!r}; at most {MAX_VALUES} are accepted"
        elif self.value is None:
            return f"operator {self.operator!r} on {self.parameter!r} needs one 'value'"
        elif isinstance(self.value, str) and len(self.value) > _VALUE_LENGTH:
            return f"the value for {self.parameter!r} is longer than {_VALUE_LENGTH} characters"
        return None


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


class Page(msgspec.Struct, frozen=True):
    """A part of a result.

    Attributes:
        rows: One mapping from wire name to value per row.
        total: Number of rows of the whole result.
        first: Position of the first row in the whole result, from 0.
    """

    rows: list[dict[str, Any]]
    total: int
    first: int
