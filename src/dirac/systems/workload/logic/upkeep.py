"""Looking after jobs by themselves: delays that are over, orders without an answer, jobs to be removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

from dirac.core.unit import Event, Units
from dirac.systems.workload.logic.deeds import Deeds, standing_of
from dirac.systems.workload.logic.life_cycle import SYSTEM
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.running import Configured, RunUnit
from dirac.systems.workload.states import released, unconfirmed

_BATCH = 500
_MOST_BATCHES = 100
_ENDED = (JobStatus.DONE, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.KILLED)
_GONE = (JobStatus.KILLED, JobStatus.DELETED)
_EVERYBODY = Visibility()
_Batch: TypeAlias = Callable[[RunUnit], Awaitable[tuple[int, int]]]
"""Does a batch in a unit; returns how many jobs it looked at, and how many it changed."""


class Upkeep:
    """Background work on jobs; each piece is a bounded transaction that a repetition does not do twice.

    Args:
        units: Transactions of the workload system.
        configuration: Tells how long jobs are kept.
        classes: The classes in memory.
    """

    def __init__(self, units: Units[RunUnit], configuration: Configured, classes: Classes) -> None:
        self._units = units
        self._configuration = configuration
        self._classes = classes

    async def end_delays(self) -> int:
        """Let jobs wait whose delay before the next run is over; return how many."""
        return await self._in_batches(self._end_some_delays)

    async def settle_kills(self) -> int:
        """Tell of runs that have not confirmed in time that they ended as ordered; return how many."""
        return await self._in_batches(self._settle_some_kills)

    async def _in_batches(self, some: _Batch) -> int:
        count = 0
        for _ in range(_MOST_BATCHES):
            async with self._units.write() as unit:
                looked_at, done = await some(unit)
            count += done
            if looked_at < _BATCH:
                break
        return count

    async def _end_some_delays(self, unit: RunUnit) -> tuple[int, int]:
        ids = await unit.control.delayed(_BATCH)
        if not ids:
            return 0, 0
        rows = await unit.runs.jobs(_EVERYBODY, ids, lock=True)
        deeds = await self._deeds(unit)
        for row in rows.values():
            if row.status == JobStatus.RESCHEDULED:
                deeds.add(row, released(standing_of(row, run=False), now=unit.now, source="Delays"))
        await deeds.write()
        await unit.control.undelay(sorted(ids))
        return len(ids), len(deeds.success)

    async def _settle_some_kills(self, unit: RunUnit) -> tuple[int, int]:
        ids = await unit.control.unanswered(_BATCH)
        if not ids:
            return 0, 0
        rows = await unit.runs.jobs(_EVERYBODY, ids, lock=True)
        # Looked for again, now that the jobs are locked: the answer may have come meanwhile.
        silent = await unit.control.give_up_answers(ids)
        deeds = await self._deeds(unit)
        for row in rows.values():
            if row.job_id in silent and row.status in _GONE:
                deeds.add(row, unconfirmed(standing_of(row, run=False), now=unit.now, source="Orders"))
        await deeds.write()
        return len(ids), len(deeds.success)

    async def _deeds(self, unit: RunUnit) -> Deeds:
        rules = (await self._configuration.current()).tree.workload
        await self._classes.refresh(unit)
        return Deeds(unit, SYSTEM, rules, self._classes)

    async def purge(self, entry: str | None = None) -> int:
        """Remove jobs for good that were deleted, or have ended, long enough ago; return how many.

        Their sandboxes belong to no job then, and are cleaned away in their turn. Of their history there
        remains one event, which says when they were removed.

        Args:
            entry: The background task's outbox entry.
        """
        rules = (await self._configuration.current()).tree.workload
        states = [(JobStatus.DELETED, rules.keep_deleted_days)]
        if rules.keep_ended_days:
            states += [(status, rules.keep_ended_days) for status in _ENDED]
        async with self._units.read() as unit:
            now = unit.now
            communities = await unit.control.communities()
            below = {
                days: await unit.control.first_since(now - timedelta(days=days))
                for days in {days for _, days in states}
            }
        count = 0
        for vo in communities:
            for status, days in states:
                count += await self._purge_state(vo, status, days, below[days])
        if entry is not None:
            async with self._units.write() as unit:
                unit.complete(entry)
        return count

    async def _purge_state(self, vo: str, status: JobStatus, days: int, below: int) -> int:
        count = after = 0
        while True:
            async with self._units.write() as unit:
                ids = await unit.control.removable(
                    vo, status, unit.now - timedelta(days=days), after=after, below=below, limit=_BATCH
                )
                if ids:
                    await self._remove(unit, vo, status, ids)
            count += len(ids)
            if len(ids) < _BATCH:
                return count
            after = ids[-1]

    async def _remove(self, unit: RunUnit, vo: str, status: JobStatus, ids: list[int]) -> None:
        await unit.forget("job", [str(job_id) for job_id in ids])
        await unit.control.remove(ids)
        for job_id in ids:
            unit.record(
                Event(
                    kind="workload.job.removed",
                    vo=vo,
                    subject_kind="job",
                    subject_id=str(job_id),
                    time=unit.now,
                    actor=SYSTEM,
                    data={"Status": status.value},
                )
            )
