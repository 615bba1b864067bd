"""Jobs in the database: insertion in bulk, search, and what is shown of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, not_, select, true

from dirac.core.errors import InvalidShapeError
from dirac.core.search import Condition, Page, Paging, SearchParams, SummaryParams
from dirac.db.search import Searchable
from dirac.db.search_conditions import compile_leaf, values_of
from dirac.db.transaction import Transaction
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.work import JOB_ATTRIBUTES, JobHead, NewClass, NewJob, Owner, StoredPeek
from dirac.systems.workload.store import counts
from dirac.systems.workload.store.tables import attempts, classes, descriptions, jobs, parameters

# Rows of one statement: the engines allow about 32 000 values in it.
_BATCH = 5000
_c = jobs.c
_NO_APPLICATION_STATUS = "Unknown"
_NOT_BEGUN = SummaryParams(
    grouping=[],
    search=[
        Condition(
            "Status",
            "in",
            values=[JobStatus.RECEIVED, JobStatus.CHECKING, JobStatus.STAGING, JobStatus.WAITING],
        )
    ],
)
_VARYING = (
    *("class_id", "status", "minor_status", "site"),
    *("job_name", "job_group", "job_type", "user_priority"),
)
_CLASS_IDS = select(classes.c.digest, classes.c.class_id).where(
    classes.c.digest.in_(bindparam("digests", expanding=True))
)


def _of_pilot(condition: Condition) -> ColumnElement[bool]:
    runs = select(attempts.c.job_id).where(attempts.c.pilot_stamp.in_(values_of(condition)))
    return _c.job_id.in_(runs)


def _of_parameter(name: str, condition: Condition, dialect: str) -> ColumnElement[bool]:
    """Compile a condition on a free parameter; a job that does not have it has no value."""
    operator = condition.operator
    if operator in ("gt", "gte", "lt", "lte", "regex"):
        raise InvalidShapeError(
            f"{condition.parameter!r} cannot be searched with {operator!r}: it is a text of any length",
            hint="Use eq, neq, in, not in, like, not like, is null or is not null",
        )
    p = parameters.c
    of_job = select(p.job_id).where(p.job_id == _c.job_id, p.name == name)
    if operator == "is null":
        return not_(of_job.exists())
    if operator == "is not null":
        return of_job.exists()
    return of_job.where(compile_leaf(p.value, condition, dialect)).exists()


SEARCHABLE = Searchable(
    {name: _c[column] for name, column in JOB_ATTRIBUTES.items()},
    key="JobID",
    pseudo={"PilotStamp": _of_pilot},
    families={"JobParameter": _of_parameter},
    few={"Status": sorted(JobStatus)},
)
"""Parameters of jobs, by the names that DIRAC gives them."""


def visible_jobs(visible: Visibility) -> ColumnElement[bool]:
    """Return the condition that a job is in sight."""
    parts: list[ColumnElement[bool]] = [true()]
    if visible.vo is not None:
        parts.append(_c.vo == visible.vo)
    if visible.owner_sub is not None:
        parts.append(_c.owner_sub == visible.owner_sub)
    return and_(*parts)


class JobStore:
    """Implements `JobRepository`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def ensure_classes(self, owner: Owner, new: Sequence[NewClass]) -> dict[str, int]:
        """Return the identifiers of classes by digest; those that are new are inserted."""
        wanted = {one.digest: one for one in new}
        known = await self._class_ids(list(wanted))
        # In one order, or two submissions with the same new classes could wait for each other for ever.
        missing = [wanted[digest] for digest in sorted(wanted.keys() - known.keys())]
        if not missing:
            return known
        rows = [
            {
                "digest": one.digest,
                "vo": owner.vo,
                "owner_group": owner.group,
                "owner_sub": owner.sub,
                "requirements": one.requirements,
            }
            for one in missing
        ]
        for start in range(0, len(rows), _BATCH):
            await self._tx.insert_missing(classes, rows[start : start + _BATCH])
        return known | await self._class_ids([one.digest for one in missing])

    async def _class_ids(self, digests: Sequence[str]) -> dict[str, int]:
        rows = await self._tx.execute(_CLASS_IDS, {"digests": list(digests)})
        return {row.digest: row.class_id for row in rows}

    async def insert(self, owner: Owner, new: Sequence[NewJob], class_ids: Mapping[str, int]) -> list[int]:
        """Insert jobs with their descriptions; return their identifiers in the same order."""
        if not new:
            return []
        await self._tx.write_events()  # of those before, when there are very many
        now = self._tx.now
        common = {
            "vo": owner.vo,
            "owner_sub": owner.sub,
            "owner": owner.username,
            "owner_group": owner.group,
            "application_status": _NO_APPLICATION_STATUS,
            "attempt": 0,
            "reschedule_counter": 0,
            "submission_time": now,
            "last_update_time": now,
            "verified_flag": True,
            "accounted_flag": False,
        }
        rows = [
            (
                class_ids[job.digest],
                job.status,
                job.minor_status,
                job.site,
                job.job_name,
                job.job_group,
                job.job_type,
                job.priority,
            )
            for job in new
        ]
        ids = await self._tx.insert_numbered(jobs, (*common, *_VARYING), common, rows)
        texts = [(job_id, job.jdl.replace("%j", str(job_id))) for job_id, job in zip(ids, new, strict=True)]
        await self._tx.insert_all(descriptions, ("job_id", "jdl"), {}, texts)
        return ids

    async def count_waiting(self, vo: str, sub: str | None) -> int:
        """Count the jobs of a VO, or of one of its users, that have not begun."""
        visible = Visibility(vo=vo, owner_sub=sub)
        kind = counts.kind_for(visible, _NOT_BEGUN)
        assert kind is not None  # noqa: S101 - those of a user have a status
        [row] = await counts.summary(self._tx, visible, _NOT_BEGUN, kind)
        return int(row["count"])

    async def search(self, visible: Visibility, params: SearchParams, paging: Paging) -> Page:
        """Return one page of the visible jobs that fit."""

        async def known() -> int | None:
            all_of_it = SummaryParams(grouping=[], search=params.search)
            if (kind := counts.kind_for(visible, all_of_it)) is None:
                return None
            [row] = await counts.summary(self._tx, visible, all_of_it, kind)
            return int(row["count"])

        async def present(name: str) -> tuple[dict[str, int], bool]:
            by_value = SummaryParams(grouping=[name], search=params.search)
            fitting = counts.kind_for(visible, by_value) is not None
            found = await self.summary(visible, by_value if fitting else SummaryParams(grouping=[name]))
            return {row[name]: row["count"] for row in found}, fitting

        return await SEARCHABLE.search(
            self._tx, params, paging, visible=visible_jobs(visible), known=known, present=present
        )

    async def summary(self, visible: Visibility, params: SummaryParams) -> list[dict[str, Any]]:
        """Count the visible jobs that fit, by the values of some parameters; from counters if possible."""
        if (kind := counts.kind_for(visible, params)) is not None:
            return await counts.summary(self._tx, visible, params, kind)
        return await SEARCHABLE.summary(self._tx, params, visible=visible_jobs(visible), hint=counts.HINT)

    async def fold_counts(self, most: int) -> int:
        """Add up changes of the numbers of jobs, at most so many; return how many."""
        return await counts.fold(self._tx, most)

    async def repair_counts(self, kind: str) -> int:
        """Make the numbers of jobs of a kind right; return how many were wrong."""
        return await counts.repair(self._tx, kind)

    async def heads(self, visible: Visibility, job_ids: Sequence[int]) -> dict[int, JobHead]:
        """Return the heads of those jobs that are visible."""
        present = and_(attempts.c.job_id == _c.job_id, attempts.c.attempt == _c.attempt)
        columns = (_c.vo, _c.owner_sub, _c.owner, _c.owner_group)
        statement = self._seen(
            select(_c.job_id, _c.status, _c.attempt, attempts.c.pilot_stamp, *columns).select_from(
                jobs.outerjoin(attempts, present)
            ),
            visible,
            job_ids,
        )
        return {
            row.job_id: JobHead(
                job_id=row.job_id,
                owner=Owner(vo=row.vo, sub=row.owner_sub, username=row.owner, group=row.owner_group),
                status=row.status,
                attempt=row.attempt,
                pilot_stamp=row.pilot_stamp,
            )
            for row in await self._tx.execute(statement)
        }

    async def lock(self, job_ids: Sequence[int]) -> None:
        """Keep others from changing these jobs until the end of the transaction."""
        await self._tx.execute(
            select(_c.job_id).where(_c.job_id.in_(job_ids)).order_by(_c.job_id).with_for_update()
        )

    async def jdls(self, visible: Visibility, job_ids: Sequence[int]) -> dict[int, str]:
        """Return the descriptions of those jobs that are visible."""
        joined = jobs.join(descriptions, descriptions.c.job_id == _c.job_id)
        statement = select(_c.job_id, descriptions.c.jdl).select_from(joined)
        rows = await self._tx.execute(self._seen(statement, visible, job_ids))
        return {row.job_id: row.jdl for row in rows}

    async def parameters(self, job_ids: Sequence[int]) -> dict[int, dict[str, str]]:
        """Return the free parameters of jobs, by name; jobs without any are absent."""
        found: dict[int, dict[str, str]] = {}
        statement = select(parameters).where(parameters.c.job_id.in_(job_ids)).order_by(parameters.c.name)
        for row in await self._tx.execute(statement):
            found.setdefault(row.job_id, {})[row.name] = row.value
        return found

    async def peeks(self, visible: Visibility, job_ids: Sequence[int]) -> dict[int, StoredPeek]:
        """Return the last seen output of the present run of those jobs that are visible."""
        present = and_(attempts.c.job_id == _c.job_id, attempts.c.attempt == _c.attempt)
        statement = select(
            _c.job_id, _c.attempt, _c.heartbeat_time, attempts.c.peek, attempts.c.peek_offset
        ).select_from(jobs.outerjoin(attempts, present))
        rows = await self._tx.execute(self._seen(statement, visible, job_ids))
        return {
            row.job_id: StoredPeek(row.attempt, row.peek, row.heartbeat_time, row.peek_offset) for row in rows
        }

    def _seen(self, statement: Select[Any], visible: Visibility, job_ids: Sequence[int]) -> Select[Any]:
        return statement.where(visible_jobs(visible), _c.job_id.in_(job_ids))
