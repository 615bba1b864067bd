"""Work of the mechanisms themselves: keeping their tables small, and showing that they work."""

from __future__ import annotations

from datetime import timedelta

from dirac.core.tasks import Execution, Task
from dirac.db.engine import Database

ECHO = "server.echo"
_KEEP = timedelta(days=7)
_HOUR = 3600.0


async def _forget(execution: Execution) -> None:
    database: Database = execution.provide(Database)
    async with database.write() as tx:
        await tx.forget_before(tx.now - _KEEP)
        tx.complete(execution.entry)


async def _echo(execution: Execution) -> None:
    database: Database = execution.provide(Database)
    async with database.write() as tx:
        tx.complete(execution.entry)


TASKS = (Task("server.forget", _forget, every=_HOUR), Task(ECHO, _echo))
