"""SQLite under the event loop: nothing holds it up for long, and nothing is lost when somebody goes away."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dirac.core.errors import UnavailableError
from dirac.db import sqlite
from dirac.db.bounds import TooSlowError, bounded
from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.db.tables import schedules
from dirac.server.schema import LOCATIONS

# Counts to some millions: long enough to see who works meanwhile.
LONG = text(
    "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000)"
    " SELECT i FROM n)"
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await migrate(database, LOCATIONS)
    yield database
    await database.close()


async def rows(database: Database) -> int:
    async with database.read() as tx:
        return int((await tx.execute(text("SELECT count(*) FROM schedule"))).scalar_one())


async def test_a_long_query_leaves_the_loop_to_others(database: Database) -> None:
    turns, done = 0, asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    async with database.read() as tx:
        assert (await tx.execute(LONG)).scalar_one() == 3_000_000
    done.set()
    await beside
    assert turns > 10


async def test_a_short_query_needs_no_other_thread(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows(database)
    monkeypatch.setattr(sqlite.Connection, "in_thread", lambda *_: pytest.fail("a thread was asked for"))
    assert await rows(database) == 0


async def test_a_query_that_is_cancelled_ends(database: Database) -> None:
    async def ask() -> None:
        async with database.read() as tx:
            await tx.execute(LONG)

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await rows(database) == 0


async def test_whoever_is_cancelled_while_writing_has_changed_nothing(database: Database) -> None:
    many = [{"task": f"t{number}", "due": database.clock.now()} for number in range(5000)]

    async def write() -> None:
        async with database.write() as tx:
            await tx.execute(schedules.insert(), many)
            await asyncio.Event().wait()

    for turns in (1, 3, 30):
        writing = asyncio.create_task(write())
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await rows(database) == 0
    async with database.write() as tx:
        await tx.execute(schedules.insert(), many)
    assert await rows(database) == 5000


async def test_a_query_is_given_up_for_good_when_it_has_to_be(database: Database) -> None:
    async with database.read() as tx:
        with pytest.raises(TooSlowError, match=r"longer than 0\.01 s"):
            await bounded(tx, LONG, 0.01, "ask for less")
        assert (await tx.execute(text("SELECT 1"))).scalar_one() == 1


async def test_another_process_that_writes_is_waited_for(database: Database) -> None:
    other = sqlite3.connect(str(database.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO schedule (task, due) VALUES ('theirs', '2026-01-01 00:00:00.000000')")

    async def write() -> None:
        async with database.write() as tx:
            await tx.insert_missing(schedules, [{"task": "ours", "due": tx.now}])

    writing = asyncio.create_task(write())
    assert await rows(database) == 0  # reading waits for nobody
    assert not writing.done()
    other.execute("COMMIT")
    other.close()
    await writing
    assert await rows(database) == 2


async def test_waiting_for_another_process_has_an_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0)
    other = sqlite3.connect(str(database.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="OperationalError"):
        async with database.write():
            pytest.fail("two write at the same time")
    other.close()
