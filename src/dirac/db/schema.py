"""Running migrations. Every system brings its own line of them, so an extension can bring tables too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from dirac.db.engine import Database
from dirac.db.revisions import OWN, current, heads

_SCRIPTS = Path(__file__).parent / "alembic"


def alembic_config(locations: Sequence[Path]) -> Config:
    """Return Alembic's configuration for the mechanisms' migrations and those of the systems."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(path) for path in (OWN, *locations)))
    return config


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
    config = alembic_config(locations)

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with database.engine.begin() as connection:
        await connection.run_sync(run)
    return before != await current(database)
