"""A tiny installation: SQLite with the tables of `dirac.db`, one table of effects, and a few tasks.

As a program, ``bakery.py DIRECTORY SETTINGS CONCURRENCY NAME``, it is one worker process of it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sqlalchemy import Column, Integer, String, Table, insert, select

from dirac.core.logging import configure
from dirac.core.tasks import Execution, Retry, Task
from dirac.db.engine import Database
from dirac.db.outbox import Outbox
from dirac.db.tables import metadata, new_metadata
from dirac.server.worker import Executor

_LOOK = 0.01

own = new_metadata()
loaves = Table(
    "loaf",
    own,
    Column("id", Integer, primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("baker", String(64), nullable=False),
)


class Bakery:
    """The installation.

    Args:
        directory: Everything of it.
        baker: Name of the process.
    """

    def __init__(self, directory: Path, baker: str) -> None:
        self.directory = directory
        self.baker = baker
        self.database = Database(f"sqlite:///{directory / 'bakery.db'}")
        quick = Retry(tries=3, first_delay=0.05, factor=1.0)
        declared = (
            Task("bakery.bake", self._bake),
            Task("bakery.bake_slowly", self._bake_slowly),
            Task("bakery.burn", self._burn, retry=quick),
            Task("bakery.stumble", self._stumble, retry=quick),
        )
        self.tasks = {task.name: task for task in declared}
        self.outbox = Outbox(self.database, self.tasks, lease=1.0, resend_after=20.0)
        self.executor = Executor(self.outbox, self.tasks, lambda kind: None)

    async def create(self) -> None:
        """Make the tables."""
        async with self.database.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.run_sync(own.create_all)

    async def order(self, task: str, *kinds: str) -> None:
        """Enqueue one piece of work for each."""
        async with self.database.write() as tx:
            for kind in kinds:
                tx.enqueue(task, {"kind": kind})

    async def baked(self) -> list[tuple[str, str]]:
        """Return kind and baker of all loaves, in the order of their kinds."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(loaves.c.kind, loaves.c.baker).order_by(loaves.c.kind))
            return [(row.kind, row.baker) for row in rows]

    def mark(self, name: str) -> Path:
        """Return a file that says that something has happened."""
        return self.directory / f"{name}.mark"

    async def _bake(self, execution: Execution) -> None:
        async with self.database.write() as tx:
            await tx.execute(insert(loaves), {"kind": execution.args["kind"], "baker": self.baker})
            tx.complete(execution.entry)

    async def _bake_slowly(self, execution: Execution) -> None:
        """Say that it has begun, and have the effect when it is told to."""
        kind: str = execution.args["kind"]
        self.mark(f"{kind}-{self.baker}").touch()
        while not self.mark(f"{kind}-done").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(_LOOK)
        await self._bake(execution)

    async def _burn(self, execution: Execution) -> None:
        raise RuntimeError(f"the {execution.args['kind']} is black")

    async def _stumble(self, execution: Execution) -> None:
        """Fail at the first try, in the middle of the effect's transaction."""
        mark = self.mark(f"{execution.args['kind']}-stumbled")
        if not mark.exists():
            mark.touch()
            async with self.database.write() as tx:
                await tx.execute(insert(loaves), {"kind": "dropped", "baker": self.baker})
                tx.complete(execution.entry)
                raise RuntimeError("it fell down")
        await self._bake(execution)


def main() -> None:
    """Be a worker process."""
    from dirac.server.celery import make_celery, work
    from dirac.server.settings import load

    configure("INFO")
    directory, settings, concurrency, baker = sys.argv[1:]
    bakery = Bakery(Path(directory), baker)

    async def begin() -> Executor:
        bakery.mark(f"{baker}-begins").touch()
        return bakery.executor

    work(make_celery(load(Path(settings))), int(concurrency), begin, bakery.database.close, patience=0.1)


if __name__ == "__main__":
    main()
