"""Many rows at once: what is read is what was given, on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, Integer, String, Table, Text, delete, event, select, text

from dirac.db.bulk import MOST_ROWS
from dirac.db.engine import Database
from dirac.db.tables import new_metadata
from dirac.db.types import BigId, UtcDateTime

from .made import with_tables

metadata = new_metadata()
things = Table(
    "bulk_thing",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("vo", String(64), nullable=False),
    Column("made", UtcDateTime),
    Column("name", Text, nullable=False),
    Column("size", Integer),
    Column("good", Boolean, nullable=False),
    sqlite_autoincrement=True,
)
MADE = datetime(2026, 11, 20, 9, 30, 15, 500_000, tzinfo=UTC)
_COLUMNS = ("vo", "made", "name", "size", "good")
_WORDS = ["", "%", "%s", "%%d", "'", "''; --", '"', "\\", "\\'", "a\nb", "\t", "Zoë ☃ 𝄞", "NULL", "\x1a"]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with with_tables(database_url, metadata) as database:
        yield database


async def _read(database: Database) -> list[tuple[Any, ...]]:
    async with database.read() as tx:
        found = await tx.execute(select(*(things.c[name] for name in _COLUMNS)).order_by(things.c.id))
        return [tuple(row) for row in found]


_texts = st.sampled_from(_WORDS) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=20
)
_rows = st.lists(
    st.tuples(_texts, st.none() | st.integers(-(2**31), 2**31 - 1), st.booleans()), min_size=1, max_size=4
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(vo=_texts, made=st.sampled_from([None, MADE]), rows=_rows, numbered=st.booleans())
async def test_what_was_inserted_is_found(
    database: Database, vo: str, made: datetime | None, rows: Sequence[Any], numbered: bool
) -> None:
    vo = vo[:60]
    async with database.write() as tx:
        await tx.execute(delete(things))
        common = {"vo": vo, "made": made}
        if numbered:
            numbers = await tx.insert_numbered(things, _COLUMNS, common, rows)
            assert numbers == sorted(set(numbers))
            assert len(numbers) == len(rows)
        else:
            await tx.insert_all(things, _COLUMNS, common, rows)
    assert await _read(database) == [(vo, made, *row) for row in rows]


async def test_what_is_long_goes_in_pieces(database: Database) -> None:
    rows = [(f"{number:>2000}", number, True) for number in range(MOST_ROWS + 10)]
    async with database.write() as tx:
        await tx.insert_all(things, _COLUMNS, {"vo": "astro", "made": MADE + timedelta(days=1)}, rows)
    found = await _read(database)
    assert [row[2:] for row in found] == rows


async def test_without_backslashes_as_escapes_nothing_escapes(database: Database) -> None:
    if database.dialect != "mariadb":
        pytest.skip("only MariaDB can be told so")

    def told(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')")
        cursor.close()

    event.listen(database.engine.sync_engine, "connect", told)
    await database.engine.dispose()
    rows = [("\\", 1, True), ("\\'); DROP TABLE bulk_thing; --", 2, True)]
    async with database.write() as tx:
        assert "NO_BACKSLASH" in (await tx.execute(text("SELECT @@sql_mode"))).scalar_one()
        await tx.insert_all(things, _COLUMNS, {"vo": "\\' OR 1 --", "made": None}, rows)
    assert [(row[0], *row[2:]) for row in await _read(database)] == [("\\' OR 1 --", *row) for row in rows]
