"""People's control over jobs in the database: filters, delays, answers, series, removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update

from dirac.core.search import Condition
from dirac.db.transaction import Transaction
from dirac.systems.workload.models import BulkPreview, VitalSign
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.running import Beat
from dirac.systems.workload.store.jobs import SEARCHABLE, visible_jobs
from dirac.systems.workload.store.tables import (
    assignments,
    attempts,
    commands,
    delays,
    dependencies,
    descriptions,
    heartbeats,
    jobs,
    parameters,
    pipeline,
)

_j = jobs.c
_k = commands.c
_h = heartbeats.c
_OF_A_JOB = (
    *(descriptions, attempts, parameters, commands, delays, heartbeats),
    *(assignments, pipeline, dependencies, jobs),
)


class ControlStore:
    """Implements `ControlRepository`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def count(self, visible: Visibility, conditions: Sequence[Condition]) -> BulkPreview:
        """Count the visible jobs that fit."""
        fits = SEARCHABLE.where(conditions, self._tx.dialect)
        statement = select(func.count().label("number"), func.max(_j.job_id).label("last")).where(
            visible_jobs(visible), fits
        )
        row = (await self._tx.execute(statement)).one()
        return BulkPreview(count=int(row.number), last=int(row.last or 0))

    async def choose(
        self, visible: Visibility, conditions: Sequence[Condition], *, after: int, until: int, limit: int
    ) -> list[int]:
        """Return the first visible jobs that fit, of those with a number from `after` + 1 to `until`."""
        statement = (
            select(_j.job_id)
            .where(visible_jobs(visible), SEARCHABLE.where(conditions, self._tx.dialect))
            .where(_j.job_id > after, _j.job_id <= until)
            .order_by(_j.job_id)
            .limit(limit)
        )
        return [row.job_id for row in await self._tx.execute(statement)]

    async def fitting(self, job_ids: Sequence[int], conditions: Sequence[Condition]) -> set[int]:
        """Return those of the jobs that fit, as they are now."""
        fits = SEARCHABLE.where(conditions, self._tx.dialect)
        rows = await self._tx.execute(select(_j.job_id).where(_j.job_id.in_(job_ids), fits))
        return {row.job_id for row in rows}

    async def delay(self, until: Mapping[int, datetime]) -> None:
        """Let jobs wait again at these moments; whoever calls this has locked the jobs."""
        if until:
            await self.undelay(list(until))
            rows = [{"job_id": job_id, "until": moment} for job_id, moment in sorted(until.items())]
            await self._tx.execute(insert(delays), rows)

    async def undelay(self, job_ids: Sequence[int]) -> None:
        """Forget when jobs wait again."""
        if job_ids:
            await self._tx.execute(delete(delays).where(delays.c.job_id.in_(job_ids)))

    async def delayed(self, limit: int) -> list[int]:
        """Return jobs whose delay is over."""
        over = select(delays.c.job_id).where(delays.c.until <= self._tx.now)
        rows = await self._tx.execute(over.order_by(delays.c.until).limit(limit))
        return [row.job_id for row in rows]

    async def answer(self, job_ids: Sequence[int]) -> None:
        """Note that the orders for the runs of these jobs were obeyed."""
        if job_ids:
            await self._tx.execute(
                update(commands)
                .where(_k.job_id.in_(job_ids), _k.command == "Kill", _k.answered.is_(None))
                .values(answered=self._tx.now, answer_until=None)
            )

    async def unanswered(self, limit: int) -> list[int]:
        """Return jobs with an order that should have been answered by now."""
        late = select(_k.job_id).where(_k.answer_until <= self._tx.now)
        rows = await self._tx.execute(late.order_by(_k.answer_until).limit(limit))
        return sorted({row.job_id for row in rows})

    async def give_up_answers(self, job_ids: Sequence[int]) -> set[int]:
        """Wait no longer for overdue answers of these jobs; return those for which there was none."""
        late = (_k.job_id.in_(job_ids), _k.answer_until <= self._tx.now)
        rows = await self._tx.execute(select(_k.job_id).where(*late))
        found = {row.job_id for row in rows}
        if found:
            await self._tx.execute(update(commands).where(*late).values(answer_until=None))
        return found

    async def ordered(self, job_id: int, attempt: int, command: str, since: datetime) -> bool:
        """Tell whether a run was given such an order since then."""
        same = (_k.job_id == job_id, _k.attempt == attempt, _k.command == command)
        rows = await self._tx.execute(select(_k.id).where(*same, _k.created > since).limit(1))
        return rows.first() is not None

    async def note(self, beats: Sequence[Beat]) -> None:
        """Add signs of life to the series of their runs."""
        rows = [
            {
                "job_id": beat.job_id,
                "attempt": beat.attempt,
                "slot": beat.slot,
                "time": self._tx.now,
                "data": beat.dynamic,
            }
            for beat in beats
            if beat.slot is not None and beat.dynamic
        ]
        if rows:
            await self._tx.put_all(heartbeats, sorted(rows, key=lambda row: row["job_id"]), ["time", "data"])

    async def signs(self, job_id: int, attempt: int | None) -> list[VitalSign]:
        """Return the series of a run, or of all runs of a job, in the order of time."""
        statement = select(_h.attempt, _h.time, _h.data).where(_h.job_id == job_id)
        if attempt is not None:
            statement = statement.where(_h.attempt == attempt)
        rows = await self._tx.execute(statement.order_by(_h.attempt, _h.slot))
        return [VitalSign(Attempt=row.attempt, time=row.time, data=row.data) for row in rows]

    async def communities(self) -> list[str]:
        """Return the virtual organisations that have jobs: one step into the index for each."""
        found: list[str] = []
        while True:
            beyond = select(func.min(_j.vo)).where(_j.vo > (found[-1] if found else ""))
            vo = (await self._tx.execute(beyond)).scalar_one()
            if vo is None:
                return found
            found.append(vo)

    async def first_since(self, moment: datetime) -> int:
        """Return a number such that all jobs below it were submitted before this moment.

        Numbers grow with time, so that the table is searched by halves; there is no index by time.
        """
        low, high = 0, int((await self._tx.execute(select(func.max(_j.job_id)))).scalar_one() or 0) + 1
        while low < high:
            middle = (low + high) // 2
            row = (
                await self._tx.execute(
                    select(_j.job_id, _j.submission_time)
                    .where(_j.job_id >= middle)
                    .order_by(_j.job_id)
                    .limit(1)
                )
            ).first()
            if row is None or row.submission_time >= moment:
                high = middle
            else:
                low = row.job_id + 1
        return low

    async def removable(
        self, vo: str, status: str, unchanged_since: datetime, *, after: int, below: int, limit: int
    ) -> list[int]:
        """Return and lock jobs of a VO in a state in which they have been since then."""
        statement = (
            select(_j.job_id)
            .where(_j.vo == vo, _j.status == status, _j.job_id > after, _j.job_id < below)
            .where(_j.last_update_time < unchanged_since)
            .order_by(_j.job_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [row.job_id for row in await self._tx.execute(statement)]

    async def remove(self, job_ids: Sequence[int]) -> None:
        """Delete all rows of jobs, their links to sandboxes among them."""
        if job_ids:
            for table in _OF_A_JOB:
                await self._tx.execute(delete(table).where(table.c.job_id.in_(job_ids)))
