"""Insertion of many rows: compiled once, values converted here, handed to the driver as they are.

SQLAlchemy makes a dictionary of every row and looks at each of its values several times. That is most of what
a row costs, so rows come as tuples here, and what is equal in all of them is converted once.

PostgreSQL gets many rows as one statement, with an array for each column: a statement for each row would cost
several times as much there, and run the triggers that look at whole statements once per row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

from sqlalchemy import Dialect, Table, insert

Convert = Callable[[Any], Any]
Call = tuple[str, Any]
"""A statement, and what the driver takes with it: values, or a list of rows of values."""


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

    def call(self, common: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> Call:
        """Return the statement that inserts these rows.

        Args:
            common: Values that all rows have; they come before the others, in the order of the columns.
            rows: The other values of each row.
        """
        if len(rows) > 1 and self._dialect.name == "postgresql":
            return self._with_arrays(common, rows)
        return self.sql, self._values(common, rows)

    def returning(self, key: str, common: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> Call:
        """Return the one statement that inserts these rows and returns the numbers that it gave them."""
        into, _, values = self.sql.rpartition("VALUES ")
        given = tuple(itertools.chain.from_iterable(self._values(common, rows)))
        return f"{into}VALUES {', '.join([values] * len(rows))} RETURNING {key}", given

    def _values(self, common: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        given: list[Iterable[Any]] = [  # column by column: most need nothing done to them
            repeat(convert(value) if convert else value, len(rows))
            for convert, value in zip(self._converters, common.values(), strict=False)
        ]
        others = zip(self._converters[len(common) :], zip(*rows, strict=True), strict=True)
        given += [map(_memo(convert), values) if convert else values for convert, values in others]
        return list(zip(*(given[place] for place in self._order), strict=True))

    def _with_arrays(self, common: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> Call:
        """Return one statement for all rows; what turns out to be the same in all of them is in it once."""
        columns = list(zip(*rows, strict=True))
        same = [True] * len(common) + [values.count(values[0]) == len(rows) for values in columns]
        if all(same):
            same[-1] = False  # an array says how many rows they are
        firsts = [*common.values(), *(values[0] for values in columns)]
        given = []
        for place, convert in enumerate(self._converters):
            if same[place]:
                given.append(convert(firsts[place]) if convert else firsts[place])
            else:
                values = columns[place - len(common)]
                given.append(list(map(_memo(convert), values)) if convert else list(values))
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
