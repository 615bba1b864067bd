"""The same cases on every database: a migrated, empty one for each test.

Migrating takes longer than most tests, so each engine is migrated once and emptied between the tests, but for
what nobody can remove: the audit log. The user of the tests may read and write rows and nothing else, as that
of an installation.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from dirac.db.engine import Database
from dirac.db.tables import schema_lines
from dirac.server.schema import all_tables
from dirac.testing.time import FakeClock
from tests.services.fixtures import DATABASES, migrated


@pytest.fixture(scope="session")
def _mariadb_migrated(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("mariadb_server")
    url: str = server.create_database()
    asyncio.run(migrated(url))
    user: str = server.create_user(url)
    return user


@pytest.fixture(scope="session")
def _postgresql_migrated(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("postgresql_server")
    url: str = server.create_database()
    user: str = server.create_user(url)
    asyncio.run(migrated(url))
    return user


@pytest.fixture(params=DATABASES)
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated database without rows, on each engine in turn."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "test.db")
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    url: str = request.getfixturevalue(f"_{request.param}_migrated")
    yield url
    asyncio.run(_empty(url))


async def _empty(url: str) -> None:
    database = Database(url)
    kept = {table.name for table in all_tables() if table.info.get("append_only")} | {schema_lines.name}
    names = [table.name for table in all_tables() if table.name not in kept]
    async with database.engine.begin() as connection:
        for name in names:
            await connection.execute(text(f"DELETE FROM {name}"))
    await database.close()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until it is moved."""
    return FakeClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


@pytest.fixture
async def database(migrated_url: str, clock: FakeClock) -> AsyncIterator[Database]:
    """A migrated database without rows, on each engine in turn."""
    database = Database(migrated_url, clock=clock)
    yield database
    await database.close()
