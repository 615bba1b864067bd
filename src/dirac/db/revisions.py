"""Which revision of the schema a database has and which one the code needs, without loading Alembic.

A server asks this at every start; Alembic itself would be a quarter of the time that the start takes.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, String, column, inspect, select, table

from dirac.core.errors import UnavailableError
from dirac.db.engine import Database

OWN = Path(__file__).parent / "migrations"
_TABLE = "alembic_version"
_NAMES = ("revision", "down_revision")


def heads(locations: Sequence[Path]) -> frozenset[str]:
    """Return the newest revision of each line of migrations."""
    revisions: set[str] = set()
    replaced: set[str] = set()
    for file in (file for location in (OWN, *locations) for file in location.glob("*.py")):
        facts = _facts(file)
        if revision := facts.get("revision"):
            revisions.add(revision)
            down = facts.get("down_revision") or ()
            replaced.update([down] if isinstance(down, str) else down)
    return frozenset(revisions - replaced)


def _facts(file: Path) -> dict[str, Any]:
    """Read the names that Alembic asks for at the top of a migration; they are literals."""
    return {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in _NAMES
    }


async def current(database: Database) -> frozenset[str]:
    """Return the revisions that the database is at; empty for a new one."""

    def look(connection: Connection) -> frozenset[str]:
        if not inspect(connection).has_table(_TABLE):
            return frozenset()
        number = column("version_num", String)
        return frozenset(row[0] for row in connection.execute(select(number).select_from(table(_TABLE))))

    async with database.engine.connect() as connection:
        return await connection.run_sync(look)


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
