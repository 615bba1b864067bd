"""What the identity system is told of pilots' records: that there is one, and which runs they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dirac.systems.workload.store.pilot_records import PilotRecordStore
from dirac.systems.workload.store.unit import WorkloadUnit

if TYPE_CHECKING:
    from dirac.db.engine import Database

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
