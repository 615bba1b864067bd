"""One statement that inserts rows or changes them, which every engine words in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table
from sqlalchemy.dialects import mysql, postgresql, sqlite


def upsert(
    dialect: str, table: Table, key: Sequence[ColumnElement[Any]], news: Callable[[Any], Mapping[str, Any]]
) -> Any:
    """Return the statement that inserts rows, and changes those that are there.

    Args:
        dialect: For which engine.
        table: Of the rows.
        key: The unique columns by which a row is known to be there.
        news: Makes the new values of such a row, by columns, from the row that was to be inserted.
    """
    if dialect == "mariadb":
        statement = mysql.insert(table)
        return statement.on_duplicate_key_update(**news(statement.inserted))
    inserted = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    return inserted.on_conflict_do_update(index_elements=key, set_=news(inserted.excluded))
