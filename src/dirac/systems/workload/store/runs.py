"""Claims, runs, leases and commands in the database."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy.sql import Update

from dirac.db.transaction import Transaction
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.running import (
    Beat,
    Change,
    Claimed,
    ClassRow,
    Front,
    JobRow,
    Lot,
    Order,
    RunningRow,
    Won,
)
from dirac.systems.workload.store.claims import OF_JOB, OF_RUN, claim, claimed, fronts
from dirac.systems.workload.store.jobs import visible_jobs
from dirac.systems.workload.store.pilots import free_pilots
from dirac.systems.workload.store.tables import attempts, classes, commands, jobs, parameters
from dirac.systems.workload.store.usage import note

_j = jobs.c
_a = attempts.c
_PRESENT = and_(_a.job_id == _j.job_id, _a.attempt == _j.attempt)
_WAITING = JobStatus.WAITING.value
_MOST_COUNTED = 10_000
_FEW = 4


_ROWS = select(*(_j[name] for name in OF_JOB), *(_a[name] for name in OF_RUN)).select_from(
    jobs.outerjoin(attempts, _PRESENT)
)
_NAMES = (*OF_JOB, *OF_RUN)
_STARTED = ("Matched", "Running", "Completing", "Completed", "Stalled", "Done", "Failed", "Killed")
_LAST_STARTED = union_all(
    *(
        select(
            select(_j.job_id)
            .where(
                _j.class_id == bindparam("b_class"),
                _j.status == status,
                _j.user_priority == bindparam("b_priority"),
            )
            .order_by(_j.job_id.desc())
            .limit(bindparam("b_most"))
            .subquery()
            .c.job_id
        )
        for status in _STARTED
    )
).subquery()
_STARTS = (
    select(_a.claimed)
    .join(_LAST_STARTED, _LAST_STARTED.c.job_id == _a.job_id)
    .where(_a.attempt == 1)
    .order_by(_a.claimed.desc())
    .limit(bindparam("b_most"))
)


@lru_cache(maxsize=256)
def _of_jobs(visible: Visibility, *, lock: bool) -> Select[Any]:
    """Return the statement that reads those of some jobs that are visible, or the one that locks them."""
    wanted = and_(visible_jobs(visible), _in(_j.job_id))
    if lock:
        return select(_j.job_id).where(wanted).order_by(_j.job_id).with_for_update()
    return _ROWS.where(wanted).order_by(_j.job_id)


@lru_cache(maxsize=64)
def _setting(table: Table, names: tuple[str, ...], *, alike: bool) -> Update:
    """Return the statement that gives jobs, or their runs, values of these names.

    Args:
        table: The jobs or the runs, of which only those are changed that have not ended.
        names: What is set.
        alike: Many get the same values; otherwise one its own.
    """
    key = table.c.job_id
    which = _in(key) if alike else key == bindparam("b_key")
    statement = update(table).where(which).values({name: bindparam(f"b_{name}") for name in names})
    return statement.where(_a.ended.is_(None)) if table is attempts else statement


def _in(key: ColumnElement[int]) -> ColumnElement[bool]:
    return key.in_(bindparam("b_ids", expanding=True))


_EXPIRE = (
    update(attempts)
    .where(
        _a.job_id == bindparam("job"),
        _a.attempt == bindparam("number"),
        _a.lease_until > bindparam("now"),
    )
    .values(lease_until=bindparam("now"))
)


class RunStore:
    """Implements `RunRepository`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def classes(self, after: int) -> list[ClassRow]:
        """Return the classes with a greater identifier than this one."""
        columns = [classes.c[name] for name in ClassRow.__struct_fields__]
        rows = await self._tx.execute(select(*columns).where(classes.c.class_id > after))
        return [ClassRow(**row._mapping) for row in rows]

    async def class_count(self, after: int) -> int:
        """Count the classes with a greater identifier than this one."""
        statement = select(func.count()).select_from(classes).where(classes.c.class_id > after)
        return int((await self._tx.execute(statement)).scalar_one())

    async def fronts(self, vo: str) -> list[Front]:
        """Return, for each class of a VO with waiting jobs, which of them would be next."""
        return await fronts(self._tx, vo)

    async def claim(self, lots: Sequence[Lot]) -> Won:
        """Give waiting jobs to pilots; no job is given twice, whoever else does this at the same time.

        Raises:
            RequestAnsweredError: One of the requests has got a job already.
            ConflictError: One of the pilots has ended.
        """
        return await claim(self._tx, lots)

    async def claimed(self, stamp: str, request_ids: Sequence[str]) -> list[Claimed]:
        """Return the jobs that these requests of this pilot got, in no order."""
        return await claimed(self._tx, stamp, request_ids)

    async def running(self) -> list[RunningRow]:
        """Return the runs that are not over, counted by class and site."""
        rows = await self._tx.execute(
            select(_j.class_id, _j.site, func.count().label("number"), func.max(_a.claimed).label("newest"))
            .select_from(attempts.join(jobs, _PRESENT))
            .where(_a.lease_until.is_not(None))
            .group_by(_j.class_id, _j.site)
        )
        return [RunningRow(**row._mapping) for row in rows]

    async def waiting_counts(self, vo: str, most: int = _MOST_COUNTED) -> dict[int, int]:
        """Return the number of waiting jobs by class, of each no more than so many.

        Two statements: which classes have more than that, by one step into the index each; and the others,
        counted. So it takes no longer when millions wait.
        """
        of_class = select(_j.job_id).where(_j.class_id == classes.c.class_id, _j.status == _WAITING)
        first = of_class.limit(1).scalar_subquery()
        # In the order of the index: else PostgreSQL reads all of a class to skip a few.
        ordered = of_class.order_by(_j.user_priority, _j.job_id)
        last = ordered.limit(1).offset(most - 1).scalar_subquery()
        statement = select(classes.c.class_id, last.label("last")).where(
            classes.c.vo == vo, first.is_not(None)
        )
        rows = (await self._tx.execute(statement)).all()
        counts = {row.class_id: most for row in rows}
        few = [row.class_id for row in rows if row.last is None]
        if few:
            number = func.count().label("number")
            found = await self._tx.execute(
                select(_j.class_id, number)
                .where(_j.class_id.in_(few), _j.status == _WAITING)
                .group_by(_j.class_id)
            )
            counts = dict.fromkeys(counts.keys() - set(few), most)
            counts |= {row.class_id: row.number for row in found}
        return counts

    async def waiting_before(self, job: JobRow, classes: Sequence[int]) -> int:
        """Count the waiting jobs of these classes that come first; counts no further than 20 000."""
        same = and_(_j.user_priority == job.user_priority, _j.job_id < job.job_id)
        number = 0
        for before in (_j.user_priority > job.user_priority, same):  # each is a range of the index
            wanted = and_(_j.class_id.in_(classes), _j.status == _WAITING, before)
            some = select(_j.job_id).where(wanted).limit(_MOST_COUNTED).subquery()
            number += (await self._tx.execute(select(func.count()).select_from(some))).scalar_one()
        return number

    async def starts(self, job: JobRow, most: int) -> list[datetime]:
        """Return when the last jobs of a job's class and priority have started, at most so many.

        The newest of each state by one step into the index: it takes no longer when millions have ended.
        """
        values = {"b_class": job.class_id, "b_priority": job.user_priority, "b_most": most}
        return list((await self._tx.execute(_STARTS, values)).scalars())

    async def jobs(self, visible: Visibility, job_ids: Sequence[int], *, lock: bool) -> dict[int, JobRow]:
        """Return those jobs that are visible; locked ones are not changed by others meanwhile."""
        wanted = {"b_ids": list(job_ids)}
        if lock and self._tx.dialect != "sqlite":  # which has one writer at a time
            # By itself: a statement that waits for a lock still sees the other tables as before the wait.
            await self._tx.execute(_of_jobs(visible, lock=True), wanted)
        rows = await self._tx.execute(_of_jobs(visible, lock=False), wanted)
        return {row[0]: _job_row(row) for row in rows}

    async def overdue(self, limit: int) -> list[JobRow]:
        """Return and lock jobs whose present run has outlived its lease."""
        late = and_(_a.lease_until <= self._tx.now, _PRESENT)
        found = select(_j.job_id).select_from(jobs.join(attempts, _PRESENT)).where(late)
        ids = (await self._tx.execute(found.order_by(_j.job_id).limit(limit))).scalars().all()
        # By itself: MariaDB would lock the runs as well, which come behind pilots (`apply`).
        free = select(_j.job_id).where(_j.job_id.in_(ids)).order_by(_j.job_id)
        if ids:
            ids = (await self._tx.execute(free.with_for_update(skip_locked=True))).scalars().all()
        if not ids:
            return []
        rows = await self._tx.execute(_ROWS.where(_j.job_id.in_(ids), late).order_by(_j.job_id))
        return [_job_row(row) for row in rows]

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write what becomes of jobs.

        Locks are taken in one order everywhere: jobs, pilots, runs.
        """
        await self._update_jobs([change for change in changes if change.rescheduled is None])
        await self._update_jobs([change for change in changes if change.rescheduled is not None])
        again = [change.job.job_id for change in changes if change.rescheduled is not None]
        if again:  # they describe the run that is given up
            await self._tx.execute(delete(parameters).where(parameters.c.job_id.in_(again)))
        now = self._tx.now
        over = {
            change.job.job_id: {"ended": now, "outcome": change.outcome, "lease_until": None}
            | {"last_report": change.reported or change.job.last_report}
            for change in changes
            if change.outcome is not None
        }
        stamps = {c.job.pilot_stamp for c in changes if c.outcome is not None and c.job.pilot_stamp}
        if stamps:
            await free_pilots(self._tx, sorted(stamps), sorted(over))
        await self._spread(attempts, over)
        if stamps:
            await note(self._tx, changes)
        going = {
            change.job.job_id: {"last_report": change.reported, "lease_until": change.lease_until}
            for change in changes
            if change.outcome is None and change.reported is not None and change.lease_until is not None
        }
        await self._spread(attempts, going)

    async def _update_jobs(self, changes: Sequence[Change]) -> None:
        now = self._tx.now
        values: dict[int, dict[str, Any]] = {}
        for change in changes:
            standing = change.standing
            row: dict[str, Any] = {
                "status": standing.status.value,
                "minor_status": standing.minor_status,
                "application_status": standing.application_status,
                "start_exec_time": standing.start_exec_time,
                "end_exec_time": standing.end_exec_time,
                "last_update_time": now,
            }
            if change.rescheduled is not None:
                counter, site = change.rescheduled
                row |= {"reschedule_counter": counter, "site": site, "reschedule_time": now}
            values[change.job.job_id] = row
        await self._spread(jobs, values)

    async def _spread(self, table: Table, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Give rows their values: with one statement where they are equal, else in one bulk statement."""
        if not values:
            return
        names = tuple(next(iter(values.values())))
        groups: dict[Hashable, list[int]] = {}
        for identifier, row in values.items():
            groups.setdefault(tuple(row.values()), []).append(identifier)
        if len(groups) <= _FEW:
            for ids in groups.values():
                given = {f"b_{name}": value for name, value in values[ids[0]].items()}
                await self._tx.execute(_setting(table, names, alike=True), given | {"b_ids": ids})
            return
        rows = [
            {"b_key": identifier} | {f"b_{name}": value for name, value in row.items()}
            for identifier, row in values.items()
        ]
        await self._tx.execute(_setting(table, names, alike=False), rows)

    async def beat(self, beats: Sequence[Beat]) -> None:
        """Write signs of life."""
        if not beats:
            return
        ids = [beat.job_id for beat in beats]
        await self._tx.execute(update(jobs).where(_j.job_id.in_(ids)).values(heartbeat_time=self._tx.now))
        for with_peek in (True, False):
            rows = [
                {
                    "b_job": beat.job_id,
                    "b_attempt": beat.attempt,
                    "lease_until": beat.lease_until,
                    "dynamic": beat.dynamic,
                    **({"peek": beat.peek, "peek_offset": beat.peek_offset} if with_peek else {}),
                }
                for beat in beats
                if (beat.peek is not None) == with_peek
            ]
            if rows:
                run = and_(_a.job_id == bindparam("b_job"), _a.attempt == bindparam("b_attempt"))
                await self._tx.execute(update(attempts).where(run, _a.ended.is_(None)), rows)

    async def order(self, orders: Sequence[Order]) -> None:
        """Leave commands for runs."""
        if orders:
            rows = [
                {
                    "job_id": order.job_id,
                    "attempt": order.attempt,
                    "command": order.command,
                    "arguments": order.arguments,
                    "created": self._tx.now,
                    "answer_until": order.answer_until,
                }
                for order in orders
            ]
            await self._tx.execute(insert(commands), rows)

    async def deliver(self, runs: Mapping[int, int]) -> list[Order]:
        """Return the commands for these runs (attempt by job) that were not delivered; now they are."""
        c = commands.c
        found = (
            await self._tx.execute(
                select(c.id, c.job_id, c.attempt, c.command, c.arguments)
                .where(c.job_id.in_(list(runs)), c.sent.is_(None))
                .order_by(c.id)
            )
        ).all()
        due = [row for row in found if row.attempt == runs[row.job_id]]
        if due:
            ids = [row.id for row in due]
            await self._tx.execute(update(commands).where(c.id.in_(ids)).values(sent=self._tx.now))
        return [Order(row.job_id, row.attempt, row.command, row.arguments) for row in due]

    async def set_site(self, sites: Mapping[int, str]) -> None:
        """Set the site of jobs."""
        await self._spread(jobs, {job_id: {"site": site} for job_id, site in sites.items()})

    async def set_parameters(self, values: Mapping[int, Mapping[str, str]]) -> None:
        """Set free parameters of jobs; others stay."""
        rows = [
            {"job_id": job_id, "name": name, "value": values[job_id][name]}
            for job_id in sorted(values)
            for name in sorted(values[job_id])
        ]
        if rows:
            await self._tx.put_all(parameters, rows, ["value"])

    async def expire(self, stamps: Sequence[str]) -> int:
        """Let the leases of these pilots' runs end now; return how many there were."""
        found = select(_a.job_id, _a.attempt).where(_a.pilot_stamp.in_(stamps), _a.lease_until > self._tx.now)
        runs = (await self._tx.execute(found.order_by(_a.job_id, _a.attempt))).all()
        if runs:
            # By their keys, one after the other, as everybody: MariaDB locks the index that it looks into
            # before the rows, and would meet in a deadlock those who come from a row to its indexes.
            keys = [{"job": run.job_id, "number": run.attempt, "now": self._tx.now} for run in runs]
            await self._tx.execute(_EXPIRE, keys)
        return len(runs)


def _job_row(row: Row[Any]) -> JobRow:
    return JobRow(**dict(zip(_NAMES, row, strict=True)))
