"""Order, and pages that begin behind a row instead of at a number.

A page by number has to pass over all rows before it, and shows rows twice or never when others come and go
meanwhile. A cursor holds the values, in the order of the search, of the last row that was shown; the next
page is what comes behind them. It is no secret and no promise: it only saves typing conditions.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Boolean, Column, ColumnElement, Float, Integer, and_, false, literal, or_, tuple_

from dirac.core.errors import InvalidShapeError
from dirac.core.search import SearchParams
from dirac.db.search_conditions import Compiled, exact, is_text
from dirac.db.search_values import moments
from dirac.db.types import UtcDateTime

_HINT = "Begin anew with an empty cursor"


class Key(NamedTuple):
    """One step of an order.

    Attributes:
        name: The parameter, as on the wire.
        column: Where it is.
        descending: From the greatest down. What has no value is the least.
    """

    name: str
    column: Column[Any]
    descending: bool

    def expression(self, dialect: str) -> ColumnElement[Any]:
        """Return what is compared; on PostgreSQL texts would be sorted by the database's language."""
        return (
            exact(self.column, dialect) if dialect == "postgresql" and is_text(self.column) else self.column
        )

    def ordering(self, dialect: str) -> ColumnElement[Any]:
        """Return what is sorted by."""
        compared = self.expression(dialect)
        ordered = compared.desc() if self.descending else compared.asc()
        if dialect == "postgresql" and self.column.nullable:  # the others take "no value" for the least
            return ordered.nulls_last() if self.descending else ordered.nulls_first()
        return ordered

    def _literal(self, value: Any) -> ColumnElement[Any]:
        return literal(value, self.column.type)  # as it is, truth would be no value that can be compared

    def same(self, value: Any) -> Compiled:
        """Return the condition that a row has this value."""
        return self.column.is_(None) if value is None else self.column == self._literal(value)

    def behind(self, value: Any, dialect: str) -> Compiled:
        """Return the condition that a row comes behind this value."""
        if value is None:
            return false() if self.descending else self.column.is_not(None)
        compared, given = self.expression(dialect), self._literal(value)
        found: Compiled = compared < given if self.descending else compared > given
        return or_(found, self.column.is_(None)) if self.descending and self.column.nullable else found


def behind(keys: Sequence[Key], values: Sequence[Any], dialect: str) -> Compiled:
    """Return the condition that a row comes behind one with these values.

    In the form that lets the engine begin at that place of an index: SQLite and PostgreSQL compare tuples so,
    MariaDB makes ranges of alternatives.
    """
    alike = len({key.descending for key in keys}) == 1
    if dialect != "mariadb" and alike and not any(key.column.nullable for key in keys):
        left = tuple_(*(key.expression(dialect) for key in keys))
        right = tuple_(*values, types=[key.column.type for key in keys])
        return left < right if keys[0].descending else left > right
    ways = [
        and_(*(keys[j].same(values[j]) for j in range(i)), keys[i].behind(values[i], dialect))
        for i in range(len(keys))
    ]
    return or_(*ways)


def make_cursor(params: SearchParams, keys: Sequence[Key], values: Sequence[Any]) -> str:
    """Return the cursor behind a row with these values, as on the wire."""
    content = msgspec.json.encode([_digest(params, keys), *values])
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def read_cursor(cursor: str, params: SearchParams, keys: Sequence[Key]) -> list[Any]:
    """Return the values of a cursor, for comparison with columns.

    Raises:
        InvalidShapeError: It is none, or one of another search.
    """
    try:
        content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        digest, *values = msgspec.json.decode(content, type=list[str | bool | int | float | None])
    except (ValueError, msgspec.MsgspecError):
        raise InvalidShapeError("this is no cursor", where="cursor", hint=_HINT) from None
    if digest != _digest(params, keys) or len(values) != len(keys):
        raise InvalidShapeError("the cursor belongs to another search", where="cursor", hint=_HINT)
    return [_value(key, value) for key, value in zip(keys, values, strict=True)]


def _digest(params: SearchParams, keys: Sequence[Key]) -> str:
    order = [(key.name, key.descending) for key in keys]
    return hashlib.sha256(msgspec.json.encode([params.search, order])).hexdigest()[:12]


def _value(key: Key, value: Any) -> Any:
    if value is None and key.column.nullable:
        return None
    kind = key.column.type
    expected: type = str
    if isinstance(kind, Boolean):
        expected = bool
    elif isinstance(kind, Integer):
        expected = int
    elif isinstance(kind, Float):
        expected = float
        value = float(value) if type(value) is int else value
    if type(value) is not expected:
        raise InvalidShapeError("this is no cursor", where="cursor", hint=_HINT)
    return moments(str(value), key.name)[0] if isinstance(kind, UtcDateTime) else value
