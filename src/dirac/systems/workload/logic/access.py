"""Questions of ownership that depend on what is stored, asked by several use cases."""

from __future__ import annotations

from dirac.core.errors import ConflictError, NotFoundError
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.policy import Visibility, changeable
from dirac.systems.workload.ports.work import JobHead, Owner, SandboxRecord, WorkUnit
from dirac.systems.workload.states import OF_A_RUN


def no_such_job(job_id: int) -> NotFoundError:
    """Return the error for a job that does not exist, or that is out of the caller's sight."""
    return NotFoundError(f"there is no job {job_id}", hint="See `dirac job list`")


def no_such_sandbox(pfn: str) -> NotFoundError:
    """Return the error for an archive that does not exist, or that is out of the caller's sight."""
    return NotFoundError(f"there is no sandbox {pfn!r}")


def may_use(identity: Identity, record: SandboxRecord) -> bool:
    """Tell whether an archive is somebody's own, or of the group with which they share their jobs."""
    if record.vo != identity.vo:
        return False
    shared = Property.JOB_SHARING in identity.properties and record.owner_group == identity.group
    return record.owner_sub == identity.sub or shared


def is_of(owner: Owner, record: SandboxRecord) -> bool:
    """Tell whether an archive belongs to the owner of a job."""
    return (record.vo, record.owner_sub) == (owner.vo, owner.sub)


def in_sight(visible: Visibility, record: SandboxRecord) -> bool:
    """Tell whether an archive may be seen."""
    return visible.vo in (None, record.vo) and visible.owner_sub in (None, record.owner_sub)


async def head_for_change(unit: WorkUnit, identity: Identity, job_id: int) -> JobHead:
    """Return a job that somebody wants to change: its present run, the pilot that holds it, or a person.

    Raises:
        NotFoundError: There is none, or it is none of theirs.
        ConflictError: A run that is not the present one any more.
    """
    run = identity.kind in ("pilot", "job")
    visible = Visibility(vo=identity.vo) if run else changeable(identity)
    head = (await unit.jobs.heads(visible, [job_id])).get(job_id)
    if head is None or (identity.kind == "job" and job_id != identity.job_id):
        raise no_such_job(job_id)
    if identity.kind == "pilot" and head.pilot_stamp != identity.stamp:
        raise no_such_job(job_id)
    if identity.kind == "job":
        require_present(identity, job_id, head.attempt, head.status, head.pilot_stamp)
    return head


def require_present(identity: Identity, job_id: int, attempt: int, status: str, stamp: str | None) -> None:
    """Refuse a run that is not its job's present one any more.

    The number of a run is not enough: a database that was restored gives the numbers that it has forgotten to
    other jobs and runs, while a run from before may still be under way. Its pilot is another one.

    Raises:
        ConflictError: There is a newer run, the job waits for one, or another pilot has this one.
    """
    if (identity.attempt, identity.stamp) == (attempt, stamp) and status in OF_A_RUN:
        return
    if identity.attempt != attempt:
        now = f"is at run {attempt}"
    else:
        now = f"is {status} again" if status not in OF_A_RUN else "is another pilot's"
    raise ConflictError(
        f"stale attempt: this is run {identity.attempt} of job {job_id}, which {now}",
        hint="End this run; its results are not wanted any more",
    )
