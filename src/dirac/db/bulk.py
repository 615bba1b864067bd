"""Insertion of many rows: compiled once, values converted here, handed to the driver as they are.

SQLAlchemy makes a dictionary of every row and looks at each of its values several times. That is most of what
a row costs, so rows come as tuples here, and what is equal in all of them is converted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

from sqlalchemy import Dialect, Table, insert

Convert = Callable[[Any], Any]


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
        self._columns = columns
        self._order = [columns.index(name) for name in compiled.positiontup or ()]
        types = [table.c[name].type.dialect_impl(dialect) for name in columns]
        self._converters: list[Convert | None] = [kind.bind_processor(dialect) for kind in types]

    def rows(self, common: Mapping[str, Any], rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """Return rows as the driver wants them.

        Args:
            common: Values that all rows have; they come before the others, in the order of the columns.
            rows: The other values of each row.
        """
        content = list(rows)
        if not content:
            return []
        given: dict[int, Iterable[Any]] = {}  # column by column: most need nothing done to them
        for place, value in enumerate(common.values()):
            convert = self._converters[place]
            given[place] = repeat(convert(value) if convert else value, len(content))
        for place, values in enumerate(zip(*content, strict=True), start=len(common)):
            convert = self._converters[place]
            given[place] = map(_memo(convert), values) if convert else values
        return list(zip(*(given[place] for place in self._order), strict=True))


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
