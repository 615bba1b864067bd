"""Routes for holding jobs, for what is done to all that fit a filter, and for watching one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.api.jobs import JobIdInPath
from dirac.systems.workload.logic.life_cycle import JobLifeCycle
from dirac.systems.workload.logic.verbs import BulkVerbs
from dirac.systems.workload.logic.watching import Watching
from dirac.systems.workload.models import (
    BulkFilter,
    BulkOutcome,
    BulkPreview,
    BulkStep,
    Following,
    JobAt,
    JobIds,
    JobVerb,
    Moment,
    Outcome,
    VitalSign,
)
from dirac.transport.routing import SystemRouter, allowed, body, provided

router = SystemRouter("/api/jobs", "jobs")

Changer = Annotated[Identity, allowed(policy.change_jobs)]
Reader = Annotated[Identity, allowed(policy.read_jobs)]
TheLifeCycle = Annotated[JobLifeCycle, provided(JobLifeCycle)]
TheVerbs = Annotated[BulkVerbs, provided(BulkVerbs)]
TheWatching = Annotated[Watching, provided(Watching)]


@router.post("/hold")
async def hold_jobs(caller: Changer, wanted: Annotated[JobIds, body(JobIds)], jobs: TheLifeCycle) -> Outcome:
    """Keep jobs that wait from pilots, until they are released."""
    return await jobs.hold(caller, wanted.job_ids)


@router.post("/release")
async def release_jobs(
    caller: Changer, wanted: Annotated[JobIds, body(JobIds)], jobs: TheLifeCycle
) -> Outcome:
    """Let jobs wait again that are on hold, or that wait before their next run."""
    return await jobs.release(caller, wanted.job_ids)


@router.post("/bulk/{verb}/preview")
async def preview_bulk_verb(
    caller: Changer, verb: JobVerb, wanted: Annotated[BulkFilter, body(BulkFilter)], verbs: TheVerbs
) -> BulkPreview:
    """Count the jobs that a verb would change: those that fit all conditions and that it can change."""
    return await verbs.preview(caller, verb, wanted)


@router.post("/bulk/{verb}")
async def step_bulk_verb(
    caller: Changer, verb: JobVerb, step: Annotated[BulkStep, body(BulkStep)], verbs: TheVerbs
) -> BulkOutcome:
    """Do something to the next of the jobs that fit, in one transaction.

    Go on with the answer's `after` until it is `finished`. A step may be repeated: it changes nothing twice.
    """
    return await verbs.step(caller, verb, step)


@router.post("/at")
async def get_jobs_at(
    caller: Reader, moment: Annotated[Moment, body(Moment)], watching: TheWatching
) -> list[JobAt]:
    """Show what jobs were at some time."""
    return await watching.at(caller, moment.job_ids, moment.time)


@router.get("/{job_id}/heartbeats")
async def get_job_heartbeats(
    caller: Reader,
    watching: TheWatching,
    job_id: JobIdInPath,
    attempt: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> list[VitalSign]:
    """Show what the runs of a job used over time; the older, the coarser."""
    return await watching.signs(caller, job_id, attempt)


@router.post("/{job_id}/follow")
async def follow_job(caller: Reader, watching: TheWatching, job_id: JobIdInPath) -> Following:
    """Ask the present run of a job to send the end of its output every few seconds, for some minutes."""
    return await watching.follow(caller, job_id)
