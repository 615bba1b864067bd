"""Claims: the statements that every match executes, for all requests of one transaction together.

They are put together once; doing so costs more than executing them. Where the rows of one statement differ,
it is made for a few numbers of rows, and the last row is repeated up to the next of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    RowMapping,
    Select,
    Table,
    Update,
    bindparam,
    case,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from dirac.core.errors import ConflictError
from dirac.db.transaction import Transaction
from dirac.systems.workload.models import JobStatus, PilotStatus
from dirac.systems.workload.ports.running import Ask, Claimed, Front, JobRow, Lot, RequestAnsweredError, Won
from dirac.systems.workload.store.pilots import ALIVE
from dirac.systems.workload.store.tables import attempts, classes, descriptions, jobs, pilots

_j = jobs.c
_a = attempts.c
_WAITING = JobStatus.WAITING.value
OF_JOB = tuple(name for name in JobRow.__struct_fields__ if name in _j)
"""What is read of a job."""

OF_RUN = ("pilot_stamp", "lease_until", "last_report", "claimed")
"""What is read of its run."""

_OLDEST = (
    select(*(_j[name] for name in OF_JOB), descriptions.c.jdl)
    .select_from(jobs.join(descriptions, descriptions.c.job_id == _j.job_id))
    .where(
        _j.class_id == bindparam("b_class"),
        _j.status == _WAITING,
        _j.user_priority == bindparam("b_priority"),
    )
    .order_by(_j.job_id)
    .limit(bindparam("b_number"))
    .with_for_update(of=jobs, skip_locked=True)
)
_RUN = insert(attempts)
_CLAIMED = (
    select(
        *(_j[name] for name in OF_JOB if name != "attempt"),
        *(_a[name] for name in OF_RUN),
        _a.attempt,
        _j.attempt.label("present"),
        descriptions.c.jdl,
    )
    .select_from(
        attempts.join(jobs, _j.job_id == _a.job_id).join(descriptions, descriptions.c.job_id == _a.job_id)
    )
    .where(_a.pilot_stamp == bindparam("b_stamp"), _a.request_id.in_(bindparam("b_ids", expanding=True)))
)


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
_FRONTS_OF_CLASSES = _fronts(classes.c.class_id.in_(bindparam("b_of", expanding=True)))


async def fronts(tx: Transaction, vo: str) -> list[Front]:
    """Return, for each class of a VO with waiting jobs, which of them would be next."""
    return _read_fronts(await tx.execute(_FRONTS_OF_VO, {"b_of": vo}))


def _read_fronts(rows: Any) -> list[Front]:
    return [Front(class_id, priority, job_id) for class_id, priority, job_id in rows if job_id is not None]


async def claim(tx: Transaction, lots: Sequence[Lot]) -> Won:
    """Give waiting jobs to pilots; no job is given twice, whoever else does this at the same time.

    Statements: one per lot, three for all of them together, one if a class has fewer jobs than were asked
    for.

    Raises:
        RequestAnsweredError: One of the requests has got a job already.
        ConflictError: One of the pilots has ended.
    """
    given: dict[tuple[str, str], Claimed] = {}
    taken: list[tuple[Ask, Claimed]] = []
    after: dict[int, Front | None] = {}
    short: list[int] = []
    for lot in lots:
        front = lot.front
        wanted = {"b_class": front.class_id, "b_priority": front.priority, "b_number": len(lot.asks)}
        rows = (await tx.execute(_OLDEST, wanted)).all()
        for ask, row in zip(lot.asks, rows, strict=False):
            taken.append((ask, _claimed(row._mapping, ask)))
        if len(rows) == len(lot.asks):
            after[front.class_id] = Front(front.class_id, front.priority, rows[-1].job_id + 1)
        else:
            short.append(front.class_id)
    if taken:
        await _write(tx, taken)
        given = {(ask.stamp, ask.request_id): claimed for ask, claimed in taken}
    if short:  # the rest of these classes has a lower priority, or others are about to have it
        after |= dict.fromkeys(short)
        found = _read_fronts(await tx.execute(_FRONTS_OF_CLASSES, {"b_of": short}))
        after |= {front.class_id: front for front in found}
    return Won(given, after)


def _claimed(row: RowMapping, ask: Ask) -> Claimed:
    """Return a job as it is after the claim."""
    values: dict[str, Any] = dict(row)
    jdl = values.pop("jdl")
    values["attempt"] += 1
    values |= {"status": JobStatus.MATCHED.value, "minor_status": "Assigned", "site": ask.site}
    values |= {"pilot_stamp": ask.stamp, "lease_until": ask.lease_until}
    return Claimed(job=JobRow(**values), jdl=jdl)


async def _write(tx: Transaction, taken: Sequence[tuple[Ask, Claimed]]) -> None:
    """Write pilots, runs and jobs, each in one statement; pilots first, as `RunStore.apply` does."""
    occupied = {ask.stamp: claimed.job.job_id for ask, claimed in taken if ask.registered}
    if occupied:
        ordered = {stamp: occupied[stamp] for stamp in sorted(occupied)}
        changed = await tx.execute(_occupying(_rows(len(ordered))), _spread(ordered) | {"b_now": tx.now})
        if changed.rowcount != len(ordered):
            raise ConflictError("the pilot has ended; it gets no more jobs")
    runs = [
        {
            "job_id": claimed.job.job_id,
            "attempt": claimed.job.attempt,
            "pilot_stamp": ask.stamp,
            "request_id": ask.request_id,
            "claimed": tx.now,
            "lease_until": ask.lease_until,
        }
        for ask, claimed in taken
    ]
    try:
        await tx.execute(_RUN, runs)
    except IntegrityError:
        raise RequestAnsweredError(
            "this request was answered before", hint="Ask again", retry_after=1.0
        ) from None
    sites = {claimed.job.job_id: ask.site for ask, claimed in taken}
    await tx.execute(_matching(_rows(len(sites))), _spread(sites) | {"b_now": tx.now})


def _rows(number: int) -> int:
    """Return for how many rows a statement is made that changes so many."""
    return 1 << (number - 1).bit_length()


def _spread(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the parameters of a statement that gives rows different values, by their keys."""
    pairs = list(values.items())
    pairs += [pairs[-1]] * (_rows(len(pairs)) - len(pairs))
    keys = {f"k{number}": key for number, (key, _) in enumerate(pairs)}
    return keys | {f"v{number}": value for number, (_, value) in enumerate(pairs)}


