"""The outbox: what was asked for is carried out, at least once and no more often than needed."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from dirac.core.errors import ConflictError, NotFoundError
from dirac.core.tasks import Execution, Retry, Task
from dirac.db.engine import Database
from dirac.db.outbox import Entry, Outbox
from dirac.db.tables import tasks
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


async def _executed(database: Database, outbox: Outbox, name: str) -> Entry:
    """Return the first execution of a new entry."""
    await _enqueue(database, name)
    (entry_id,) = await outbox.take(1)
    entry = await outbox.begin(entry_id)
    assert entry is not None
    return entry


async def test_what_could_not_be_handed_out_is_due_at_once(database: Database) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    await _enqueue(database, "test.work", "test.work")
    taken = await outbox.take(2)
    begun = await outbox.begin(taken[0])
    await outbox.put_back(taken)
    assert await outbox.take(2) == [taken[1]], "the other one has begun"
    assert begun is not None


async def test_a_message_of_an_entry_that_waits_does_not_begin_it(database: Database) -> None:
    outbox = _outbox(database, Task("test.work", _nothing, retry=Retry(first_delay=60)))
    entry = await _executed(database, outbox, "test.work")
    assert await outbox.fail(entry, "the oven is cold") == "Pending"
    assert await outbox.begin(entry.id) is None


async def test_an_execution_that_lives_keeps_its_entry(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    entry = await _executed(database, outbox, "test.work")
    keeper = asyncio.create_task(outbox.keep(entry))
    try:
        for _ in range(6):
            before = await _due(database, entry)
            async with asyncio.timeout(20):
                while await _due(database, entry) == before:
                    clock.advance(0.5)
                    await asyncio.sleep(0.001)
        assert await outbox.take(1) == []
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
    clock.advance(16)
    assert await outbox.take(1) == [entry.id]


async def _due(database: Database, entry: Entry) -> datetime:
    async with database.read() as tx:
        due: datetime = (await tx.execute(select(tasks.c.due).where(tasks.c.id == entry.id))).scalar_one()
        return due


async def test_only_the_newest_execution_says_how_it_ended(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    old = await _executed(database, outbox, "test.work")
    clock.advance(16)
    new = await outbox.begin(old.id)
    assert new is not None
    assert await outbox.fail(old, "too late") is None
    await outbox.interrupt(old)
    await outbox.finish(old)
    assert [entry.state for entry in await outbox.listed(["Running"], 10)] == ["Running"]
    await outbox.finish(new)
    assert [entry.error for entry in await outbox.listed(["Done"], 10)] == [None]


async def test_of_two_executions_one_has_its_effect(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    entry = await _executed(database, outbox, "test.work")

    async def effect() -> None:
        async with database.write() as tx:
            tx.enqueue("test.effect")
            tx.complete(entry.id)

    outcomes = await asyncio.gather(*(effect() for _ in range(4)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == 3
    assert all(isinstance(outcome, ConflictError) for outcome in refused)
    assert [entry.name for entry in await outbox.listed(["Pending"], 10)] == ["test.effect"]


async def test_work_that_kills_its_workers_is_parked(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.work", _nothing, retry=Retry(tries=2)))
    entry = await _executed(database, outbox, "test.work")
    for _ in range(2):
        clock.advance(16)
        assert await outbox.take(1) == [entry.id]
        last = await outbox.begin(entry.id)
    assert last is None
    (parked,) = await outbox.listed(["Parked"], 10)
    assert parked.error == "execution 2 of 2 did not come to an end"


async def test_an_execution_that_was_stopped_does_not_count(database: Database) -> None:
    outbox = _outbox(database, Task("test.work", _nothing, retry=Retry(tries=1)))
    entry = await _executed(database, outbox, "test.work")
    await outbox.interrupt(entry)
    assert await outbox.take(1) == [entry.id]
    again = await outbox.begin(entry.id)
    assert again is not None
    assert again.tries == 1


async def test_periodic_work_does_not_overlap(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.sweep", _nothing, every=10, retry=Retry(tries=2, first_delay=15)))
    await outbox.tick()
    (first,) = await outbox.take(10)
    entry = await outbox.begin(first)
    assert entry is not None
    clock.advance(11)
    await outbox.tick()
    assert await outbox.take(10) == [], "it runs"
    assert await outbox.fail(entry, "the broom is broken") == "Pending"
    clock.advance(11)
    await outbox.tick()
    assert await outbox.take(10) == [], "it waits for its second try"
    clock.advance(11)
    assert await outbox.take(10) == [first]
    entry = await outbox.begin(first)
    assert entry is not None
    assert await outbox.fail(entry, "the broom is broken") == "Parked"
    clock.advance(11)
    await outbox.tick()
    assert len(await outbox.take(10)) == 1, "what is parked does not end it for ever"


async def test_work_under_a_key_begins_at_the_earliest_moment(database: Database, clock: FakeClock) -> None:
    outbox = _outbox(database, Task("test.work", _nothing))
    for delay in (60, 10, 30):
        async with database.write() as tx:
            tx.enqueue("test.work", key="the one", delay=delay)
            tx.enqueue("test.work", key="the one", delay=90)
    clock.advance(9)
    assert await outbox.take(10) == []
    clock.advance(2)
    assert len(await outbox.take(10)) == 1


async def test_work_under_a_key_that_begins_meanwhile_sees_the_change(database: Database) -> None:
    """Else the change would be dropped as known to work that has not seen it."""
    outbox = _outbox(database, Task("test.work", _nothing), Task("test.seen", _nothing))
    async with database.write() as tx:
        tx.enqueue("test.work", key="the one")
    (first,) = await outbox.take(10)
    changed, beginning = asyncio.Event(), asyncio.Event()

    async def change() -> None:
        async with database.write() as tx:
            tx.enqueue("test.work", key="the one")
            await tx.flush()  # as the commit does first; from here on nobody may begin
            tx._tasks.clear()
            tx.enqueue("test.seen")
            changed.set()
            await beginning.wait()

    async def work() -> list[str]:
        await changed.wait()
        begin = asyncio.create_task(outbox.begin(first))
        beginning.set()
        assert await begin is not None
        return [entry.name for entry in await outbox.listed(["Pending"], 10)]

    _, seen = await asyncio.gather(change(), work())
    assert "test.seen" in seen


async def test_several_keyed_tasks_of_one_transaction_are_brought_forward(
    database: Database, clock: FakeClock
) -> None:
    keys = ("first", "second", "third")
    for delay in (60.0, 5.0):
        async with database.write() as tx:
            for key in keys:
                tx.enqueue("test.work", key=key, delay=delay)
    due = [entry.due for entry in await Outbox(database, {}).listed(["Pending"], 10)]
    assert due == [clock.now() + timedelta(seconds=5)] * len(keys)


async def test_work_under_keys_is_asked_for_and_begun_by_many_at_once(migrated_url: str) -> None:
    """Nobody meets a deadlock: it would be an error of whoever asked, or of whoever carries it out."""
    names = ("every:test.first", "test.second", "test.third")
    declared = [Task(name, _nothing) for name in names]
    database = Database(migrated_url)
    outbox = _outbox(database, *declared)
    await outbox.tick()

    async def ask(number: int) -> None:
        for turn in range(20):
            async with database.write() as tx:
                for name in names if (number + turn) % 2 else names[turn % 3 :][:1]:
                    tx.enqueue(name, key=name)

    async def carry_out(number: int) -> None:
        for turn in range(20):
            for entry_id in await outbox.take(1):
                entry = await outbox.begin(entry_id)
                assert entry is not None
                if (number + turn) % 2:
                    async with database.write() as tx:
                        tx.complete(entry.id)
                await outbox.finish(entry)

    try:
        await asyncio.gather(*(ask(n) for n in range(8)), *(carry_out(n) for n in range(6)))
        assert await outbox.listed(["Running", "Sent", "Parked"], 10) == []
        done = await outbox.listed(["Done"], 1000)
        assert {entry.name for entry in done} == set(names), "what only separates keys is nobody's work"
    finally:
        await database.close()
