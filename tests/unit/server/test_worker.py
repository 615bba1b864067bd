"""The relay and the runner in the process, with a clock that stands still and a database that fails."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, Table, func, insert, select

from dirac.core.errors import UnavailableError
from dirac.core.tasks import Execution, Retry, Task
from dirac.db.engine import Database
from dirac.db.outbox import Outbox
from dirac.db.tables import metadata, new_metadata, tasks
from dirac.server.worker import Executor, InProcessRunner, Relay, Runner
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

PATIENCE = 20.0
own = new_metadata()
effects = Table("effect", own, Column("id", Integer, primary_key=True))


class Shop:
    """A database, and tasks as the test declares them."""

    def __init__(self, file: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.database = Database(f"sqlite:///{file}", clock=clock)
        self.window = Database(f"sqlite:///{file}")  # to look without being counted
        self.tasks: dict[str, Task] = {}
        self.outbox = Outbox(self.database, self.tasks)

    def declare(self, run: Callable[[Execution], Awaitable[None]], **options: Any) -> str:
        task = Task(f"test.{run.__name__}", run, **options)
        self.tasks[task.name] = task
        return task.name

    def runner(self, **options: Any) -> InProcessRunner:
        return InProcessRunner(Executor(self.outbox, self.tasks, lambda kind: None), **options)

    async def order(self, name: str, count: int = 1) -> None:
        async with self.database.write() as tx:
            for _ in range(count):
                tx.enqueue(name)

    async def effect(self, execution: Execution) -> None:
        async with self.database.write() as tx:
            await tx.execute(insert(effects))
            tx.complete(execution.entry)

    async def effects(self) -> int:
        async with self.window.read() as tx:
            return int((await tx.execute(select(func.count()).select_from(effects))).scalar_one())

    async def entries(self) -> list[tuple[str, int, str | None]]:
        async with self.window.read() as tx:
            rows = await tx.execute(select(tasks.c.state, tasks.c.tries, tasks.c.error).order_by(tasks.c.id))
            return [(row.state, row.tries, row.error) for row in rows]

    async def states(self) -> list[str]:
        return [state for state, _, _ in await self.entries()]

    @asynccontextmanager
    async def relaying(self, runner: Runner) -> AsyncIterator[asyncio.Task[None]]:
        relay = asyncio.create_task(Relay(self.database, self.outbox, runner, period=1.0).run())
        try:
            yield relay
            assert not relay.done(), "nothing ends the relay"
        finally:
            relay.cancel()
            with suppress(asyncio.CancelledError):
                await relay
            await runner.close()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path / "shop.db", FakeClock())
    async with shop.database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.run_sync(own.create_all)
    yield shop
    await shop.window.close()
    await shop.database.close()


async def until(condition: Callable[[], Awaitable[bool]], step: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen"
        step()
        await asyncio.sleep(0.001)


async def test_no_more_is_begun_than_there_is_room_for(shop: Shop) -> None:
    at_work, most, gate = 0, 0, asyncio.Semaphore(0)

    async def wait(execution: Execution) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await gate.acquire()
        at_work -= 1

    name = shop.declare(wait)
    async with shop.relaying(shop.runner(concurrency=2)):
        await shop.order(name, 6)

        async def two_at_work() -> bool:
            return at_work == 2

        await until(two_at_work)
        assert sorted(await shop.states()) == ["Pending"] * 4 + ["Running"] * 2
        for _ in range(6):
            gate.release()

        async def all_done() -> bool:
            return await shop.states() == ["Done"] * 6

        await until(all_done)
    assert most == 2


async def test_what_is_ended_by_a_stop_is_put_back_uncounted(shop: Shop) -> None:
    begun = asyncio.Event()

    async def hang(execution: Execution) -> None:
        begun.set()
        await asyncio.Event().wait()

    name = shop.declare(hang)
    async with shop.relaying(shop.runner(patience=0)):
        await shop.order(name)
        await asyncio.wait_for(begun.wait(), PATIENCE)
    assert await shop.entries() == [("Pending", 0, None)]


async def test_what_ends_in_time_when_the_server_stops_is_done(shop: Shop) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def work(execution: Execution) -> None:
        begun.set()
        await gate.wait()
        await shop.effect(execution)

    name = shop.declare(work)
    runner = shop.runner(patience=PATIENCE)
    async with shop.relaying(runner):
        await shop.order(name)
        await asyncio.wait_for(begun.wait(), PATIENCE)
        closing = asyncio.create_task(runner.close())
        gate.set()
        await closing
    assert await shop.states() == ["Done"]
    assert await shop.effects() == 1


async def test_a_task_that_cancels_itself_has_failed(shop: Shop) -> None:
    async def cancelled(execution: Execution) -> None:
        raise asyncio.CancelledError

    name = shop.declare(cancelled, retry=Retry(tries=1))
    async with shop.relaying(shop.runner()):
        await shop.order(name)

        async def parked() -> bool:
            return await shop.states() == ["Parked"]

        await until(parked)


async def test_a_task_that_takes_too_long_is_ended(shop: Shop) -> None:
    async def hang(execution: Execution) -> None:
        await asyncio.Event().wait()

    name = shop.declare(hang, retry=Retry(tries=1), deadline=0.01)
    async with shop.relaying(shop.runner()):
        await shop.order(name)

        async def parked() -> bool:
            return await shop.states() == ["Parked"]

        await until(parked)
    ((_, _, error),) = await shop.entries()
    assert "TimeoutError" in (error or "")


async def test_the_end_of_a_long_error_is_kept(shop: Shop) -> None:
    async def fail(execution: Execution) -> None:
        raise ValueError("x" * 10_000 + " is what counts")

    name = shop.declare(fail, retry=Retry(tries=1))
    async with shop.relaying(shop.runner()):
        await shop.order(name)

        async def parked() -> bool:
            return await shop.states() == ["Parked"]

        await until(parked)
    ((_, _, error),) = await shop.entries()
    assert (error or "").rstrip().endswith("is what counts")


async def test_periodic_work_comes_once_a_period_and_does_not_overlap(shop: Shop) -> None:
    begun, gate = 0, asyncio.Semaphore(0)

    async def sweep(execution: Execution) -> None:
        nonlocal begun
        begun += 1
        await gate.acquire()

    async def seen(count: int, states: list[str], *, after: float = 0.0) -> None:
        since = shop.clock.monotonic()

        async def there() -> bool:
            if shop.clock.monotonic() - since < after:
                return False
            return begun == count and await shop.states() == states

        await until(there, lambda: shop.clock.advance(0.5))

    shop.declare(sweep, every=10.0)
    shop.outbox = Outbox(shop.database, shop.tasks, lease=1e6)  # the clock here may outrun its renewal
    async with shop.relaying(shop.runner()):
        await seen(1, ["Running"])
        await seen(1, ["Running"], after=25.0)
        gate.release()
        await seen(2, ["Done", "Running"])
        gate.release()
        await seen(3, ["Done", "Done", "Running"])
        gate.release()


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer-lost"])
async def test_whatever_operation_of_the_database_fails_the_effect_is_there_once(
    shop: Shop, lost: bool
) -> None:
    faults = FailNth(shop.database)
    name = shop.declare(shop.effect)
    async with shop.relaying(shop.runner()):
        for n in itertools.count(1):
            await shop.order(name)
            with faults.failing(n, lost=lost):

                async def done() -> bool:
                    return await shop.states() == ["Done"] * n  # noqa: B023 - used in this round only

                await until(done, lambda: shop.clock.advance(5.0))
            assert await shop.effects() == n
            if faults.count < n:
                break
    assert n > 10, "several operations were made to fail"


async def test_a_defect_of_a_runner_does_not_end_the_relay(shop: Shop, caplog: Any) -> None:
    class Moody(InProcessRunner):
        moods: Sequence[Exception | None] = (RuntimeError("a defect"), UnavailableError("no broker"), None)

        async def hand_out(self, entry_ids: Sequence[str]) -> None:
            mood, *later = self.moods
            self.moods = later or [None]
            if mood is not None:
                raise mood
            await super().hand_out(entry_ids)

    name = shop.declare(shop.effect)
    runner = Moody(Executor(shop.outbox, shop.tasks, lambda kind: None))
    async with shop.relaying(runner):
        await shop.order(name)

        async def done() -> bool:
            return await shop.states() == ["Done"]

        await until(done, lambda: shop.clock.advance(5.0))
    assert "a defect" in caplog.text


async def test_a_relay_that_has_ended_listens_no_more(shop: Shop) -> None:
    async with shop.relaying(shop.runner()):
        await asyncio.sleep(0)
        assert len(shop.database.committed) == 1
    assert shop.database.committed == []
