"""Column types that mean the same on SQLite, MariaDB and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, LargeBinary, Text
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeDecorator

BigId = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit key; SQLite numbers rows by itself only in a column that is called INTEGER."""

LongText = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
LongBinary = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
Json = JSON().with_variant(postgresql.JSONB(), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with microseconds: aware in Python, without a zone and in UTC in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Ask MariaDB for microseconds, which it drops by default."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Strip the zone, after conversion to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment without a time zone cannot be stored: {value.isoformat()}")
        return (value if value.tzinfo is UTC else value.astimezone(UTC)).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that what was read is UTC."""
        return None if value is None else value.replace(tzinfo=UTC)

    # Most rows have several moments, so the ways to a driver and back are short. SQLite keeps texts.

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return what makes a value fit for the driver."""

        def bare(value: datetime | None) -> datetime | None:
            return self.process_bind_param(value, dialect)

        def text(value: datetime | None) -> str | None:
            bare = self.process_bind_param(value, dialect)
            return None if bare is None else bare.isoformat(" ", "microseconds")

        return text if dialect.name == "sqlite" else bare

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return what makes a moment of what the driver gives."""

        def from_bare(value: datetime | None) -> datetime | None:
            return None if value is None else value.replace(tzinfo=UTC)

        def from_text(value: str | None) -> datetime | None:
            return None if value is None else datetime.fromisoformat(value + "+00:00")

        return from_text if dialect.name == "sqlite" else from_bare
