"""What people do to jobs, by number or all that fit a filter: kill, hold, reschedule and so on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from dirac.core.search import Condition
from dirac.core.unit import Units
from dirac.systems.configuration.models import Workload
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.deeds import Deeds, find, standing_of
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import BulkFilter, BulkOutcome, BulkPreview, BulkStep, JobVerb
from dirac.systems.workload.policy import changeable
from dirac.systems.workload.ports.running import Configured, JobRow, RunUnit
from dirac.systems.workload.states import deleted, killed, put_on_hold, released, rescheduled, still_to_do

SOURCE = "JobManager"
_DEEDS = {
    JobVerb.KILL: killed,
    JobVerb.HOLD: put_on_hold,
    JobVerb.RELEASE: released,
    JobVerb.DELETE: deleted,
}


def carry_out(verb: JobVerb, rows: Iterable[JobRow], deeds: Deeds, rules: Workload, now: datetime) -> None:
    """Do something to jobs that are locked; what cannot be is said per job, and leaves it as it is."""
    for row in rows:
        standing = standing_of(row, run=False)
        if deed := _DEEDS.get(verb):
            deeds.add(row, deed(standing, now=now, source=SOURCE))
            continue
        counter = 0 if verb == JobVerb.RESET else row.reschedule_counter + 1
        if counter > rules.max_reschedules:
            deeds.failed[row.job_id] = {"detail": _too_often(row, rules)}
            continue
        deeds.add(row, rescheduled(standing, now=now, source=SOURCE), counter=counter)


def _too_often(row: JobRow, rules: Workload) -> str:
    return (
        f"job {row.job_id} was rescheduled {row.reschedule_counter} times, "
        f"at most {rules.max_reschedules} are allowed. Reset its counter to try again"
    )


class BulkVerbs:
    """Does something to all jobs that fit a filter, step by step.

    A step is one bounded transaction. Whatever happens between two steps, what is left to do is found again
    by the filter itself: jobs that were changed do not fit any more.

    Args:
        units: Transactions of the workload system.
        configuration: Tells how often a job may be rescheduled.
        classes: The classes in memory.
    """

    def __init__(self, units: Units[RunUnit], configuration: Configured, classes: Classes) -> None:
        self._units = units
        self._configuration = configuration
        self._classes = classes

    async def preview(self, identity: Identity, verb: JobVerb, wanted: BulkFilter) -> BulkPreview:
        """Count the jobs that a verb would be tried on: those that the caller may change and that fit.

        Raises:
            InvalidInputError: The conditions cannot be understood.
        """
        async with self._units.read() as unit:
            return await unit.control.count(changeable(identity), [*wanted.search, *still_to_do(verb)])

    async def step(self, identity: Identity, verb: JobVerb, step: BulkStep) -> BulkOutcome:
        """Do the next of the jobs that fit; doing a step again does nothing to those that are done.

        Jobs are looked at again when they are locked: one that has ceased to fit meanwhile is left alone.

        Raises:
            InvalidInputError: The conditions cannot be understood.
        """
        conditions = [*step.search, *still_to_do(verb)]
        rules = (await self._configuration.current()).tree.workload
        async with self._units.write() as unit:
            ids = await unit.control.choose(
                changeable(identity), conditions, after=step.after, until=step.until, limit=step.limit
            )
            if not ids:
                return BulkOutcome(done=0, failed={}, after=step.after, finished=True)
            deeds = await self._do(unit, identity, verb, ids, conditions, rules)
            return BulkOutcome(
                done=len(deeds.success),
                failed=deeds.failed,
                after=ids[-1],
                finished=len(ids) < step.limit,
            )

    async def _do(
        self,
        unit: RunUnit,
        identity: Identity,
        verb: JobVerb,
        ids: Sequence[int],
        conditions: Sequence[Condition],
        rules: Workload,
    ) -> Deeds:
        found = await find(unit, identity, list(ids))
        fitting = await unit.control.fitting(list(found.rows), conditions)
        await self._classes.refresh(unit)
        deeds = Deeds(unit, identity.subject, rules, self._classes)
        rows = [row for job_id, row in found.rows.items() if job_id in fitting]
        carry_out(verb, rows, deeds, rules, unit.now)
        await deeds.write()
        return deeds
