"""Running migrations. Every system brings its own line of them, so an extension can bring tables too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, insert, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from dirac.core.errors import UnavailableError
from dirac.db.connecting import codes_of
from dirac.db.engine import Database
from dirac.db.plan import Outcome, Which, choose, pending_contract, promises
from dirac.db.revisions import OWN, Lines, Revision, State, lines, look
from dirac.db.tables import schema_lines

_SCRIPTS = Path(__file__).parent / "alembic"
_PROMISES_SINCE = "db_0002"  # makes the table of the promises
_PATIENCE = 900  # seconds for another migration to end; SQLite's are short, and waited for by its own time
_NOT_AVAILABLE = "55P03"
_NAME = "CONCAT('dirac migration ', MD5(DATABASE()))"  # MariaDB's locks are the server's, not a database's
_NUMBER = 0x64697261636D
# Each with what is asked before, in the same transaction.
_LOCKS = {
    "mariadb": ("SELECT 1", f"SELECT GET_LOCK({_NAME}, {_PATIENCE})", f"SELECT RELEASE_LOCK({_NAME})"),
    "postgresql": (
        f"SET LOCAL lock_timeout = '{_PATIENCE}s'",
        f"SELECT 1 FROM pg_advisory_lock({_NUMBER})",  # noqa: S608
        f"SELECT pg_advisory_unlock({_NUMBER})",
    ),
}


def alembic_config(locations: Sequence[Path]) -> Config:
    """Return Alembic's configuration for the mechanisms' migrations and those of the systems."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(path) for path in (OWN, *locations)))
    return config


async def migrate(database: Database, locations: Sequence[Path], which: Which = "all") -> Outcome:
    """Apply the migrations of a phase; of several that run at once one works and the others wait.

    Args:
        database: What to migrate, as a user that may change tables.
        locations: Directories of the systems' migrations, besides the mechanisms' own.
        which: `expand` up to what older code can live with, `contract` the rest, or `all`.

    Raises:
        ConflictError: The phases cannot be kept apart, or the database no longer supports this version.
        UnavailableError: The database cannot be reached, or another migration does not end.
    """
    known = lines(locations)
    async with database.connect() as connection, _alone(connection, database.dialect), connection.begin():
        return await connection.run_sync(_migrate, known, alembic_config(locations), which)


def _migrate(connection: Connection, known: Lines, config: Config, which: Which) -> Outcome:
    state = look(connection)
    chosen = choose(state, known, which)
    # The table of the promises has to be there before anything can be promised.
    names = [one.id for one in chosen]
    opening = chosen[: names.index(_PROMISES_SINCE) + 1] if _PROMISES_SINCE in names else []
    _apply(connection, config, opening)
    # Before what it is about: if taking away fails half way, older code must not start on what is left.
    promised = _promise(connection, state, known, chosen)
    _apply(connection, config, chosen[len(opening) :])
    return Outcome(
        changed=bool(names) or promised,
        applied=names,
        pending_contract=pending_contract(look(connection), known),
    )


def _promise(connection: Connection, state: State, known: Lines, chosen: Sequence[Revision]) -> bool:
    """Write down which code can still work with the database; returns whether that changed."""
    due = promises(state, known, chosen)
    for name, promise in due.items():
        connection.execute(delete(schema_lines).where(schema_lines.c.line == name))
        connection.execute(insert(schema_lines).values(line=name, compatible_from=promise))
    if due:
        _keep(connection)
    return bool(due)


def _apply(connection: Connection, config: Config, revisions: Sequence[Revision]) -> None:
    """Apply exactly these revisions, in this order; what else the database has is left alone."""
    if not revisions:
        return
    script = ScriptDirectory.from_config(config)

    def steps(_heads: object, _context: object) -> list[MigrationStep]:
        return [
            MigrationStep.upgrade_from_script(script.revision_map, script.get_revision(one.id))
            for one in revisions
        ]

    def applied(**_: Any) -> None:
        _keep(connection)

    config.attributes["connection"] = connection
    config.attributes["on_version_apply"] = applied
    with EnvironmentContext(config, script, fn=steps):
        script.run_env()


def _keep(connection: Connection) -> None:
    """Make lasting what was done, where changes of tables cannot be undone anyway."""
    if connection.dialect.name in ("mysql", "mariadb"):
        connection.exec_driver_sql("COMMIT")


@asynccontextmanager
async def _alone(connection: AsyncConnection, dialect: str) -> AsyncIterator[None]:
    """Wait until nobody else migrates this database; the lock belongs to the connection and dies with it."""
    if dialect == "sqlite":  # a transaction that writes is alone by itself
        try:
            yield
        except OperationalError as error:
            if "locked" in str(error.orig):
                raise _busy() from None
            raise
        return
    before, take, give = _LOCKS[dialect]
    try:
        await connection.execute(text(before))
        got = (await connection.execute(text(take))).scalar_one()
    except DBAPIError as error:
        if _NOT_AVAILABLE in codes_of(error.orig):
            raise _busy() from None
        raise
    if got == 0:  # MariaDB's way to say that the time is over
        raise _busy()
    await connection.rollback()  # what was begun to ask for the lock sees an old database
    try:
        yield
    finally:
        if not connection.invalidated:
            await connection.execute(text(give))
            await connection.rollback()


def _busy() -> UnavailableError:
    return UnavailableError(
        f"another migration of this database did not end within {_PATIENCE} s",
        hint="Look at what it waits for: a long transaction of a service, perhaps",
    )
