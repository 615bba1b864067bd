"""The private servers as pytest fixtures.

Each starts when the first test asks for it and ends with the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.server.schema import LOCATIONS

from . import mariadb, postgresql, rabbitmq
from .packages import obtain

DATABASES = ("sqlite", "mariadb", "postgresql")


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[mariadb.MariaDB]:
    """A running MariaDB."""
    with mariadb.MariaDB(obtain(mariadb.PACKAGES)) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.PostgreSQL]:
    """A running PostgreSQL."""
    with postgresql.PostgreSQL(obtain(postgresql.PACKAGES)) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[rabbitmq.RabbitMQ]:
    """A running RabbitMQ."""
    with rabbitmq.RabbitMQ(obtain(rabbitmq.PACKAGES)) as server:
        yield server


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """SQLAlchemy's URL of a fresh empty database, on each engine in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server: mariadb.MariaDB | postgresql.PostgreSQL = request.getfixturevalue(f"{request.param}_server")
    url = server.create_database()
    yield url
    server.drop_database(url)


async def migrated(url: str) -> None:
    """Bring a new database to the present schema."""
    database = Database(url)
    await migrate(database, LOCATIONS)
    await database.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database, to be copied: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(migrated(f"sqlite:///{file}"))
    return file
