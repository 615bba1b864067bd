"""Watching a job: what it was at a time, what its runs used, and its output while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dirac.core.errors import ConflictError, InvalidInputError
from dirac.core.unit import Event, Units
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.access import no_such_job
from dirac.systems.workload.logic.submission import STATUS_EVENT
from dirac.systems.workload.models import FOLLOW, Following, JobAt, VitalSign
from dirac.systems.workload.policy import readable
from dirac.systems.workload.ports.running import Configured, Order, RunUnit
from dirac.systems.workload.states import HELD, LATE_NOTE

FOLLOW_SECONDS = 120
_NOT_AGAIN = timedelta(seconds=FOLLOW_SECONDS / 2)


class Watching:
    """Answers questions about a job's past and present.

    Args:
        units: Transactions of the workload system.
        configuration: Tells how often runs give signs of life.
    """

    def __init__(self, units: Units[RunUnit], configuration: Configured) -> None:
        self._units = units
        self._configuration = configuration

    async def at(self, identity: Identity, job_ids: Sequence[int], time: datetime) -> list[JobAt]:
        """Return what jobs were at some time; those that the caller cannot see are left out.

        Raises:
            InvalidInputError: The time has no time zone.
        """
        if time.tzinfo is None:
            raise InvalidInputError(
                f"the time {time.isoformat()} has no time zone",
                where="time",
                hint="Send RFC 3339, for instance 2026-11-20T12:00:00Z",
            )
        time = time.astimezone(UTC)
        async with self._units.read() as unit:
            seen = await unit.jobs.heads(readable(identity), job_ids)
            events = await unit.history("job", [str(job_id) for job_id in seen])
        by_job: dict[int, list[Event]] = {job_id: [] for job_id in sorted(seen)}
        for event in events:
            by_job[int(event.subject_id)].append(event)
        return [state_at(job_id, events, time) for job_id, events in by_job.items()]

    async def signs(self, identity: Identity, job_id: int, attempt: int | None) -> list[VitalSign]:
        """Return what the runs of a job, or one of them, used over time.

        Raises:
            NotFoundError: There is no such job.
        """
        async with self._units.read() as unit:
            if job_id not in await unit.jobs.heads(readable(identity), [job_id]):
                raise no_such_job(job_id)
            return await unit.control.signs(job_id, attempt)

    async def follow(self, identity: Identity, job_id: int) -> Following:
        """Ask the present run of a job to send the end of its output often, for some time.

        Raises:
            NotFoundError: There is no such job.
            ConflictError: No pilot has it.
        """
        rules = (await self._configuration.current()).tree.workload
        async with self._units.write() as unit:
            head = (await unit.jobs.heads(readable(identity), [job_id])).get(job_id)
            if head is None:
                raise no_such_job(job_id)
            if head.status not in HELD:
                raise ConflictError(f"job {job_id} is {head.status}: it prints nothing now")
            if not await unit.control.ordered(job_id, head.attempt, FOLLOW, unit.now - _NOT_AGAIN):
                await unit.runs.order([Order(job_id, head.attempt, FOLLOW, str(FOLLOW_SECONDS))])
        return Following(seconds=FOLLOW_SECONDS, within=rules.heartbeat_seconds)


def state_at(job_id: int, events: Sequence[Event], time: datetime) -> JobAt:
    """Return what a job was at some time, from its events; what one leaves out is as it was before."""
    known = {"Status": "", "MinorStatus": "", "ApplicationStatus": ""}
    since, attempt = None, None
    for event in sorted(events, key=lambda event: event.time):
        if event.kind != STATUS_EVENT or event.time > time or event.data.get("Note") == LATE_NOTE:
            continue
        if event.data.get("Status") not in (None, known["Status"]):
            since = event.time
        known |= {name: event.data[name] for name in known if event.data.get(name) is not None}
        attempt = event.attempt or attempt
    return JobAt(JobID=job_id, StatusTime=since, Attempt=attempt, **known)
