"""Which revisions a database has and which the code needs, without loading Alembic.

A server asks this at every start; Alembic itself would be a quarter of the time that the start takes.

Every system has a *line* of revisions, one after the other. A revision is of one of two phases: `expand`
adds what older code does not notice, `contract` takes away what older code needs. The database keeps for
each line the last contract revision that it saw: code that knows this revision can work with it, however
many revisions it has that the code has never heard of (decision 0015).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from sqlalchemy import Connection, String, column, inspect, select, table

from dirac.core.errors import InternalError, UnavailableError
from dirac.db.engine import Database
from dirac.db.tables import schema_lines

OWN = Path(__file__).parent / "migrations"
VERSIONS = "alembic_version"

Phase = Literal["expand", "contract"]

_NAMES = ("revision", "down_revision", "branch_labels", "phase", "risk")
_PHASES = ("expand", "contract")


class Revision(msgspec.Struct, frozen=True):
    """One step of a line.

    Attributes:
        id: Its name.
        line: The line it belongs to.
        phase: `expand` if code that does not know it can go on.
        risk: What the file says of its risk, if it does.
        file: Where it is.
    """

    id: str
    line: str
    phase: Phase
    risk: str | None
    file: Path


Lines = Mapping[str, Sequence[Revision]]
"""Every line that the code knows: its revisions, oldest first."""


class State(msgspec.Struct, frozen=True):
    """What a database says of its schema.

    Attributes:
        versions: The newest revision of each line.
        promises: By line, the last contract revision that it saw or began; None if it saw none.
    """

    versions: frozenset[str]
    promises: Mapping[str, str | None]

    def applied(self, line: Sequence[Revision]) -> int | None:
        """Return how many revisions of a line the database has; None if it is at one that is not in it."""
        for number, revision in enumerate(line, start=1):
            if revision.id in self.versions:
                return number
        return None

    def missing(self, line: Sequence[Revision]) -> Sequence[Revision]:
        """Return the revisions of a line that the database does not have; none if it is ahead."""
        done = self.applied(line)
        if done is None:
            return () if self.ahead(line) else line
        return line[done:]

    def ahead(self, line: Sequence[Revision]) -> bool:
        """Tell whether the database is at a revision of this line that the code does not know."""
        return self.applied(line) is None and line[0].line in self.promises

    def supports(self, line: Sequence[Revision]) -> bool:
        """Tell whether nothing was taken away that code with this line needs."""
        promise = self.promises.get(line[0].line)
        return promise is None or any(revision.id == promise for revision in line)


def lines(locations: Sequence[Path]) -> Lines:
    """Return the lines of revisions that the code has.

    Args:
        locations: Directories of the systems' revisions, besides the mechanisms' own.

    Raises:
        InternalError: Revisions do not form lines.
    """
    found: dict[str, dict[str | None, tuple[Path, Mapping[str, Any]]]] = {}
    for location in (OWN, *locations):
        for file in sorted(location.glob("*.py")):
            facts = _facts(file)
            if not facts.get("revision"):
                continue
            after = found.setdefault(str(location), {})
            if facts.get("down_revision") in after:
                raise InternalError(f"{file}: two revisions follow {facts.get('down_revision')!r}")
            after[facts.get("down_revision")] = file, facts
    return {line[0].line: line for line in map(_in_order, found.values())}


def heads(locations: Sequence[Path]) -> frozenset[str]:
    """Return the newest revision of each line."""
    return frozenset(line[-1].id for line in lines(locations).values())


def _in_order(after: Mapping[str | None, tuple[Path, Mapping[str, Any]]]) -> list[Revision]:
    ordered: list[Revision] = []
    name, previous = "", None
    while previous in after:
        file, facts = after[previous]
        if not ordered:
            name = (facts.get("branch_labels") or (facts["revision"],))[0]
        phase = facts.get("phase", "expand")
        if phase not in _PHASES:
            raise InternalError(f"{file}: no phase {phase!r}", hint=f"Phases are {', '.join(_PHASES)}")
        ordered.append(
            Revision(id=facts["revision"], line=name, phase=phase, risk=facts.get("risk"), file=file)
        )
        previous = facts["revision"]
    if len(ordered) != len(after):
        raise InternalError(f"the revisions in {next(iter(after.values()))[0].parent} do not form one line")
    return ordered


def _facts(file: Path) -> dict[str, Any]:
    """Read the names at the top of a revision that say what it is; they are literals."""
    return {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in _NAMES
    }


def look(connection: Connection) -> State:
    """Return what a database says of its schema; nothing for a new one."""
    inspector = inspect(connection)
    versions: frozenset[str] = frozenset()
    promises: dict[str, str | None] = {}
    if inspector.has_table(VERSIONS):
        number = column("version_num", String)
        versions = frozenset(
            row[0] for row in connection.execute(select(number).select_from(table(VERSIONS)))
        )
    if inspector.has_table(schema_lines.name):
        rows = connection.execute(select(schema_lines.c.line, schema_lines.c.compatible_from))
        promises = {row.line: row.compatible_from for row in rows}
    return State(versions=versions, promises=promises)


async def current(database: Database) -> State:
    """Return what the database says of its schema.

    Raises:
        UnavailableError: It cannot be reached.
    """
    async with database.connect() as connection:
        return cast("State", await connection.run_sync(look))


def require(state: State, known: Lines) -> None:
    """Refuse a database that this code cannot work with.

    Contract revisions may be missing, since they take away what this code does not use; and the database may
    have expand revisions that this code has never heard of.

    Raises:
        UnavailableError: It is too old, or too new.
    """
    if too_new := sorted(name for name, line in known.items() if not state.supports(line)):
        raise UnavailableError(
            f"the database no longer supports this version: what it needs was removed from {too_new} "
            f"by {sorted(filter(None, (state.promises[name] for name in too_new)))}",
            hint="Install the newer version again, or restore a backup from before its contract migrations",
        )
    behind = [
        revision.id
        for line in known.values()
        if any(one.phase == "expand" for one in state.missing(line))
        for revision in state.missing(line)
    ]
    if behind:
        raise UnavailableError(
            f"the database is at {sorted(state.versions) or 'no revision'}, "
            f"this version needs {sorted(behind)}",
            hint="Run `dirac-server migrate`",
        )


async def require_current(database: Database, locations: Sequence[Path]) -> None:
    """Refuse to work on a database that this code cannot work with, see `require`.

    Raises:
        UnavailableError: It cannot be reached, is too old, or too new.
    """
    require(await current(database), lines(locations))
