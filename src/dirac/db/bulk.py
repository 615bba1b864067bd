"""Insertion of many rows: compiled once, values converted here, handed to the driver as they are.

SQLAlchemy makes a dictionary of every row and looks at each of its values several times. That is most of what
a row costs, so rows come as tuples here, and what is equal in all of them is converted once.

PostgreSQL gets many rows as one statement, with an array for each column: a statement for each row would cost
several times as much there, and run the triggers that look at whole statements once per row. MariaDB's driver
writes each value of each row into the statement; what is the same in all rows it writes once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

from sqlalchemy import Dialect, Table, insert

from dirac.db.mariadb import Once

Convert = Callable[[Any], Any]
Call = tuple[str, Any]
"""A statement, and what the driver takes with it: values, or a list of rows of values."""
Literal = Callable[[Any], str]
"""How a connection to MariaDB writes a value into a statement."""

MOST_ROWS = 1000
"""Of one statement."""
_LONGEST = 1_000_000  # characters of a statement's values; the server takes 16 MB


class BulkInsert:
    """The insertion of rows that have these columns.

    Args:
        table: Where they go.
        columns: In the order of the values.
        dialect: The engine's.
    """

    def __init__(self, table: Table, columns: Sequence[str], dialect: Dialect) -> None:
        compiled = insert(table).inline().compile(dialect=dialect, column_keys=list(columns))
        self.sql = str(compiled)
        self._table = table
        self._columns = columns
        self._dialect = dialect
        self._array_sql: dict[tuple[bool, ...], str] = {}
        self._order = [columns.index(name) for name in compiled.positiontup or ()]
        types = [table.c[name].type.dialect_impl(dialect) for name in columns]
        self._converters: list[Convert | None] = [kind.bind_processor(dialect) for kind in types]

    def calls(
        self, common: Mapping[str, Any], rows: Sequence[Sequence[Any]], literal: Literal | None
    ) -> Iterator[Call]:
        """Yield the statements that insert these rows.

        Args:
            common: Values that all rows have; they come before the others, in the order of the columns.
            rows: The other values of each row.
            literal: Of a connection to MariaDB.
        """
        if len(rows) > 1 and self._dialect.name == "postgresql":
            yield self._with_arrays(common, rows)
        elif len(rows) > 1 and literal is not None:
            for start in range(0, len(rows), MOST_ROWS):
                some = rows[start : start + MOST_ROWS]
                sql, given = self._as_one(common, some, literal)
                long = sum(len(value) for value in given if isinstance(value, str)) > _LONGEST
                yield (self.sql, self._values(common, some)) if long else (Once(sql), given)
        else:
            yield self.sql, self._values(common, rows)

    def returning(
        self, key: str, common: Mapping[str, Any], rows: Sequence[Sequence[Any]], literal: Literal | None
    ) -> Call:
        """Return the one statement that inserts these rows and returns the numbers that it gave them."""
        if len(rows) > 1 and literal is not None:
            sql, given = self._as_one(common, rows, literal)
            return Once(f"{sql} RETURNING {key}"), given
        into, _, values = self.sql.rpartition("VALUES ")
        sql = f"{into}VALUES {', '.join([values] * len(rows))} RETURNING {key}"
        return sql, tuple(itertools.chain.from_iterable(self._values(common, rows)))

    def _values(self, common: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        given: list[Iterable[Any]] = [  # column by column: most need nothing done to them
            repeat(convert(value) if convert else value, len(rows))
            for convert, value in zip(self._converters, common.values(), strict=False)
        ]
        others = zip(self._converters[len(common) :], zip(*rows, strict=True), strict=True)
        given += [map(_memo(convert), values) if convert else values for convert, values in others]
        return list(zip(*(given[place] for place in self._order), strict=True))

    def _columns_of(
        self, common: Mapping[str, Any], rows: Sequence[Sequence[Any]]
    ) -> tuple[list[bool], list[Any]]:
        """Return for each column whether it is the same in all rows, and its one value or its values."""
        columns = list(zip(*rows, strict=True))
        same = [True] * len(common) + [values.count(values[0]) == len(rows) for values in columns]
        if all(same):
            same[-1] = False  # it says how many rows they are
        firsts = [*common.values(), *(values[0] for values in columns)]
        given: list[Any] = []
        for place, convert in enumerate(self._converters):
            if same[place]:
                given.append(convert(firsts[place]) if convert else firsts[place])
            else:
                values = columns[place - len(common)]
                given.append(list(map(_memo(convert), values)) if convert else list(values))
        return same, given

    def _as_one(self, common: Mapping[str, Any], rows: Sequence[Sequence[Any]], literal: Literal) -> Call:
        """Return one statement for all rows, in which what is the same in all of them is written already."""
        same, given = self._columns_of(common, rows)
        into = self.sql.rpartition("VALUES ")[0]  # behind it there are placeholders, and nothing else
        row = [literal(given[place]).replace("%", "%%") if same[place] else "%s" for place in self._order]
        varying = [given[place] for place in self._order if not same[place]]
        values = f"({', '.join(row)})"
        sql = f"{into}VALUES {', '.join([values] * len(rows))}"
        return sql, tuple(itertools.chain.from_iterable(zip(*varying, strict=True)))

    def _with_arrays(self, common: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> Call:
        """Return one statement for all rows; what turns out to be the same in all of them is in it once."""
        same, given = self._columns_of(common, rows)
        if (sql := self._array_sql.get(tuple(same))) is None:
            sql = self._array_sql[tuple(same)] = self._make_array_sql(same)
        return sql, tuple(given)

    def _make_array_sql(self, same: Sequence[bool]) -> str:
        # Without lengths: a cast to one would cut what is too long, where an insertion refuses it.
        kinds = [
            self._table.c[name].type.compile(dialect=self._dialect).partition("(")[0]
            for name in self._columns
        ]
        given = list(enumerate(zip(self._columns, kinds, same, strict=True), start=1))
        values = [f"${number}::{kind}" if alone else f'r."{name}"' for number, (name, kind, alone) in given]
        arrays = [f"${number}::{kind}[]" for number, (_, kind, alone) in given if not alone]
        names = [f'"{name}"' for name in self._columns]
        varying = [name for name, alone in zip(names, same, strict=True) if not alone]
        return (
            f'INSERT INTO "{self._table.name}" ({", ".join(names)}) SELECT {", ".join(values)} '  # noqa: S608 - names of ours
            f"FROM unnest({', '.join(arrays)}) AS r({', '.join(varying)})"
        )


def _memo(convert: Convert) -> Convert:
    """Return a conversion that knows the last few objects by their identity: most are the same again."""
    known: dict[int, tuple[Any, Any]] = {}

    def converted(value: Any) -> Any:
        if value is None:
            return convert(None)
        if (found := known.get(id(value))) is not None:
            return found[1]
        if len(known) > 16:
            known.clear()
        result = convert(value)
        known[id(value)] = (value, result)  # kept alive, so that its identity stays its own
        return result

    return converted


@lru_cache(maxsize=64)
def bulk_insert(table: Table, columns: tuple[str, ...], dialect: Dialect) -> BulkInsert:
    """Return the insertion of rows into a table, made once."""
    return BulkInsert(table, columns, dialect)
