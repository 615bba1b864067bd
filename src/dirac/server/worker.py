"""Background work: a relay takes entries from the outbox and a runner carries them out.

In the embedded profile both are in the server's process; otherwise the runner is a message to Celery
(`dirac.server.celery`) and a worker's process calls the same `Executor`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from dirac.core.errors import DiracError
from dirac.core.tasks import Execution, Provider, Task
from dirac.db.engine import Database
from dirac.db.outbox import Entry, Outbox
from dirac.db.transaction import Transaction

log = logging.getLogger(__name__)

OnEnd = Callable[[str, str, float], None]
"""Called after each execution: the task's name, how it ended (see `dirac_tasks_total`), and seconds."""

_BATCH = 100
_UNDECLARED = "unknown"


def _nobody(*_: object) -> None:
    """Tell nobody."""


class Executor:
    """Carries out one entry of the outbox: begins, runs, and says how it ended.

    Args:
        outbox: Where the entries are.
        declared: The tasks by name.
        provide: Gives tasks what they ask for.
        on_end: Told about each execution.
    """

    def __init__(
        self, outbox: Outbox, declared: Mapping[str, Task], provide: Provider, on_end: OnEnd = _nobody
    ) -> None:
        self._outbox = outbox
        self._declared = declared
        self._provide = provide
        self._on_end = on_end

    async def execute(self, entry_id: str) -> None:
        """Carry out an entry; one that is done, or being carried out elsewhere, is left alone."""
        entry = await self._outbox.begin(entry_id)
        if entry is None:
            return
        began, outcome = time.perf_counter(), "failed"
        try:
            outcome = await self._carry_out(entry)
        except asyncio.CancelledError:
            outcome = "interrupted"
            raise
        finally:
            name = entry.name if entry.name in self._declared else _UNDECLARED
            self._on_end(name, outcome, time.perf_counter() - began)

    async def _carry_out(self, entry: Entry) -> str:
        try:
            await self._run(entry)
            await self._outbox.finish(entry)
        except asyncio.CancelledError as error:
            if not _told_to_stop():  # something that the task waited for was cancelled
                return await self._failed(entry, error)
            await self._outbox.interrupt(entry)
            raise
        except Exception as error:
            return await self._failed(entry, error)
        return "done"

    async def _run(self, entry: Entry) -> None:
        task = self._declared.get(entry.name)
        if task is None:
            raise LookupError(f"no task of this installation is called {entry.name!r}")
        keeper = asyncio.create_task(self._outbox.keep(entry))
        try:
            async with asyncio.timeout(task.deadline):
                await task.run(Execution(entry=entry.id, args=entry.args, provide=self._provide))
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _failed(self, entry: Entry, error: BaseException) -> str:
        text = str(error) if isinstance(error, DiracError) else "".join(traceback.format_exception(error))
        state = await self._outbox.fail(entry, text)
        log.log(
            logging.ERROR if state == "Parked" else logging.WARNING,
            {
                "Parked": "task %s failed, parked",
                "Pending": "task %s failed, will be tried again",
                None: "task %s failed after its effect, or after another execution had begun",
            }[state],
            entry.name,
            extra={"entry": entry.id, "tries": entry.tries, "error": text},
        )
        return {"Parked": "parked", "Pending": "failed"}.get(state or "", "superseded")


def _told_to_stop() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Runner(Protocol):
    """Where the relay brings the entries that are due.

    Attributes:
        on_room: Set when there is room again.
    """

    on_room: asyncio.Event

    async def room(self) -> int:
        """Return how many entries may be brought now.

        Raises:
            UnavailableError: Nobody can take entries at the moment.
        """
        ...

    async def hand_out(self, entry_ids: Sequence[str]) -> None:
        """See to it that these entries are carried out.

        Raises:
            UnavailableError: That is not certain for all of them.
        """
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
        self.on_room = asyncio.Event()

    async def room(self) -> int:
        """Return how many more may run."""
        return self._concurrency - len(self._running)

    async def hand_out(self, entry_ids: Sequence[str]) -> None:
        """Start carrying them out."""
        for entry_id in entry_ids:
            self.start(entry_id)

    def start(self, entry_id: str) -> asyncio.Task[None]:
        """Start carrying one out, whether there is room or not."""
        task = asyncio.create_task(self._carry_out(entry_id))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _carry_out(self, entry_id: str) -> None:
        try:
            await self._executor.execute(entry_id)
        except DiracError as error:
            # The database was away: the entry is handed out again when it counts as lost.
            log.warning("entry %s was not carried out: %s", entry_id, error)
        except Exception:
            log.exception("entry %s was not carried out", entry_id)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.on_room.set()

    async def close(self) -> None:
        """Wait for what runs, then end it; what is ended so begins again at the next start."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._patience)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


class Relay:
    """Brings entries that are due from the outbox to a runner, and starts the periodic ones.

    Args:
        database: Tells when a commit brought new work.
        outbox: Where the entries are.
        runner: Where they go.
        period: Seconds between two looks when nothing is heard.
        on_success: Called after each look that went well.

    Attributes:
        trouble: Why background work is not handed out, None if it is.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        runner: Runner,
        *,
        period: float = 1.0,
        on_success: Callable[[], None] = _nobody,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._runner = runner
        self._period = period
        self._on_success = on_success
        self.trouble: str | None = None

    async def run(self) -> None:
        """Work until cancelled, whatever happens to the database or the runner."""
        self._database.committed.append(self._heard)
        try:
            while True:
                if await self._look():
                    await self._rest()
                else:
                    await self._database.clock.sleep(self._period)
        finally:
            self._database.committed.remove(self._heard)

    async def hand_out(self) -> None:
        """Bring everything that is due, as far as there is room."""
        while (room := min(await self._runner.room(), _BATCH)) > 0:
            taken = await self._outbox.take(room)
            if not taken:
                return
            try:
                await self._runner.hand_out(taken)
            except DiracError:
                await self._outbox.put_back(taken)
                raise

    def _heard(self, transaction: Transaction) -> None:
        if transaction.urgent:
            self._runner.on_room.set()

    async def _look(self) -> bool:
        """Do one round and return whether it went well; of a lasting trouble only the begin is logged."""
        try:
            await self._outbox.tick()
            await self.hand_out()
        except DiracError as error:
            if self.trouble is None:
                log.warning("background work is not handed out: %s", error)
            self.trouble = str(error)
        except Exception as error:
            log.exception("background work is not handed out")
            self.trouble = f"a defect: {type(error).__name__}"
        else:
            if self.trouble is not None:
                log.info("background work is handed out again")
            self.trouble = None
            self._on_success()
        return self.trouble is None

    async def _rest(self) -> None:
        """Wait until something is heard, at most for a period."""
        event = self._runner.on_room
        alarm = asyncio.create_task(self._database.clock.sleep(self._period))
        alarm.add_done_callback(lambda task: None if task.cancelled() else event.set())
        try:
            await event.wait()
        finally:
            alarm.cancel()
        event.clear()
