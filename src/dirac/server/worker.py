"""Background work: a relay takes entries from the outbox and a runner carries them out.

In the embedded profile both are in the server's process; otherwise the runner is a message to Celery
(`dirac.server.celery`) and a worker's process calls the same `Executor`.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Mapping, Sequence
from typing import Protocol

from dirac.core.errors import DiracError
from dirac.core.tasks import Execution, Provider, Task
from dirac.db.engine import Database
from dirac.db.outbox import Entry, Outbox

log = logging.getLogger(__name__)

_BATCH = 100


class Executor:
    """Carries out one entry of the outbox: begins, runs, and says how it ended.

    Args:
        outbox: Where the entries are.
        declared: The tasks by name.
        provide: Gives tasks what they ask for.
    """

    def __init__(self, outbox: Outbox, declared: Mapping[str, Task], provide: Provider) -> None:
        self._outbox = outbox
        self._declared = declared
        self._provide = provide

    async def execute(self, entry_id: str) -> None:
        """Carry out an entry; one that is done, or being carried out elsewhere, is left alone."""
        entry = await self._outbox.begin(entry_id)
        if entry is None:
            return
        try:
            await self._run(entry)
            await self._outbox.finish(entry)
        except asyncio.CancelledError:
            raise  # the server stops; the entry is handed out again when its deadline has passed
        except Exception as error:
            await self._failed(entry, error)

    async def _run(self, entry: Entry) -> None:
        task = self._declared.get(entry.name)
        if task is None:
            raise LookupError(f"no task of this installation is called {entry.name!r}")
        async with asyncio.timeout(task.deadline):
            await task.run(Execution(entry=entry.id, args=entry.args, provide=self._provide))

    async def _failed(self, entry: Entry, error: Exception) -> None:
        text = str(error) if isinstance(error, DiracError) else "".join(traceback.format_exception(error))
        parked = await self._outbox.fail(entry, text)
        log.log(
            logging.ERROR if parked else logging.WARNING,
            "task %s failed%s",
            entry.name,
            ", parked" if parked else ", will be tried again",
            extra={"entry": entry.id, "tries": entry.tries, "error": text},
        )


class Runner(Protocol):
    """Where the relay brings the entries that are due."""

    def room(self) -> int:
        """Return how many entries may be brought now."""
        ...

    async def hand_out(self, entry_ids: Sequence[str]) -> None:
        """See to it that these entries are carried out."""
        ...

    async def close(self) -> None:
        """Let what has been begun come to an end."""
        ...


class InProcessRunner:
    """Carries entries out in this process.

    Args:
        executor: What carries out one.
        concurrency: How many at a time.
        patience: Seconds to wait for those that run when the server stops.
    """

    def __init__(self, executor: Executor, *, concurrency: int = 8, patience: float = 10.0) -> None:
        self._executor = executor
        self._concurrency = concurrency
        self._patience = patience
        self._running: set[asyncio.Task[None]] = set()
        self.on_room: asyncio.Event = asyncio.Event()

    def room(self) -> int:
        """Return how many more may run."""
        return self._concurrency - len(self._running)

    async def hand_out(self, entry_ids: Sequence[str]) -> None:
        """Start carrying them out."""
        for entry_id in entry_ids:
            task = asyncio.create_task(self._carry_out(entry_id))
            self._running.add(task)
            task.add_done_callback(self._ended)

    async def _carry_out(self, entry_id: str) -> None:
        try:
            await self._executor.execute(entry_id)
        except DiracError as error:
            # The database was away: the entry's state is as it was, and it is handed out again.
            log.warning("entry %s was not carried out: %s", entry_id, error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.on_room.set()

    async def close(self) -> None:
        """Wait for what runs, then end it."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._patience)
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


class Relay:
    """Brings entries that are due from the outbox to a runner, and starts the periodic ones.

    Args:
        database: Tells when a commit brought new work.
        outbox: Where the entries are.
        runner: Where they go.
        period: Seconds between two looks when nothing is heard.
    """

    def __init__(self, database: Database, outbox: Outbox, runner: Runner, *, period: float = 1.0) -> None:
        self._outbox = outbox
        self._runner = runner
        self._period = period
        self._wake = runner.on_room if isinstance(runner, InProcessRunner) else asyncio.Event()
        database.committed.append(lambda transaction: self._wake.set() if transaction.enqueued else None)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self._outbox.tick()
                await self.hand_out()
            except DiracError as error:
                log.warning("the outbox cannot be read: %s", error)
            try:
                async with asyncio.timeout(self._period):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def hand_out(self) -> None:
        """Bring everything that is due, as far as there is room."""
        while (room := min(self._runner.room(), _BATCH)) > 0:
            taken = await self._outbox.take(room)
            if not taken:
                return
            await self._runner.hand_out(taken)
