"""The outbox: what was asked for is carried out, at least once and no more often than needed."""

from __future__ import annotations

import asyncio

import pytest

from dirac.core.errors import NotFoundError
from dirac.core.tasks import Execution, Retry, Task
from dirac.db.engine import Database
from dirac.db.outbox import Outbox
from dirac.server.worker import Executor, InProcessRunner, Relay
from dirac.testing.time import FakeClock


async def _nothing(_execution: Execution) -> None: ...


async def _enqueue(database: Database, *names: str, delay: float = 0.0) -> None:
    async with database.write() as tx:
        for name in names:
            tx.enqueue(name, {"for": name}, delay=delay)


def _outbox(database: Database, *declared: Task) -> Outbox:
    return Outbox(database, {task.name: task for task in declared})


async def test_an_entry_is_handed_out_once(database: Database) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    await _enqueue(database, "test.work")
    taken = await outbox.take(10)
    assert len(taken) == 1
    assert await outbox.take(10) == []
    entry = await outbox.begin(taken[0])
    assert entry is not None
    assert entry.args == {"for": "test.work"}
    assert await outbox.begin(taken[0]) is None, "somebody else executes it"
    await outbox.finish(entry)
    assert await outbox.begin(taken[0]) is None, "it is done"


async def test_work_for_later_waits(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    await _enqueue(database, "test.work", delay=30)
    assert await outbox.take(10) == []
    clock.advance(31)
    assert len(await outbox.take(10)) == 1


async def test_a_lost_message_is_sent_again(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    await _enqueue(database, "test.work")
    first = await outbox.take(10)
    clock.advance(61)
    assert await outbox.take(10) == first


async def test_an_execution_that_died_is_repeated(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.work", _nothing, deadline=20))
    await _enqueue(database, "test.work")
    (entry_id,) = await outbox.take(10)
    await outbox.begin(entry_id)
    clock.advance(21)
    assert await outbox.take(10) == [entry_id]
    again = await outbox.begin(entry_id)
    assert again is not None
    assert again.tries == 2


async def test_concurrent_relays_share_the_work(database: Database) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    await _enqueue(database, *["test.work"] * 30)
    shares = await asyncio.gather(*(outbox.take(5) for _ in range(6)))
    taken = [entry for share in shares for entry in share]
    assert len(taken) == len(set(taken))


async def test_a_failing_task_is_tried_again_then_parked(database: Database, clock: FakeClock) -> None:
    async def fail(_execution: Execution) -> None:
        raise ValueError("the oven is cold")

    task = Task("test.bake", fail, retry=Retry(tries=3, first_delay=1, factor=2))
    outbox = _outbox(database, task)
    executor = Executor(outbox, {task.name: task}, lambda kind: None)
    await _enqueue(database, task.name)
    for delay in (1, 2):
        (entry_id,) = await outbox.take(10)
        await executor.execute(entry_id)
        assert await outbox.take(10) == [], "it waits before the next try"
        clock.advance(delay + 0.1)
    (entry_id,) = await outbox.take(10)
    await executor.execute(entry_id)
    (parked,) = await outbox.listed(["Parked"], 10)
    assert parked.tries == 3
    assert "the oven is cold" in (parked.error or "")
    await outbox.retry(parked.id)
    assert await outbox.take(10) == [entry_id]
    with pytest.raises(NotFoundError):
        await outbox.retry("no such entry")


async def test_an_unknown_task_is_not_lost(database: Database) -> None:
    outbox = _outbox(database)
    executor = Executor(outbox, {}, lambda kind: None)
    await _enqueue(database, "of.an.extension")
    (entry_id,) = await outbox.take(10)
    await executor.execute(entry_id)
    (parked,) = await outbox.listed(["Parked"], 10)
    assert "of.an.extension" in (parked.error or "")


async def test_periodic_work_is_enqueued_once_per_period(database: Database, clock: FakeClock) -> None:
    task = Task("test.sweep", _nothing, every=10)
    outboxes = [_outbox(database, task) for _ in range(4)]

    async def one_round() -> int:
        await asyncio.gather(*(outbox.tick() for outbox in outboxes))
        taken = await outboxes[0].take(10)
        for entry_id in taken:
            entry = await outboxes[0].begin(entry_id)
            assert entry is not None
            await outboxes[0].finish(entry)
        return len(taken)

    assert await one_round() == 1
    assert await one_round() == 0
    clock.advance(10.5)
    assert await one_round() == 1


async def test_the_effect_and_its_completion_commit_together(database: Database) -> None:
    async def effect_then_crash(execution: Execution) -> None:
        async with database.write() as tx:
            tx.enqueue("test.effect")
            tx.complete(execution.entry)
        raise RuntimeError("after the commit")

    task = Task("test.work", effect_then_crash)
    outbox = _outbox(database, task)
    await _enqueue(database, task.name)
    (entry_id,) = await outbox.take(1)
    await Executor(outbox, {task.name: task}, lambda kind: None).execute(entry_id)
    (left,) = await outbox.listed(["Pending", "Sent", "Running", "Parked"], 10)
    assert left.name == "test.effect", "the work itself counts as done and is not repeated"


async def test_the_relay_carries_out_what_a_commit_brings(database: Database) -> None:
    seen: list[str] = []
    done = asyncio.Event()

    async def note(execution: Execution) -> None:
        seen.append(execution.args["for"])
        if len(seen) == 20:
            done.set()

    task = Task("test.work", note)
    outbox = _outbox(database, task)
    runner = InProcessRunner(Executor(outbox, {task.name: task}, lambda kind: None), concurrency=3)
    relay = asyncio.create_task(Relay(database, outbox, runner, period=60).run())
    try:
        await _enqueue(database, *["test.work"] * 20)
        await asyncio.wait_for(done.wait(), 20)
    finally:
        relay.cancel()
        await runner.close()
    assert len(seen) == 20
    assert await outbox.listed(["Pending", "Sent", "Running", "Parked"], 10) == []
