"""From the search language to SQL, with the same meaning on SQLite, MariaDB and PostgreSQL.

A condition on a row without a value for its parameter never holds, whatever its operator, as in SQL.
Texts compare and sort by code points, case included. Whatever an engine would fail on (a number that is
out of range, a text where a number belongs, a bad expression) is refused here, before it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Integer,
    Select,
    and_,
    false,
    func,
    not_,
    or_,
    select,
    true,
)

from dirac.core.errors import InvalidInputError
from dirac.core.search import (
    MAX_CONDITIONS,
    MAX_PAGE,
    MAX_VALUES,
    Condition,
    Page,
    SearchParams,
    Sort,
    SummaryParams,
)
from dirac.core.time import to_wire
from dirac.db.search_values import boolean, check_pattern, check_regex, integer, moments, number
from dirac.db.transaction import Transaction
from dirac.db.types import UtcDateTime

Compiled = ColumnElement[bool]
Pseudo = Callable[[Condition], Compiled]
"""Makes the SQL of a condition on a parameter that is no column; raises InvalidInputError."""

_TEXT_ONLY = ("like", "not like", "regex")
_ORDERED = ("gt", "lt")
_BINARY = {"mariadb": "utf8mb4_bin", "mysql": "utf8mb4_bin", "postgresql": "C"}


class Searchable:
    """What can be searched in one table.

    Args:
        columns: The parameters, by their names on the wire, in the order in which rows show them.
        key: Name of the parameter that identifies a row; sorts what is otherwise equal.
        pseudo: Parameters that are no columns and can only be asked for in conditions.
    """

    def __init__(
        self, columns: Mapping[str, Column[Any]], key: str, pseudo: Mapping[str, Pseudo] | None = None
    ) -> None:
        self._columns = dict(columns)
        self._key = key
        self._pseudo = dict(pseudo or {})

    @property
    def names(self) -> list[str]:
        """Names of all parameters that rows have."""
        return list(self._columns)

    def where(self, conditions: Sequence[Condition], dialect: str) -> Compiled:
        """Compile conditions, all of which must hold.

        Raises:
            InvalidInputError: A parameter is unknown, or a condition does not fit its type.
        """
        if len(conditions) > MAX_CONDITIONS:
            raise InvalidInputError(
                f"{len(conditions)} conditions; at most {MAX_CONDITIONS} are accepted", where="search"
            )
        if (count := sum(len(condition.values or ()) for condition in conditions)) > MAX_VALUES:
            raise InvalidInputError(
                f"the conditions hold {count} values; at most {MAX_VALUES} are accepted in all",
                where="search",
                hint="Split the request",
            )
        return and_(
            true(), *(self._condition(each, f"search[{i}]", dialect) for i, each in enumerate(conditions))
        )

    async def search(
        self, tx: Transaction, params: SearchParams, *, page: int, per_page: int, visible: Compiled
    ) -> Page:
        """Return one page of what fits.

        Args:
            tx: Where to look.
            params: What to look for.
            page: Number of the page, from 1.
            per_page: Rows on it, at most `MAX_PAGE`.
            visible: What the caller may see at all.

        Raises:
            InvalidInputError: The parameters cannot be understood; the message lists what can.
        """
        if page < 1 or not 1 <= per_page <= MAX_PAGE:
            raise InvalidInputError(f"page {page} of {per_page} rows; at most {MAX_PAGE} rows are on one")
        names = self._selected(params.parameters)
        base = select(*(self._columns[name] for name in names)).where(
            visible, self.where(params.search, tx.dialect)
        )
        if params.distinct:
            base = base.distinct()
        first = (page - 1) * per_page
        ordered = base.order_by(*self._order(params, names, tx.dialect)).offset(first).limit(per_page)
        rows = self._rows(names, await tx.execute(ordered))
        if 0 < len(rows) < per_page or (not rows and not first):
            return Page(rows=rows, total=first + len(rows), first=first)  # the last page: no need to count
        return Page(rows=rows, total=await self._count(tx, base, params.distinct), first=first)

    async def summary(
        self, tx: Transaction, params: SummaryParams, *, visible: Compiled
    ) -> list[dict[str, Any]]:
        """Count what fits by the values of some parameters; without any, all of it.

        Raises:
            InvalidInputError: As `search`; or there are more than `MAX_PAGE` groups.
        """
        names = self._selected(params.grouping) if params.grouping else []
        columns = [self._columns[name] for name in names]
        order = [part for name in names for part in self._ordering(Sort(name), tx.dialect)]
        statement = (
            select(*columns, func.count())
            .select_from(self._columns[self._key].table)
            .where(visible, self.where(params.search, tx.dialect))
            .group_by(*columns)
            .order_by(*order)
            .limit(MAX_PAGE + 1)
        )
        rows = (await tx.execute(statement)).all()
        if len(rows) > MAX_PAGE:
            raise InvalidInputError(
                f"there are more than {MAX_PAGE} groups", hint="Group by less, or search for less"
            )
        return [group | {"count": row[-1]} for group, row in zip(self._rows(names, rows), rows, strict=True)]

    async def _count(self, tx: Transaction, base: Select[Any], distinct: bool) -> int:
        counted = base if distinct else base.with_only_columns(self._columns[self._key])
        return int((await tx.execute(select(func.count()).select_from(counted.subquery()))).scalar_one())

    def _selected(self, names: Sequence[str] | None) -> list[str]:
        if not names:
            return self.names
        for name in names:
            self._column(name, "parameters")
        return list(dict.fromkeys(names))

    def _column(self, name: str, where: str) -> Column[Any]:
        column = self._columns.get(name)
        if column is None:
            known = self.names + (sorted(self._pseudo) if where.startswith("search") else [])
            raise InvalidInputError(
                f"there is no parameter {name[:80]!r} here",
                where=where,
                hint=f"Known are: {', '.join(known)}",
            )
        return column

    def _rows(self, names: Sequence[str], found: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        dated = [name for name in names if isinstance(self._columns[name].type, UtcDateTime)]
        rows = [dict(zip(names, values, strict=False)) for values in found]
        for row in rows:
            for name in dated:
                if (moment := row[name]) is not None:
                    row[name] = to_wire(moment)
        return rows

    def _order(self, params: SearchParams, names: Sequence[str], dialect: str) -> list[ColumnElement[Any]]:
        wanted: dict[str, Sort] = {}
        for sort in params.sort:
            self._column(sort.parameter, "sort")
            if params.distinct and sort.parameter not in names:
                raise InvalidInputError(
                    f"distinct rows cannot be sorted by {sort.parameter!r}, which they do not show",
                    where="sort",
                    hint="Add it to 'parameters'",
                )
            wanted.setdefault(sort.parameter, sort)
        # Pages would overlap if rows that are equal in the wanted order had no order among themselves.
        for name in names if params.distinct else [self._key]:
            wanted.setdefault(name, Sort(name))
        return [part for sort in wanted.values() for part in self._ordering(sort, dialect)]

    def _ordering(self, sort: Sort, dialect: str) -> list[ColumnElement[Any]]:
        column = self._columns[sort.parameter]
        exact = _exact(column, dialect) if _is_text(column) and dialect == "postgresql" else column
        descending = sort.direction == "desc"
        ordered = exact.desc() if descending else exact.asc()
        if dialect == "postgresql" and column.nullable:  # the others take "no value" for the least
            ordered = ordered.nulls_last() if descending else ordered.nulls_first()
        return [ordered]

    def _condition(self, condition: Condition, where: str, dialect: str) -> Compiled:
        if (fault := condition.fault()) is not None:
            raise InvalidInputError(fault, where=where)
        try:
            if (pseudo := self._pseudo.get(condition.parameter)) is not None:
                return pseudo(condition)
            column = self._column(condition.parameter, where)
            return _compile(column, condition, dialect)
        except InvalidInputError as error:
            raise InvalidInputError(error.message, where=where, hint=error.hint) from None


def values_of(condition: Condition) -> list[str]:
    """Return what a pseudo parameter is asked to equal, as texts.

    Raises:
        InvalidInputError: The operator is neither ``eq`` nor ``in``.
    """
    if condition.operator == "eq":
        return [str(condition.value)]
    if condition.operator == "in":
        return [str(value) for value in condition.values or ()]
    raise InvalidInputError(
        f"{condition.parameter!r} cannot be searched with {condition.operator!r}", hint="Use 'eq' or 'in'"
    )


def _is_text(column: Column[Any]) -> bool:
    return not isinstance(column.type, Integer | BigInteger | Float | Boolean | UtcDateTime)


def _exact(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    collation = _BINARY.get(dialect)
    return column.collate(collation) if collation else column


def _compile(column: Column[Any], condition: Condition, dialect: str) -> Compiled:
    operator, name = condition.operator, condition.parameter
    kind = column.type
    text = _is_text(column)
    if (operator in _TEXT_ONLY and not text) or (operator in _ORDERED and isinstance(kind, Boolean)):
        raise InvalidInputError(
            f"{name!r} cannot be searched with {operator!r}: it is no text"
            if operator in _TEXT_ONLY
            else f"{name!r} cannot be searched with {operator!r}: it is either true or false"
        )
    given = list(condition.values or ()) if operator in ("in", "not in") else [condition.value]
    if isinstance(kind, UtcDateTime):
        return _compare_moments(column, operator, [moments(value, name) for value in given])
    if text:
        texts = ["" if value is None else str(value) for value in given]
        return _compare_text(column, operator, texts, dialect)
    if isinstance(kind, Boolean):
        return _compare(column, operator, [boolean(value, name) for value in given])
    if isinstance(kind, Float):
        return _compare(column, operator, [number(value, name) for value in given])
    bits = 64 if isinstance(kind, BigInteger) else 32
    return _compare(column, operator, [integer(value, name, bits) for value in given])


def _compare(column: ColumnElement[Any], operator: str, values: list[Any]) -> Compiled:
    compared: dict[str, Callable[[], Compiled]] = {
        "eq": lambda: column == values[0],
        "neq": lambda: column != values[0],
        "gt": lambda: column > values[0],
        "lt": lambda: column < values[0],
        "in": lambda: column.in_(values),
        "not in": lambda: column.not_in(values),
    }
    return compared[operator]()


def _compare_text(column: Column[Any], operator: str, values: list[str], dialect: str) -> Compiled:
    exact = _exact(column, dialect)
    match operator:
        case "like":
            return exact.like(check_pattern(values[0]), escape="\\")
        case "not like":
            return exact.not_like(check_pattern(values[0]), escape="\\")
        case "regex":
            pattern = check_regex(values[0])
            if dialect == "sqlite":
                return func.regexp(pattern, column, type_=Boolean)
            return exact.regexp_match(pattern)
        case "gt" | "lt":
            return _compare(exact, operator, values)
        case _:
            return _compare(column, operator, values)


def _compare_moments(
    column: Column[Any], operator: str, ranges: list[tuple[datetime, datetime | None]]
) -> Compiled:
    """Compare with stretches of time: the whole of what was given, ``2026-11`` being a month."""
    if not ranges:
        return _compare(column, operator, [])
    begin, end = ranges[0]
    within = [
        and_(column >= start, column < stop) if stop is not None else column >= start
        for start, stop in ranges
    ]
    match operator:
        case "lt":
            return column < begin
        case "gt":
            return column >= end if end is not None else false()
        case "eq" | "in":
            return or_(*within)
        case _:
            return not_(or_(*within))
