"""One transaction: all or nothing, on every engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, literal, select, text, update
from sqlalchemy.exc import DBAPIError

from dirac.core.errors import ConflictError, InvalidInputError, UnavailableError
from dirac.core.unit import Event
from dirac.db import connections
from dirac.db.engine import Database, DatabaseUnits
from dirac.db.history import history
from dirac.db.tables import events, schedules, tasks
from dirac.db.transaction import Transaction
from dirac.testing.faults import FailNth


def _event(database: Database, subject: str) -> Event:
    return Event(
        kind="test.thing.made",
        vo="astro",
        subject_kind="thing",
        subject_id=subject,
        time=database.clock.now(),
        actor="astro:alice",
        data={"size": 3, "name": "δ"},
    )


async def _count(database: Database, table: object) -> int:
    async with database.read() as tx:
        return (await tx.execute(select(func.count()).select_from(table))).scalar_one()


async def _thing(tx: Transaction, name: str) -> None:
    await tx.execute(insert(schedules).values(task=name, due=tx.now))


async def test_a_unit_of_one_statement_changes_what_that_does(database: Database) -> None:
    async with DatabaseUnits(database, lambda tx: tx).single() as tx:
        await tx.execute(select(func.count()).select_from(schedules))
        await _thing(tx, "one")
    assert await _count(database, schedules) == 1


@pytest.mark.parametrize("mode", ["single", "read"])
async def test_nothing_is_committed_beside_one_statement_or_none(database: Database, mode: str) -> None:
    units = DatabaseUnits(database, lambda tx: tx)
    together: list[Callable[[Transaction], object]] = [
        lambda tx: tx.record(_event(database, "1")),
        lambda tx: tx.enqueue("test.work"),
        lambda tx: tx.complete("entry"),
    ]
    for more in together:
        with pytest.raises(RuntimeError, match="together"):
            async with getattr(units, mode)() as tx:
                more(tx)
    assert await _count(database, events) == await _count(database, tasks) == 0


async def test_whether_a_unit_of_one_statement_was_carried_out_is_not_known_when_it_breaks(
    database: Database,
) -> None:
    if database.dialect == "sqlite":
        pytest.skip("it has no connections that break")

    async def break_in_between() -> None:
        async with DatabaseUnits(database, lambda tx: tx).single() as tx:
            await _break_connections(database)
            await _thing(tx, "one")

    with pytest.raises(UnavailableError, match="did not say whether"):
        await break_in_between()


async def test_a_write_after_a_read_on_one_connection_is_all_or_nothing(database: Database) -> None:
    for _ in range(3):
        await _count(database, events)

    async def fail() -> None:
        async with database.write() as tx:
            await _thing(tx, "one")
            await _thing(tx, "two")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await _count(database, schedules) == 0


async def test_a_commit_that_fails_leaves_nothing_to_the_next_one(database: Database) -> None:
    faults = FailNth(database)

    async def fail() -> None:
        with faults.failing(2):
            async with database.write() as tx:
                await _thing(tx, "one")

    with pytest.raises(UnavailableError):
        await fail()
    assert faults.fired
    async with database.write() as tx:
        await _thing(tx, "two")
    assert await _count(database, schedules) == 1


async def test_who_only_looks_leaves_no_transaction_open_meanwhile(database: Database) -> None:
    if database.dialect != "postgresql":
        pytest.skip("only PostgreSQL is asked without one")
    async with database.read() as tx:
        mine = (await tx.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        state = text("SELECT state FROM pg_stat_activity WHERE pid = :pid")
        async with database.read() as other:
            assert (await other.execute(state, {"pid": mine})).scalar_one() == "idle"
        async with tx.savepoint():
            await tx.execute(select(schedules))
        async with database.read() as other:
            assert (await other.execute(state, {"pid": mine})).scalar_one() == "idle in transaction"
    async with database.read() as other:
        assert (await other.execute(state, {"pid": mine})).scalar_one() in ("idle", "active")


async def test_what_is_recorded_is_found_in_order(database: Database) -> None:
    recorded = [_event(database, "1"), _event(database, "2"), _event(database, "1")]
    async with database.write() as tx:
        for event in recorded:
            tx.record(event)
    async with database.read() as tx:
        assert await history(tx, "thing", ["1"]) == [recorded[0], recorded[2]]


async def test_an_error_leaves_neither_event_nor_task(database: Database) -> None:
    async def change_then_fail() -> None:
        async with database.write() as tx:
            tx.record(_event(database, "1"))
            tx.enqueue("test.work")
            await tx.remember("scope", "key", "digest", "answer")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change_then_fail()
    assert await _count(database, events) == 0
    assert await _count(database, tasks) == 0
    async with database.read() as tx:
        assert await tx.recall("scope", "key", "digest") is None


async def test_work_with_a_key_is_not_added_while_it_has_not_begun(database: Database) -> None:
    for _ in range(3):
        async with database.write() as tx:
            tx.enqueue("test.work", key="the one")
            tx.enqueue("test.work", key="the one")
    assert await _count(database, tasks) == 1


async def test_an_idempotency_key_gives_the_same_answer_again(database: Database) -> None:
    async with database.write() as tx:
        await tx.remember("submit astro:alice", "k1", "d1", '{"a": 1}')
    async with database.read() as tx:
        assert await tx.recall("submit astro:alice", "k1", "d1") == '{"a": 1}'
        assert await tx.recall("submit bio:alice", "k1", "d1") is None
        with pytest.raises(ConflictError, match="k1"):
            await tx.recall("submit astro:alice", "k1", "another")


async def test_of_two_concurrent_uses_of_a_key_one_wins(database: Database) -> None:
    async def use(digest: str) -> str:
        try:
            async with database.write() as tx:
                await tx.remember("scope", "key", digest, digest)
        except ConflictError:
            return "refused"
        return "kept"

    outcomes = await asyncio.gather(*(use(f"d{i}") for i in range(8)))
    assert sorted(outcomes) == ["kept"] + ["refused"] * 7


async def test_concurrent_writers_lose_nothing(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.write() as tx:
            tx.record(_event(database, str(number)))

    await asyncio.gather(*(write(number) for number in range(40)))
    assert await _count(database, events) == 40


async def test_many_may_put_and_change_one_row_at_the_same_time(database: Database) -> None:
    start = database.clock.now()

    async def later() -> None:
        async with database.write() as tx:
            await tx.put(schedules, {"task": "t", "due": start}, changing=("task",))
            due = (await tx.execute(select(schedules.c.due))).scalar_one() + timedelta(seconds=1)
            await tx.execute(update(schedules).values(due=due))

    await asyncio.gather(*(later() for _ in range(12)))
    async with database.write() as tx:
        assert (await tx.execute(select(schedules.c.due))).scalar_one() == start + timedelta(seconds=12)
        await tx.put(schedules, {"task": "t", "due": start}, changing=("due",))
        assert (await tx.execute(select(schedules.c.due))).scalar_one() == start


async def test_missing_rows_are_inserted_in_any_number(database: Database) -> None:
    rows = [
        {"id": f"{n:032}", "name": "n", "args": {}, "state": "Done", "tries": 0}
        | {"due": database.clock.now(), "created": database.clock.now()}
        for n in range(5000)
    ]
    async with database.write() as tx:
        assert await tx.insert_missing(tasks, rows[:10]) == 10
        assert await tx.insert_missing(tasks, rows) == 4990
        assert await tx.insert_missing(tasks, []) == 0
    assert await _count(database, tasks) == 5000


async def test_no_value_is_cut_to_fit(database: Database) -> None:
    if database.dialect == "sqlite":  # knows no lengths: the value is kept as it is
        async with database.write() as tx:
            await tx.remember("scope", "k" * 200, "digest", "answer")
            assert await tx.recall("scope", "k" * 200, "digest") == "answer"
        return
    with pytest.raises((InvalidInputError, DBAPIError)):
        async with database.write() as tx:
            await tx.remember("scope", "k" * 200, "digest", "answer")
    async with database.read() as tx:
        assert await tx.recall("scope", "k" * 128, "digest") is None


async def test_of_a_commit_without_an_answer_nothing_is_claimed(database: Database) -> None:
    faults = FailNth(database)

    async def record() -> None:
        async with database.write() as tx:
            tx.record(_event(database, "1"))

    with faults.failing(0):
        await record()
    with faults.failing(faults.count, lost=True), pytest.raises(UnavailableError) as caught:
        await record()
    assert "did not say" in str(caught.value)
    assert await _count(database, events) == 2
    with faults.failing(faults.count - 1), pytest.raises(UnavailableError, match="Nothing was changed"):
        await record()
    assert await _count(database, events) == 2


async def _break_connections(database: Database) -> None:
    """End all connections to the database, as its restart does."""
    other = Database(database.url.render_as_string(hide_password=False))
    async with other.engine.connect() as connection:
        if database.dialect == "postgresql":
            mine = "usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
            await connection.execute(
                text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
            )
        else:
            mine = "DB = DATABASE() AND ID <> CONNECTION_ID()"
            found = await connection.execute(
                text(f"SELECT ID FROM information_schema.PROCESSLIST WHERE {mine}")
            )
            for number in found.scalars():
                await connection.execute(text(f"KILL CONNECTION {number}"))
    await other.close()


async def test_a_connection_that_broke_while_nobody_used_it_is_opened_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.dialect == "sqlite":
        pytest.skip("it has no connections that break")
    assert await _count(database, events) == 0
    await _break_connections(database)
    monkeypatch.setattr(connections, "_IDLE", 0.0)
    assert await _count(database, events) == 0


async def test_whoever_finds_a_broken_connection_may_ask_again(database: Database) -> None:
    if database.dialect == "sqlite":
        pytest.skip("it has no connections that break")
    async with database.read(), database.read(), database.read():
        pass  # three of them in the pool
    await _break_connections(database)
    with pytest.raises(UnavailableError) as caught:
        await _count(database, events)
    assert caught.value.retry_after is not None
    for _ in range(3):
        assert await _count(database, events) == 0


async def test_an_expression_that_the_engine_cannot_read_is_the_callers_fault(database: Database) -> None:
    if database.dialect == "sqlite":
        pytest.skip("its expressions are ours")
    with pytest.raises(InvalidInputError, match="cannot work with a value"):
        async with database.read() as tx:
            await tx.execute(select(literal("a").regexp_match("(")))


async def test_what_the_database_did_not_carry_out_has_its_code(database: Database) -> None:
    if database.dialect != "mariadb":
        pytest.skip("it is about MariaDB's numbers")
    with pytest.raises(UnavailableError, match="did not carry this out: OperationalError 1969 70100"):
        async with database.read() as tx:
            await tx.execute(text("SET STATEMENT max_statement_time=0.1 FOR SELECT sleep(5)"))
