"""The migrations and the tables in the code say the same, on every engine."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from dirac.core.errors import UnavailableError
from dirac.db.engine import Database
from dirac.db.revisions import heads, require_current
from dirac.db.schema import alembic_config, migrate
from dirac.server.schema import LOCATIONS, METADATA


async def test_migrations_make_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection)
        return list(compare_metadata(context, list(METADATA)))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_migrated_database_needs_no_migration(database: Database) -> None:
    await require_current(database, LOCATIONS)
    assert (await migrate(database, LOCATIONS)).changed is False


async def test_an_empty_database_is_refused_with_the_command_that_mends_it(database_url: str) -> None:
    empty = Database(database_url)
    try:
        with pytest.raises(UnavailableError, match="dirac-server migrate"):
            await require_current(empty, LOCATIONS)
        assert (await migrate(empty, LOCATIONS)).changed is True
        await require_current(empty, LOCATIONS)
    finally:
        await empty.close()


def test_the_newest_revisions_are_those_that_alembic_finds() -> None:
    assert heads(LOCATIONS) == frozenset(ScriptDirectory.from_config(alembic_config(LOCATIONS)).get_heads())
