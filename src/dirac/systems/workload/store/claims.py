"""Claims: the statements that every match executes.

They are put together once; doing so costs more than executing them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from dirac.core.errors import ConflictError
from dirac.db.transaction import Transaction
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.ports.running import Ask, Claimed, Front, JobRow, RequestAnsweredError, Won
from dirac.systems.workload.store.pilots import occupy_pilot
from dirac.systems.workload.store.tables import attempts, classes, descriptions, jobs

_j = jobs.c
_WAITING = JobStatus.WAITING.value
OF_JOB = tuple(name for name in JobRow.__struct_fields__ if name in _j)

_of_front = (
    _j.class_id == bindparam("b_class"),
    _j.status == _WAITING,
    _j.user_priority == bindparam("b_priority"),
)
_OLDEST = (
    select(*(_j[name] for name in OF_JOB), descriptions.c.jdl)
    .select_from(jobs.join(descriptions, descriptions.c.job_id == _j.job_id))
    .where(*_of_front)
    .order_by(_j.job_id)
    .limit(1)
    .with_for_update(of=jobs, skip_locked=True)
)
_FOLLOWING = select(_j.job_id).where(*_of_front, _j.job_id > bindparam("b_job")).order_by(_j.job_id).limit(1)
_MATCH = update(jobs).where(_j.job_id == bindparam("b_job"))
_RUN = insert(attempts)


def _fronts(of_classes: ColumnElement[bool]) -> Select[Any]:
    """Find fronts by two steps into the index per class, however many jobs wait."""
    waiting = select(_j.user_priority).where(_j.class_id == classes.c.class_id, _j.status == _WAITING)
    highest = waiting.order_by(_j.user_priority.desc()).limit(1).scalar_subquery()
    front = select(classes.c.class_id, highest.label("priority")).where(of_classes).subquery()
    oldest = (
        select(_j.job_id)
        .where(_j.class_id == front.c.class_id, _j.status == _WAITING, _j.user_priority == front.c.priority)
        .order_by(_j.job_id)
        .limit(1)
        .scalar_subquery()
    )
    return select(front.c.class_id, front.c.priority, oldest.label("job_id")).where(
        front.c.priority.is_not(None)
    )


_FRONTS_OF_VO = _fronts(classes.c.vo == bindparam("b_of"))
_FRONT_OF_CLASS = _fronts(classes.c.class_id == bindparam("b_of"))


async def fronts(tx: Transaction, vo: str) -> list[Front]:
    """Return, for each class of a VO with waiting jobs, which of them would be next."""
    rows = await tx.execute(_FRONTS_OF_VO, {"b_of": vo})
    return [Front(row.class_id, row.priority, row.job_id) for row in rows if row.job_id is not None]


async def claim(tx: Transaction, front: Front, ask: Ask) -> Won | None:
    """Give one waiting job of this class and priority to a pilot; None if there is none any more.

    Raises:
        RequestAnsweredError: The same request has got a job already.
        ConflictError: The pilot has ended.
    """
    wanted = {"b_class": front.class_id, "b_priority": front.priority}
    if (row := (await tx.execute(_OLDEST, wanted)).first()) is None:
        return None
    found = dict(row._mapping)
    jdl, now = found.pop("jdl"), tx.now
    job_id = found["job_id"]
    matched = {
        "status": JobStatus.MATCHED.value,
        "minor_status": "Assigned",
        "site": ask.site,
        "attempt": found["attempt"] + 1,
        "last_update_time": now,
    }
    run = {"pilot_stamp": ask.stamp, "lease_until": ask.lease_until}
    key = {"job_id": job_id, "attempt": matched["attempt"], "request_id": ask.request_id, "claimed": now}
    try:
        await tx.execute(_RUN, run | key)
    except IntegrityError:
        raise RequestAnsweredError(
            "this request was answered before", hint="Ask again", retry_after=1.0
        ) from None
    await tx.execute(_MATCH, matched | {"b_job": job_id, "heartbeat_time": now})
    if not await occupy_pilot(tx, ask.stamp, job_id) and ask.registered:
        raise ConflictError(f"pilot {ask.stamp!r} has ended; it gets no more jobs")
    after = (await tx.execute(_FOLLOWING, wanted | {"b_job": job_id})).first()
    if after is not None:
        new_front: Front | None = Front(front.class_id, front.priority, after.job_id)
    else:
        rows = await tx.execute(_FRONT_OF_CLASS, {"b_of": front.class_id})
        lower = rows.first()  # None, or of a lower priority
        new_front = None if lower is None else Front(lower.class_id, lower.priority, lower.job_id)
    return Won(Claimed(job=JobRow(**(found | matched | run)), jdl=jdl), new_front)
