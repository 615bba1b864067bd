"""Tables that can be searched: from the search language to pages, counts and groups.

Whatever an engine would fail on (a number that is out of range, a text where a number belongs, a bad
expression) is refused here, before it is asked; what takes too long is given up (`dirac.db.bounds`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Row,
    Select,
    String,
    and_,
    cast,
    func,
    or_,
    select,
    true,
    type_coerce,
)

from dirac.core.errors import InvalidInputError, InvalidShapeError
from dirac.core.search import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_PAGE,
    MAX_VALUES,
    Condition,
    Page,
    Paging,
    SearchParams,
    Sort,
    SummaryParams,
    leaves,
)
from dirac.db.bounds import TooSlowError, bounded
from dirac.db.search_conditions import Compiled, compile_leaf, negated
from dirac.db.search_pages import Key, behind, make_cursor, read_cursor
from dirac.db.search_parts import parts, possible
from dirac.db.transaction import Transaction
from dirac.db.types import UtcDateTime

Pseudo = Callable[[Condition], Compiled]
"""Makes the SQL of a condition on a parameter that is no column; raises InvalidInputError."""
Named = Callable[[str, Condition, str], Compiled]
"""The same for one of a family, told its name and the dialect."""

LONGEST = 15.0
"""Seconds that a search or a summary may take."""
_LONGEST_COUNT = 1.0
_MOST_COUNTED = 10_000
_AS_TEXT = ("sqlite", "mariadb")  # engines that give moments as texts
_HINT = "Add conditions on Status, Site, JobGroup or a time, or sort by the number"


Present = Callable[[str], Awaitable[tuple[Mapping[str, int], bool]]]
"""Counts rows by the values of a parameter, and tells whether only those that fit, or some more."""


class Searchable:
    """What can be searched in one table.

    Args:
        columns: The parameters, by their names on the wire, in the order in which rows show them.
        key: Name of the parameter that identifies a row; sorts what is otherwise equal.
        pseudo: Parameters that are no columns and can only be asked for in conditions.
        families: The same for all parameters whose names begin with a word and a dot.
        few: The values of parameters that have but few, and always one; orders may begin with these.
    """

    def __init__(
        self,
        columns: Mapping[str, Column[Any]],
        key: str,
        pseudo: Mapping[str, Pseudo] | None = None,
        families: Mapping[str, Named] | None = None,
        few: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._columns = dict(columns)
        self._key = key
        self._pseudo = dict(pseudo or {})
        self._families = dict(families or {})
        self._few = dict(few or {})

    @property
    def names(self) -> list[str]:
        """Names of all parameters that rows have."""
        return list(self._columns)

    def where(self, conditions: Sequence[Condition], dialect: str) -> Compiled:
        """Compile conditions, all of which must hold.

        Raises:
            InvalidShapeError: A parameter is unknown, a condition does not fit its type, or there are too
                many; `where` says which condition it is.
        """
        found = list(leaves(conditions))
        if len(found) > MAX_CONDITIONS:
            raise InvalidShapeError(
                f"{len(found)} conditions; at most {MAX_CONDITIONS} are accepted", where="search"
            )
        if (count := sum(len(condition.values or ()) for condition in found)) > MAX_VALUES:
            raise InvalidShapeError(
                f"the conditions hold {count} values; at most {MAX_VALUES} are accepted in all",
                where="search",
                hint="Split the request",
            )
        return and_(
            true(), *(self._compile(each, f"search[{i}]", dialect) for i, each in enumerate(conditions))
        )

    async def search(
        self,
        tx: Transaction,
        params: SearchParams,
        paging: Paging,
        *,
        visible: Compiled,
        known: Callable[[], Awaitable[int | None]] | None = None,
        present: Present | None = None,
    ) -> Page:
        """Return one page of what fits.

        Args:
            tx: Where to look.
            params: What to look for.
            paging: Which part of it, and whether to count.
            visible: What the caller may see at all.
            known: Finds out the number of all that fits without looking at it, None if that is not possible.
            present: Finds out which values of a parameter that has few are there.

        Raises:
            InvalidInputError: The parameters cannot be understood; the message lists what can. Or it takes
                too long.
        """
        if paging.page < 1 or not 1 <= paging.per_page <= MAX_PAGE:
            raise InvalidShapeError(
                f"page {paging.page} of {paging.per_page} rows; at most {MAX_PAGE} rows are on one"
            )
        names = self._selected(params.parameters)
        keys = self._keys(params, names)
        found = select(*self._shown(names, tx.dialect)).where(visible, self.where(params.search, tx.dialect))
        found = found.distinct() if params.distinct else found
        few, total = await self._first_values(params, paging, keys, present)
        page = await self._fetch(tx, found, params, paging, names, keys, few)
        count = paging.count
        if paging.cursor is None:
            if page.cursor is None and (page.rows or not page.first):
                return msgspec.structs.replace(page, total=(page.first or 0) + len(page.rows))
            count = True if not page.rows else count
        if count is False or (count is None and paging.cursor is not None):
            return page
        if total is None and known is not None and not params.distinct:
            total = await known()
        if total is None and not count:
            return await self._at_least(tx, found, params, page)
        total = await self._count(tx, found, params.distinct) if total is None else total
        return msgspec.structs.replace(page, total=total)

    async def summary(
        self, tx: Transaction, params: SummaryParams, *, visible: Compiled, hint: str = _HINT
    ) -> list[dict[str, Any]]:
        """Count what fits by the values of some parameters; without any, all of it.

        Raises:
            InvalidInputError: As `search`; or there are more than `MAX_PAGE` groups.
        """
        names = self._selected(params.grouping, "grouping") if params.grouping else []
        grouped = [self._columns[name] for name in names]
        statement = (
            select(*self._shown(names, tx.dialect), func.count())
            .select_from(self._columns[self._key].table)
            .where(visible, self.where(params.search, tx.dialect))
            .group_by(*grouped)
            .order_by(*(Key(name, self._columns[name], False).ordering(tx.dialect) for name in names))
            .limit(MAX_PAGE + 1)
        )
        return self.groups(names, (await bounded(tx, statement, LONGEST, hint)).all(), tx.dialect)

    def groups(
        self, names: Sequence[str], found: Sequence[Sequence[Any]], dialect: str
    ) -> list[dict[str, Any]]:
        """Return the rows of a summary: the names and ``count``, which comes last in what was found.

        Raises:
            InvalidInputError: They are too many.
        """
        if len(found) > MAX_PAGE:
            raise InvalidInputError(
                f"there are more than {MAX_PAGE} groups", hint="Group by less, or search for less"
            )
        rows = self._rows(names, found, dialect)
        for group, row in zip(rows, found, strict=True):
            group["count"] = int(row[-1])
        return rows

    async def _fetch(
        self,
        tx: Transaction,
        found: Select[Any],
        params: SearchParams,
        paging: Paging,
        names: Sequence[str],
        keys: Sequence[Key],
        few: Collection[str] | None,
    ) -> Page:
        """Return a page that nobody has counted; one row more than wanted tells whether there are more."""
        first = (paging.page - 1) * paging.per_page if paging.cursor is None else 0
        hidden = [key.name for key in keys if key.name not in names]
        found = found.add_columns(*self._shown(hidden, tx.dialect))
        after = read_cursor(paging.cursor, params, keys) if paging.cursor else None
        if few is None:
            whole = found.order_by(*(key.ordering(tx.dialect) for key in keys)).offset(first or None)
            statements = iter([whole if after is None else whole.where(behind(keys, after, tx.dialect))])
        else:
            statements = parts(found, keys, few, after, tx.dialect)
        result: list[Row[Any]] = []
        for statement in statements:
            left = paging.per_page + 1 - len(result)
            result += (await bounded(tx, statement.limit(left), LONGEST, _HINT)).all()
            if len(result) > paging.per_page:
                break
        rows = self._rows([*names, *hidden], result[: paging.per_page], tx.dialect)
        more = len(result) > len(rows)
        cursor = make_cursor(params, keys, [rows[-1][key.name] for key in keys]) if more else None
        for row in rows if hidden else ():
            for name in hidden:
                del row[name]
        return Page(rows=rows, total=None, first=None if paging.cursor else first, cursor=cursor)

    async def _first_values(
        self, params: SearchParams, paging: Paging, keys: Sequence[Key], present: Present | None
    ) -> tuple[Collection[str] | None, int | None]:
        """Return the values that what is wanted begins with, None if it is not to be asked for one by one.

        And the number of all that fits, if that turned out.
        """
        name = keys[0].name
        numbered = paging.cursor is None and paging.page > 1
        if name not in self._few or len(keys) == 1 or numbered or params.distinct:
            return None, None
        values = possible(self._few[name], name, params.search)
        if present is None or len(values) == 1:
            return values, None
        counted, fitting = await present(name)
        return set(values) & counted.keys(), sum(counted.values()) if fitting else None

    async def _at_least(self, tx: Transaction, found: Select[Any], params: SearchParams, page: Page) -> Page:
        """Count no further than is quickly done."""
        least = (page.first or 0) + len(page.rows) + 1
        most = max(_MOST_COUNTED, least)
        try:
            async with tx.savepoint():
                total = await self._count(tx, found, params.distinct, most + 1, _LONGEST_COUNT)
        except TooSlowError:
            return msgspec.structs.replace(page, total=least, exact=False)
        return msgspec.structs.replace(page, total=max(min(total, most), least), exact=total <= most)

    async def _count(
        self,
        tx: Transaction,
        found: Select[Any],
        distinct: bool,
        most: int | None = None,
        seconds: float = LONGEST,
    ) -> int:
        counted = (found if distinct else found.with_only_columns(self._columns[self._key])).limit(most)
        statement = select(func.count()).select_from(counted.subquery())
        return int((await bounded(tx, statement, seconds, _HINT)).scalar_one())

    def _selected(self, names: Sequence[str] | None, where: str = "parameters") -> list[str]:
        if not names:
            return self.names
        for name in names:
            self._column(name, where)
        return list(dict.fromkeys(names))

    def _column(self, name: str, where: str) -> Column[Any]:
        column = self._columns.get(name)
        if column is None:
            known = list(self.names)
            if where.startswith("search"):
                known += sorted(self._pseudo) + [f"{family}.NAME" for family in sorted(self._families)]
            raise InvalidShapeError(
                f"there is no parameter {name[:80]!r} here",
                where=where,
                hint=f"Known are: {', '.join(known)}",
            )
        return column

    def _shown(self, names: Sequence[str], dialect: str) -> list[ColumnElement[Any]]:
        """Return columns to be read; moments are read as texts or as they are, which is far less work."""
        columns = [self._columns[name] for name in names]
        return [_moment(c, dialect) if isinstance(c.type, UtcDateTime) else c for c in columns]

    def _rows(
        self, names: Sequence[str], found: Iterable[Sequence[Any]], dialect: str
    ) -> list[dict[str, Any]]:
        dated = [name for name in names if isinstance(self._columns[name].type, UtcDateTime)]
        rows = [dict(zip(names, values, strict=False)) for values in found]
        for row in rows:
            for name in dated:
                if (moment := row[name]) is not None:
                    text = moment if dialect in _AS_TEXT else moment.isoformat("T", "microseconds")
                    row[name] = f"{text[:10]}T{text[11:]}Z"
        return rows

    def _keys(self, params: SearchParams, names: Sequence[str]) -> list[Key]:
        wanted: dict[str, Sort] = {}
        for sort in params.sort:
            self._column(sort.parameter, "sort")
            if params.distinct and sort.parameter not in names:
                raise InvalidShapeError(
                    f"distinct rows cannot be sorted by {sort.parameter!r}, which they do not show",
                    where="sort",
                    hint="Add it to 'parameters'",
                )
            wanted.setdefault(sort.parameter, sort)
        if not params.distinct and self._key in wanted:  # nothing is left to be sorted behind it
            order = list(wanted.values())
            order = order[: order.index(wanted[self._key]) + 1]
            return [
                Key(sort.parameter, self._columns[sort.parameter], sort.direction == "desc") for sort in order
            ]
        # Pages would overlap if rows that are equal in the wanted order had no order among themselves; which
        # follows that of the last step, so that one index can have both.
        last = params.sort[-1].direction if params.sort else "asc"
        for name in names if params.distinct else [self._key]:
            wanted.setdefault(name, Sort(name, last))
        return [
            Key(sort.parameter, self._columns[sort.parameter], sort.direction == "desc")
            for sort in wanted.values()
        ]

    def _compile(self, condition: Condition, where: str, dialect: str, depth: int = 1) -> Compiled:
        if (fault := condition.fault()) is not None:
            raise InvalidShapeError(fault, where=where)
        if depth > MAX_DEPTH:
            raise InvalidShapeError(f"groups are nested deeper than {MAX_DEPTH}", where=where)
        if condition.not_ is not None:
            return negated(self._compile(condition.not_, f"{where}.not", dialect, depth + 1))
        if (members := condition.members) is not None:
            name = "or" if condition.or_ is not None else "and"
            parts = [
                self._compile(each, f"{where}.{name}[{i}]", dialect, depth + 1)
                for i, each in enumerate(members)
            ]
            return or_(*parts) if name == "or" else and_(*parts)
        return self._leaf(condition, where, dialect)

    def _leaf(self, condition: Condition, where: str, dialect: str) -> Compiled:
        name = str(condition.parameter)
        family, _, rest = name.partition(".")
        try:
            if (pseudo := self._pseudo.get(name)) is not None:
                return pseudo(condition)
            if rest and (named := self._families.get(family)) is not None:
                return named(rest, condition, dialect)
            return compile_leaf(self._column(name, where), condition, dialect)
        except InvalidInputError as error:
            raise InvalidShapeError(error.message, where=where, hint=error.hint) from None


def _moment(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    """Return a moment as it is read: for MariaDB to write it is less work than for its driver to make it."""
    if dialect == "mariadb":
        return cast(column, String(26)).label(column.name)
    return type_coerce(column, String() if dialect == "sqlite" else DateTime())
