"""Routes for what happens to jobs after their submission."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeAlias

from fastapi import Query
from msgspec import Meta

from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.api.jobs import JobIdInPath
from dirac.systems.workload.logic.explain import Explain
from dirac.systems.workload.logic.life_cycle import MOST_JOBS, JobLifeCycle
from dirac.systems.workload.logic.matching import Matching
from dirac.systems.workload.logic.shadow import ShadowPolicy
from dirac.systems.workload.models import (
    Explanation,
    HeartbeatData,
    JobCommand,
    JobID,
    JobIds,
    JobStatusUpdate,
    MatchAnswer,
    MatchRequest,
    Outcome,
    ShadowReport,
)
from dirac.transport.routing import SystemRouter, allowed, body, provided

router = SystemRouter("/api/jobs", "jobs")

Reports: TypeAlias = dict[JobID, dict[datetime, JobStatusUpdate]]
Beats: TypeAlias = dict[JobID, HeartbeatData]
Metadata: TypeAlias = Annotated[dict[JobID, dict[str, Any]], Meta(max_length=MOST_JOBS)]
Updater = Annotated[Identity, allowed(policy.update_jobs)]
Changer = Annotated[Identity, allowed(policy.change_jobs)]
TheLifeCycle = Annotated[JobLifeCycle, provided(JobLifeCycle)]


@router.post("/match")
async def match_job(
    caller: Annotated[Identity, allowed(policy.match)],
    request: Annotated[MatchRequest, body(MatchRequest)],
    matching: Annotated[Matching, provided(Matching)],
) -> MatchAnswer:
    """Ask for a job, as a pilot; without one, the answer counts the reasons.

    A request may be repeated with the same `request_id`: it gets the same job again.
    """
    return await matching.match(caller, request)


@router.patch("/status")
async def set_job_statuses(
    caller: Updater,
    updates: Annotated[Reports, body(Reports)],
    jobs: TheLifeCycle,
    force: Annotated[bool, Query()] = False,
) -> Outcome:
    """Report what happened to jobs: `{job: {time: update}}`.

    A state that cannot follow the present one is refused: the job is then in `failed`, with the reason. Only
    a job administrator may `force` any state.
    """
    return await jobs.set_statuses(caller, updates, force=force)


@router.patch("/heartbeat")
async def add_heartbeat(
    caller: Updater, beats: Annotated[Beats, body(Beats)], jobs: TheLifeCycle
) -> list[JobCommand]:
    """Give signs of life of jobs, and get the orders for them."""
    return await jobs.heartbeat(caller, beats)


@router.patch("/metadata", status_code=204)
async def patch_metadata(
    caller: Updater, updates: Annotated[Metadata, body(Metadata)], jobs: TheLifeCycle
) -> None:
    """Set the site and free parameters of jobs; of all of them or, if anything is wrong, of none."""
    await jobs.set_metadata(caller, updates)


@router.post("/kill")
async def kill_jobs(caller: Changer, wanted: Annotated[JobIds, body(JobIds)], jobs: TheLifeCycle) -> Outcome:
    """Kill jobs."""
    return await jobs.kill(caller, wanted.job_ids)


@router.post("/delete")
async def delete_jobs(
    caller: Changer, wanted: Annotated[JobIds, body(JobIds)], jobs: TheLifeCycle
) -> Outcome:
    """Delete jobs; those that are not over are killed first."""
    return await jobs.delete(caller, wanted.job_ids)


@router.post("/reschedule")
async def reschedule_jobs(
    caller: Changer,
    wanted: Annotated[JobIds, body(JobIds)],
    jobs: TheLifeCycle,
    reset_jobs: Annotated[bool, Query()] = False,
) -> Outcome:
    """Let jobs wait for another run.

    Each job may be rescheduled so many times; `reset_jobs` starts to count from zero.
    """
    return await jobs.reschedule(caller, wanted.job_ids, reset=reset_jobs)


@router.get("/shadow")
async def compare_shadow(
    caller: Annotated[Identity, allowed(policy.read_shadow)],
    shadow: Annotated[ShadowPolicy, provided(ShadowPolicy)],
) -> list[ShadowReport]:
    """Tell what the candidate of the configuration would change, by VO, as this process has seen it."""
    return shadow.report(caller)


@router.get("/{job_id}/explain")
async def explain_job(
    caller: Annotated[Identity, allowed(policy.read_jobs)],
    explain: Annotated[Explain, provided(Explain)],
    job_id: JobIdInPath,
) -> Explanation:
    """Explain why a job does or does not run."""
    return await explain.explain(caller, job_id)