def _spreading(table: Table, key: Column[Any], changed: Column[Any], rows: int) -> Update:
    keys = [bindparam(f"k{number}", type_=key.type) for number in range(rows)]
    values = [bindparam(f"v{number}", type_=changed.type) for number in range(rows)]
    each = {changed.name: case(*((key == k, v) for k, v in zip(keys, values, strict=True)), else_=changed)}
    return update(table).where(key.in_(keys)).values(each)


@cache
def _matching(rows: int) -> Update:
    return _spreading(jobs, _j.job_id, _j.site, rows).values(
        status=JobStatus.MATCHED.value,
        minor_status="Assigned",
        attempt=_j.attempt + 1,
        last_update_time=bindparam("b_now"),
        heartbeat_time=bindparam("b_now"),
    )


@cache
def _occupying(rows: int) -> Update:
    occupying = _spreading(pilots, pilots.c.pilot_stamp, pilots.c.current_job_id, rows)
    return occupying.where(pilots.c.status.in_(ALIVE)).values(
        status=PilotStatus.RUNNING.value, last_update_time=bindparam("b_now")
    )


async def claimed(tx: Transaction, stamp: str, request_ids: Sequence[str]) -> list[Claimed]:
    """Return the jobs that these requests of this pilot got, in no order."""
    found = []
    for row in await tx.execute(_CLAIMED, {"b_stamp": stamp, "b_ids": list(request_ids)}):
        values = dict(row._mapping)
        present, jdl = values.pop("present"), values.pop("jdl")
        if present != values["attempt"]:
            values["lease_until"] = None
        found.append(Claimed(job=JobRow(**values), jdl=jdl))
    return found
