"""What people do to jobs, and look at while they run; a part of `Jobs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from dirac.core.search import Condition
from dirac.systems.workload.models import (
    BulkFilter,
    BulkOutcome,
    BulkPreview,
    BulkStep,
    Following,
    JobAt,
    JobVerb,
    Moment,
    Outcome,
    VitalSign,
)
from dirac.transport.http_client import HttpClient

_MOST_AT_ONCE = 1000


class Control:
    """Calls that change jobs, and that look at what they do.

    Args:
        http: The server.
    """

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def kill(self, job_ids: Sequence[int]) -> Outcome:
        """Stop jobs: waiting ones at once, running ones by an order to their pilot.

        Example::

            outcome = await client.jobs.kill([42])
        """
        return await self._on_jobs("kill", job_ids)

    async def delete(self, job_ids: Sequence[int]) -> Outcome:
        """Delete jobs, stopping those that run.

        Example::

            outcome = await client.jobs.delete([42])
        """
        return await self._on_jobs("delete", job_ids)

    async def hold(self, job_ids: Sequence[int]) -> Outcome:
        """Keep jobs that wait from pilots, until they are released.

        Example::

            outcome = await client.jobs.hold([42])
        """
        return await self._on_jobs("hold", job_ids)

    async def release(self, job_ids: Sequence[int]) -> Outcome:
        """Let jobs wait again that are on hold, or that wait before their next run.

        Example::

            outcome = await client.jobs.release([42])
        """
        return await self._on_jobs("release", job_ids)

    async def reschedule(self, job_ids: Sequence[int], *, reset: bool = False) -> Outcome:
        """Let jobs run again from their beginning.

        Not tried again after a failure of the network that leaves open whether it was carried out.

        Args:
            job_ids: The jobs.
            reset: Forget how often they were rescheduled before.

        Example::

            outcome = await client.jobs.reschedule([42])
        """
        return await self._http.call(
            "POST",
            "/api/jobs/reschedule",
            Outcome,
            params={"reset_jobs": reset},
            body={"job_ids": list(job_ids)},
        )

    async def preview(self, verb: JobVerb, search: Sequence[Condition]) -> BulkPreview:
        """Count the jobs that a verb would change: those that fit all conditions and that it can change.

        Example::

            preview = await client.jobs.preview(JobVerb.KILL, [Condition("Site", "eq", "LCG.Meyrin.ch")])
        """
        path = f"/api/jobs/bulk/{verb.value}/preview"
        return await self._http.call(
            "POST", path, BulkPreview, body=BulkFilter(list(search)), repeatable=True
        )

    async def change_all(
        self,
        verb: JobVerb,
        search: Sequence[Condition],
        *,
        until: int,
        progress: Callable[[int], None] | None = None,
    ) -> BulkOutcome:
        """Do something to all jobs that fit, in bounded steps; again, it does only what is left to do.

        Args:
            verb: What to do.
            search: Conditions, all of which must hold.
            until: Greatest number of a job, as `preview` says it: later ones are left alone.
            progress: Called with the number of jobs that were dealt with.

        Raises:
            InvalidInputError: A condition is not understood.

        Example::

            preview = await client.jobs.preview(JobVerb.HOLD, search)
            outcome = await client.jobs.change_all(JobVerb.HOLD, search, until=preview.last)
        """
        done, failed, after = 0, dict[int, dict[str, str]](), 0
        while until:
            step = BulkStep(search=list(search), until=until, after=after)
            # Sent again after any failure: what is done does not fit any more.
            path = f"/api/jobs/bulk/{verb.value}"
            outcome = await self._http.call("POST", path, BulkOutcome, body=step, repeatable=True)
            done, failed, after = done + outcome.done, failed | outcome.failed, outcome.after
            if progress is not None:
                progress(done + len(failed))
            if outcome.finished:
                break
        return BulkOutcome(done=done, failed=failed, after=after, finished=True)

    async def at(self, job_ids: Sequence[int], time: datetime) -> list[JobAt]:
        """Return what jobs were at some time; those that the caller cannot see are left out.

        Example::

            [then] = await client.jobs.at([42], datetime.now(UTC) - timedelta(hours=1))
        """
        found: list[JobAt] = []
        for start in range(0, len(job_ids), _MOST_AT_ONCE):
            moment = Moment(list(job_ids[start : start + _MOST_AT_ONCE]), time)
            found += await self._http.call("POST", "/api/jobs/at", list[JobAt], body=moment, repeatable=True)
        return found

    async def heartbeats(self, job_id: int, attempt: int | None = None) -> list[VitalSign]:
        """Return what the runs of a job, or one of them, used over time.

        Example::

            [sign.data["MemoryUsed"] for sign in await client.jobs.heartbeats(42)]
        """
        params = {} if attempt is None else {"attempt": attempt}
        return await self._http.call("GET", f"/api/jobs/{job_id}/heartbeats", list[VitalSign], params=params)

    async def follow(self, job_id: int) -> Following:
        """Ask the present run of a job to send its output every few seconds, for some minutes.

        Raises:
            ConflictError: No pilot has the job.

        Example::

            await client.jobs.follow(42)
        """
        return await self._http.call("POST", f"/api/jobs/{job_id}/follow", Following, repeatable=True)

    async def _on_jobs(self, verb: str, job_ids: Sequence[int]) -> Outcome:
        body = {"job_ids": list(job_ids)}
        return await self._http.call("POST", f"/api/jobs/{verb}", Outcome, body=body, repeatable=True)
