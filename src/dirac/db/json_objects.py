"""Many rows as one value: an object of JSON that the engine makes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from dirac.db.types import Json


class ObjectOf(FunctionElement[dict[str, Any]]):
    """Aggregate of rows: an object with their names and values; NULL or empty if there are no rows.

    Each row that a driver hands on costs as much as each of its columns; that is not what one wants to pay
    for what is small and belongs to one row.

    Args:
        name: A column of texts, unique among the rows.
        value: A column of the type `Json`.
    """

    type = Json  # type: ignore[assignment]  # of values that are said to be more general
    inherit_cache = True

    def __init__(self, name: ColumnElement[str], value: ColumnElement[Any]) -> None:
        super().__init__(name, value)


@compiles(ObjectOf, "sqlite")
def _sqlite(element: ObjectOf, compiler: SQLCompiler, **options: Any) -> str:
    name, value = _parts(element, compiler, options)
    return f"json_group_object({name}, json({value}))"


@compiles(ObjectOf, "mariadb")
def _mariadb(element: ObjectOf, compiler: SQLCompiler, **options: Any) -> str:
    name, value = _parts(element, compiler, options)
    return f"json_objectagg({name}, json_compact({value}))"


@compiles(ObjectOf, "postgresql")
def _postgresql(element: ObjectOf, compiler: SQLCompiler, **options: Any) -> str:
    name, value = _parts(element, compiler, options)
    return f"jsonb_object_agg({name}, {value})"


def _parts(element: ObjectOf, compiler: SQLCompiler, options: dict[str, Any]) -> list[str]:
    return [compiler.process(each, **options) for each in element.clauses]
