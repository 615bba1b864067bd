"""The database that fails on demand, on every engine."""

from __future__ import annotations

import itertools

import pytest

from dirac.core.errors import UnavailableError
from dirac.core.unit import Event
from dirac.db.engine import Database
from dirac.db.history import history
from dirac.testing.faults import FailNth


async def _record(database: Database, subject: str) -> None:
    async with database.write() as tx:
        tx.record(
            Event(
                kind="test.thing.made",
                vo="",
                subject_kind="thing",
                subject_id=subject,
                time=tx.now,
                actor="test",
            )
        )


async def _kept(database: Database, subject: str) -> bool:
    async with database.read() as tx:
        return bool(await history(tx, "thing", [subject]))


async def test_nothing_fails_unless_told(database: Database) -> None:
    faults = FailNth(database)
    with faults.failing(0):
        await _record(database, "a")
    assert faults.count >= 2, "a statement and a commit"
    assert not faults.fired
    assert await _kept(database, "a")


async def test_each_operation_can_be_refused(database: Database) -> None:
    faults = FailNth(database)
    for n in itertools.count(1):
        with faults.failing(n):
            if n > 1 and not await _fails(database, str(n)):
                break
            if n == 1:
                assert await _fails(database, "1")
        assert faults.fired
        assert not await _kept(database, str(n))
    assert not faults.fired
    assert await _kept(database, str(n))


async def _fails(database: Database, subject: str) -> bool:
    try:
        await _record(database, subject)
    except UnavailableError:
        return True
    return False


async def test_the_answer_to_a_commit_can_be_lost(database: Database) -> None:
    faults = FailNth(database)
    with faults.failing(0):
        await _record(database, "counted")
    commit = faults.count
    with faults.failing(commit, lost=True), pytest.raises(UnavailableError):
        await _record(database, "lost")
    assert await _kept(database, "lost")
    with faults.failing(commit - 1, lost=True), pytest.raises(UnavailableError):
        await _record(database, "undone")
    assert not await _kept(database, "undone")


async def test_it_fails_once_and_ends_with_its_block(database: Database) -> None:
    faults = FailNth(database)
    with faults.failing(1):
        assert await _fails(database, "a")
        await _record(database, "b")
    await _record(database, "c")
    assert [await _kept(database, subject) for subject in "abc"] == [False, True, True]
