"""Orders that begin with a parameter of few values, as the state of a job: each value is looked up by itself.

An index has the rows of one value in order. Those of several, in the order of the value and then of the rest,
it has as well; but not without those between that a condition leaves out, and these can be most of the table.
So one value after the other is asked for its rows, until there are enough.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Select

from dirac.core.search import Condition
from dirac.db.search_pages import Key, behind

_COMPARED: dict[str, Callable[[str, str], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def possible(values: Collection[str], name: str, conditions: Sequence[Condition]) -> list[str]:
    """Return those values of a parameter that rows may have for which all conditions hold."""
    return [value for value in values if not any(_holds(each, name, value) is False for each in conditions)]


def _holds(condition: Condition, name: str, value: str) -> bool | None:
    """Tell whether a condition holds for rows with this value; None if that depends on other things."""
    if condition.not_ is not None:
        inner = _holds(condition.not_, name, value)
        return None if inner is None else not inner
    if (members := condition.members) is not None:
        found = [_holds(each, name, value) for each in members]
        decisive = condition.or_ is not None  # one that holds, or one that does not, decides
        return decisive if decisive in found else None if None in found else not decisive
    if condition.parameter != name:
        return None
    if condition.operator in ("in", "not in"):
        return (value in map(str, condition.values or ())) == (condition.operator == "in")
    compare = _COMPARED.get(str(condition.operator))
    return None if compare is None else compare(value, str(condition.value))


def parts(
    found: Select[Any],
    keys: Sequence[Key],
    values: Collection[str],
    after: Sequence[Any] | None,
    dialect: str,
) -> Iterator[Select[Any]]:
    """Return, value by value, the statements whose rows are in order one after the other.

    Args:
        found: What fits, in no order.
        keys: The order; the first one's column is never without a value.
        values: Those of the first one that may be found.
        after: Values of the row behind which to begin; None for the beginning.
        dialect: The engine's name.
    """
    first, rest = keys[0], keys[1:]
    for value in sorted(values, reverse=first.descending):
        part = found.where(first.same(value)).order_by(*(key.ordering(dialect) for key in rest))
        if after is None or (value < after[0] if first.descending else value > after[0]):
            yield part
        elif value == after[0]:
            yield part.where(behind(rest, after[1:], dialect))
