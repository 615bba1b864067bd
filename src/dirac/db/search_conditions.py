"""Conditions of the search language as SQL, with the same meaning on SQLite, MariaDB and PostgreSQL.

A condition on a row without a value for its parameter does not hold, whatever its operator, so its negation
does. Texts compare by code points, case included. (MariaDB alone takes no notice of blanks at the end.)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Integer,
    String,
    and_,
    false,
    func,
    not_,
    or_,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from dirac.core.errors import InvalidShapeError
from dirac.core.search import Condition
from dirac.db.search_values import boolean, check_pattern, check_regex, integer, moments, number
from dirac.db.types import UtcDateTime

Compiled = ColumnElement[bool]

_TEXT_ONLY = ("like", "not like", "regex")
_ORDERED = ("gt", "gte", "lt", "lte")
_BINARY = {"mariadb": "utf8mb4_bin", "mysql": "utf8mb4_bin"}
BY_CODE_POINTS = "dirac_by_code_points"
"""Attribute of PostgreSQL's dialect: whether the database compares texts so by itself."""


def values_of(condition: Condition) -> list[str]:
    """Return what a pseudo parameter is asked to equal, as texts.

    Raises:
        InvalidShapeError: The operator is neither ``eq`` nor ``in``.
    """
    if condition.operator == "eq":
        return [str(condition.value)]
    if condition.operator == "in":
        return [str(value) for value in condition.values or ()]
    raise InvalidShapeError(
        f"{condition.parameter!r} cannot be searched with {condition.operator!r}", hint="Use 'eq' or 'in'"
    )


def negated(compiled: Compiled) -> Compiled:
    """Return the condition that another one does not hold, for whatever reason."""
    return compiled.is_not(true())


def is_text(column: Column[Any]) -> bool:
    """Tell whether values of a column are texts."""
    return not isinstance(column.type, Integer | BigInteger | Float | Boolean | UtcDateTime)


def exact(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    """Return a text column so that it compares by code points."""
    collation = _BINARY.get(dialect)
    if dialect == "postgresql":
        return _ByCodePoints(column)
    return column.collate(collation) if collation else column


class _ByCodePoints(FunctionElement[str]):
    """A text on PostgreSQL, where an index is of use only with the collation that its column has."""

    inherit_cache = True
    type = String()


@compiles(_ByCodePoints)
def _collated(element: _ByCodePoints, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    return column if getattr(compiler.dialect, BY_CODE_POINTS, False) else f'{column} COLLATE "C"'


def compile_leaf(column: Column[Any], condition: Condition, dialect: str) -> Compiled:
    """Return a condition on a column as SQL.

    Raises:
        InvalidInputError: It does not fit the column's type.
    """
    operator, name = str(condition.operator), str(condition.parameter)
    kind, text = column.type, is_text(column)
    if operator in ("is null", "is not null"):
        return column.is_(None) if operator == "is null" else column.is_not(None)
    if operator in _TEXT_ONLY and not text:
        raise InvalidShapeError(f"{name!r} cannot be searched with {operator!r}: it is no text")
    if operator in _ORDERED and isinstance(kind, Boolean):
        raise InvalidShapeError(f"{name!r} cannot be searched with {operator!r}: it is either true or false")
    given = list(condition.values or ()) if operator in ("in", "not in") else [condition.value]
    if not given:
        return false() if operator == "in" else column.is_not(None)
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
        "gte": lambda: column >= values[0],
        "lt": lambda: column < values[0],
        "lte": lambda: column <= values[0],
        "in": lambda: column.in_(values),
        "not in": lambda: column.not_in(values),
    }
    return compared[operator]()


def _compare_text(column: Column[Any], operator: str, values: list[str], dialect: str) -> Compiled:
    if operator not in _TEXT_ONLY + _ORDERED:
        return _compare(column, operator, values)
    precise = exact(column, dialect)
    if operator == "like":
        return precise.like(check_pattern(values[0]), escape="\\")
    if operator == "not like":
        return precise.not_like(check_pattern(values[0]), escape="\\")
    if operator == "regex":
        pattern = check_regex(values[0])
        if dialect == "sqlite":
            return func.regexp(pattern, column, type_=Boolean)
        return precise.regexp_match(pattern)
    return _compare(precise, operator, values)


def _compare_moments(
    column: Column[Any], operator: str, ranges: list[tuple[datetime, datetime | None]]
) -> Compiled:
    """Compare with stretches of time: the whole of what was given, ``2026-11`` being a month."""
    begin, end = ranges[0]
    within = [
        and_(column >= start, column < stop) if stop is not None else column >= start
        for start, stop in ranges
    ]
    match operator:
        case "lt":
            return column < begin
        case "gte":
            return column >= begin
        case "gt":
            return column >= end if end is not None else false()
        case "lte":
            return column < end if end is not None else column.is_not(None)
        case "eq" | "in":
            return or_(*within)
        case _:
            return not_(or_(*within))
