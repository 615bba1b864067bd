"""Running migrations. Every system brings its own line of them, so an extension can bring tables too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from dirac.core.errors import UnavailableError
from dirac.db.engine import Database

_HERE = Path(__file__).parent
OWN = _HERE / "migrations"


def _config(locations: Sequence[Path]) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE / "alembic"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(path) for path in (OWN, *locations)))
    return config


def heads(locations: Sequence[Path]) -> frozenset[str]:
    """Return the newest revision of each line of migrations."""
    return frozenset(ScriptDirectory.from_config(_config(locations)).get_heads())


async def current(database: Database) -> frozenset[str]:
    """Return the revisions that the database is at; empty for a new one."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(
            lambda sync: frozenset(MigrationContext.configure(sync).get_current_heads())
        )


async def migrate(database: Database, locations: Sequence[Path], revision: str = "heads") -> bool:
    """Bring the database to a revision; return whether there was anything to do.

    Args:
        database: What to migrate.
        locations: Directories of the systems' migrations, besides the mechanisms' own.
        revision: Where to, in Alembic's notation.
    """
    before = await current(database)
    if revision == "heads" and before == heads(locations):
        return False
    config = _config(locations)

    def run(connection: Connection) -> Any:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with database.engine.begin() as connection:
        await connection.run_sync(run)
    return before != await current(database)


async def require_current(database: Database, locations: Sequence[Path]) -> None:
    """Refuse to work on a database of another version.

    Raises:
        UnavailableError: The database is at other revisions than this code.
    """
    found, wanted = await current(database), heads(locations)
    if found != wanted:
        raise UnavailableError(
            f"the database is at {sorted(found) or 'no revision'}, this version needs {sorted(wanted)}",
            hint="Run `dirac-server migrate`",
        )
