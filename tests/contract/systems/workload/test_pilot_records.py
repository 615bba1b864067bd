"""What the identity system is told of pilots' records: that there is one, and which runs they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, update

from dirac.systems.workload.store.pilot_records import PilotRecordStore
from dirac.systems.workload.store.tables import attempts
from dirac.systems.workload.store.unit import WorkloadUnit

if TYPE_CHECKING:
    from dirac.db.engine import Database

JOB, ATTEMPT = 7, 2
PLACE = {"vo": "astro", "site": "LCG.X.ch", "ce": "ce01", "actor": "astro:pilot:one"}


async def test_a_pilot_that_was_started_elsewhere_is_put_on_record_once(database: Database) -> None:
    async with database.write() as tx:
        assert await PilotRecordStore(tx).add(stamp="one", **PLACE)
    async with database.write() as tx:
        assert not await PilotRecordStore(tx).add(stamp="one", **PLACE)
    async with database.read() as tx:
        (row,) = await WorkloadUnit(tx).pilots.of_element("LCG.X.ch", "ce01")
        states = await PilotRecordStore(tx).states(["one", "two"])
    assert (row.vo, row.status, row.pilot_reference) == ("astro", "Submitted", "one")
    assert {stamp: (state.status, state.runs) for stamp, state in states.items()} == {
        "one": ("Submitted", [])
    }


async def test_a_run_is_held_by_its_pilot_until_it_is_over(database: Database) -> None:
    run = {"job_id": JOB, "attempt": ATTEMPT, "pilot_stamp": "one", "request_id": "r"}
    async with database.write() as tx:
        await tx.execute(insert(attempts).values(**run, claimed=tx.now, lease_until=tx.now))
    async with database.read() as tx:
        held = PilotRecordStore(tx).holds
        assert await held("one", JOB, ATTEMPT)
        others = [("two", JOB, ATTEMPT), ("one", JOB, ATTEMPT - 1), ("one", JOB + 1, ATTEMPT)]
        assert [await held(*each) for each in others] == [False] * 3
    async with database.write() as tx:
        await tx.execute(update(attempts).values(lease_until=None))
    async with database.read() as tx:
        assert not await PilotRecordStore(tx).holds("one", JOB, ATTEMPT)
