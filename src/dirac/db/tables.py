"""The tables of the mechanisms themselves: history, outbox, schedule, idempotency keys.

Decision 0003 says why these live here although no system's table does.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, String, Table

from dirac.db.types import BigId, Json, LongText, UtcDateTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def new_metadata() -> MetaData:
    """Return the collection that a system declares its tables in, with the common naming rules."""
    return MetaData(naming_convention=NAMING)


metadata = new_metadata()

events = Table(
    "event",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("time", UtcDateTime, nullable=False),
    Column("recorded", UtcDateTime, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("subject_kind", String(16), nullable=False),
    Column("subject_id", String(64), nullable=False),
    Column("attempt", Integer),
    Column("actor", String(255), nullable=False),
    Column("data", Json, nullable=False),
    Index(None, "subject_kind", "subject_id", "id"),
    sqlite_autoincrement=True,
)

tasks = Table(
    "task",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("args", Json, nullable=False),
    # Unique while the work has not begun; then emptied, so that what comes later is not dropped.
    Column("pending_key", String(255), unique=True),
    Column("state", String(16), nullable=False),
    Column("due", UtcDateTime, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("finished", UtcDateTime),
    Column("error", LongText),
    Index(None, "state", "due"),
)

schedules = Table(
    "schedule",
    metadata,
    Column("task", String(128), primary_key=True),
    Column("due", UtcDateTime, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(255), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("answer", LongText, nullable=False),
    Column("created", UtcDateTime, nullable=False, index=True),
)

schema_lines = Table(
    "schema_line",
    metadata,
    Column("line", String(64), primary_key=True),
    # The last contract revision that was begun; code that knows it can work with this database.
    Column("compatible_from", String(64)),
)
