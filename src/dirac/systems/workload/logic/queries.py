"""Looking at jobs: search, counts, and what is known of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from dirac.core.errors import InvalidInputError
from dirac.core.search import Page, Paging, SearchParams, SummaryParams
from dirac.core.unit import Event, Units
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.access import no_such_job
from dirac.systems.workload.logic.submission import STATUS_EVENT
from dirac.systems.workload.models import JobJdl, LogEntry, Peek
from dirac.systems.workload.policy import readable
from dirac.systems.workload.ports.work import WorkUnit

LOGGING = "LoggingInfo"
"""Pseudo parameter of a search: the life-cycle log, as a list in every row."""

_KEY = "JobID"
_BATCH = 1000


class Queries:
    """Answers questions about jobs; never changes anything.

    Args:
        units: Transactions of the workload system.
    """

    def __init__(self, units: Units[WorkUnit]) -> None:
        self._units = units

    async def search(self, identity: Identity, params: SearchParams, paging: Paging) -> Page:
        """Return one page of those of the caller's jobs that fit.

        Raises:
            InvalidInputError: The parameters cannot be understood.
        """
        if params.parameters is None or LOGGING not in params.parameters:
            async with self._units.read() as unit:
                return await unit.jobs.search(readable(identity), params, paging)
        if params.distinct:
            raise InvalidInputError(f"rows with {LOGGING!r} are distinct by themselves", where="distinct")
        shown = [name for name in params.parameters if name != LOGGING]
        # A search for the log alone returns all parameters with it, as in DiracX.
        asked = msgspec.structs.replace(params, parameters=[*shown, _KEY] if shown else None)
        async with self._units.read() as unit:
            found = await unit.jobs.search(readable(identity), asked, paging)
            logs = await _logs(unit, [row[_KEY] for row in found.rows])
        rows = [
            {name: row[name] for name in shown or row} | {LOGGING: logs.get(row[_KEY], [])}
            for row in found.rows
        ]
        return msgspec.structs.replace(found, rows=rows)

    async def export(self, identity: Identity, params: SearchParams) -> AsyncIterator[list[dict[str, Any]]]:
        """Give all of the caller's jobs that fit, some at a time, each exactly once.

        Every part is a transaction of its own: a slow reader keeps none open. A job that begins to fit
        meanwhile, or ends to, may be there or not.

        Raises:
            InvalidInputError: The parameters cannot be understood; with the first part.
        """
        cursor: str | None = ""
        while cursor is not None:
            page = await self.search(identity, params, Paging(per_page=_BATCH, cursor=cursor, count=False))
            cursor = page.cursor
            yield page.rows

    async def summary(self, identity: Identity, params: SummaryParams) -> list[dict[str, Any]]:
        """Count those of the caller's jobs that fit, by the values of some parameters.

        Raises:
            InvalidInputError: The parameters cannot be understood.
        """
        async with self._units.read() as unit:
            return await unit.jobs.summary(readable(identity), params)

    async def logging(self, identity: Identity, job_id: int) -> list[LogEntry]:
        """Return a job's life-cycle log, oldest entry first.

        Raises:
            NotFoundError: There is no such job.
        """
        async with self._units.read() as unit:
            if job_id not in await unit.jobs.heads(readable(identity), [job_id]):
                raise no_such_job(job_id)
            return (await _logs(unit, [job_id])).get(job_id, [])

    async def jdl(self, identity: Identity, job_id: int) -> JobJdl:
        """Return the description of a job.

        Raises:
            NotFoundError: There is no such job.
        """
        async with self._units.read() as unit:
            text = (await unit.jobs.jdls(readable(identity), [job_id])).get(job_id)
        if text is None:
            raise no_such_job(job_id)
        return JobJdl(JobID=job_id, jdl=text)

    async def parameters(self, identity: Identity, job_id: int) -> dict[str, str]:
        """Return the free parameters of a job, by name.

        Raises:
            NotFoundError: There is no such job.
        """
        async with self._units.read() as unit:
            if job_id not in await unit.jobs.heads(readable(identity), [job_id]):
                raise no_such_job(job_id)
            return (await unit.jobs.parameters([job_id])).get(job_id, {})

    async def peek(self, identity: Identity, job_id: int) -> Peek:
        """Return the end of a job's standard output, as of the last heartbeat of its present run.

        Raises:
            NotFoundError: There is no such job.
        """
        async with self._units.read() as unit:
            found = (await unit.jobs.peeks(readable(identity), [job_id])).get(job_id)
        if found is None:
            raise no_such_job(job_id)
        return Peek(job_id, found.attempt, found.text or "", found.time, found.offset)


async def _logs(unit: WorkUnit, job_ids: Sequence[int]) -> dict[int, list[LogEntry]]:
    if not job_ids:
        return {}
    by_job: dict[int, list[Event]] = {}
    for event in await unit.history("job", [str(job_id) for job_id in job_ids]):
        if event.kind == STATUS_EVENT:
            by_job.setdefault(int(event.subject_id), []).append(event)
    return {job_id: log_entries(events) for job_id, events in by_job.items()}


def log_entries(events: Sequence[Event]) -> list[LogEntry]:
    """Make a life-cycle log of status events; what one of them leaves out is as it was before."""
    entries: list[LogEntry] = []
    last = {"Status": "", "MinorStatus": "", "ApplicationStatus": ""}
    for event in sorted(events, key=lambda event: event.time):
        last |= {name: event.data[name] for name in last if event.data.get(name) is not None}
        entries.append(
            LogEntry(
                Status=last["Status"],
                MinorStatus=last["MinorStatus"],
                ApplicationStatus=last["ApplicationStatus"],
                StatusTime=event.time,
                Source=event.data.get("Source", "Unknown"),
                Attempt=event.attempt,
                Note=event.data.get("Note"),
            )
        )
    return entries
