"""Jobs that may not wait for pilots yet, and what they depend on, in the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select, update

from dirac.db.transaction import Transaction
from dirac.systems.workload.ports.pipeline import Entry, Handling, Needed
from dirac.systems.workload.store.tables import dependencies, jobs, pipeline

# Identifiers of one statement: the engines allow about 32 000 values in it.
_BATCH = 10_000
_p = pipeline.c
_d = dependencies.c
_j = jobs.c


class PipelineStore:
    """Implements `PipelineRepository`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def handle(self, handling: Mapping[int, Handling]) -> None:
        """Set what has to be done for jobs."""
        by_value: dict[Handling, list[int]] = {}
        for job_id, value in handling.items():
            by_value.setdefault(value, []).append(job_id)
        for value, ids in by_value.items():
            for part in _parts(ids):
                await self._tx.execute(update(jobs).where(_j.job_id.in_(part)).values(handling=int(value)))

    async def depend(self, edges: Sequence[tuple[int, int]]) -> None:
        """Let jobs depend on others: pairs of a job and one that it needs."""
        if edges:
            rows = [{"job_id": job_id, "needed_id": needed_id} for job_id, needed_id in edges]
            await self._tx.execute(insert(dependencies), rows)

    async def admit(self, job_ids: Sequence[int]) -> None:
        """Let jobs into the pipeline, or have those in it looked at, now."""
        ids = sorted(set(job_ids))
        for part in _parts(ids):
            # Those that are there first: a row that is inserted if missing and then changed deadlocks.
            known = set(await self.turns(part))
            missing = [job_id for job_id in part if job_id not in known]
            if known:
                here = update(pipeline).where(_p.job_id.in_(sorted(known)))
                await self._tx.execute(here.values(due=self._tx.now, turn=_p.turn + 1))
            if missing:
                rows = [{"job_id": job_id, "due": self._tx.now, "turn": 0} for job_id in missing]
                await self._tx.insert_missing(pipeline, rows)

    async def due(self, limit: int) -> list[Entry]:
        """Return entries that are to be looked at, those that have waited longest first."""
        statement = select(_p.job_id, _p.turn).where(_p.due <= self._tx.now)
        rows = await self._tx.execute(statement.order_by(_p.due, _p.job_id).limit(limit))
        return [Entry(row.job_id, row.turn) for row in rows]

    async def turns(self, job_ids: Sequence[int]) -> dict[int, int]:
        """Return the turns of jobs that are in the pipeline."""
        rows = await self._tx.execute(select(_p.job_id, _p.turn).where(_p.job_id.in_(job_ids)))
        return {row.job_id: row.turn for row in rows}

    async def postpone(self, due: Mapping[int, datetime]) -> None:
        """Look at jobs again at these moments; counts as a decision."""
        by_moment: dict[datetime, list[int]] = {}
        for job_id, moment in due.items():
            by_moment.setdefault(moment, []).append(job_id)
        for moment, ids in by_moment.items():
            later = update(pipeline).where(_p.job_id.in_(sorted(ids)))
            await self._tx.execute(later.values(due=moment, turn=_p.turn + 1))

    async def leave(self, job_ids: Sequence[int]) -> None:
        """Take jobs out of the pipeline."""
        for part in _parts(sorted(job_ids)):
            await self._tx.execute(delete(pipeline).where(_p.job_id.in_(part)))

    async def place(self, places: Mapping[int, tuple[int, str]]) -> None:
        """Give jobs their class, and say where they may run."""
        if places:
            rows = [
                {"b_job": job_id, "class_id": class_id, "site": site}
                for job_id, (class_id, site) in sorted(places.items())
            ]
            await self._tx.execute(update(jobs).where(_j.job_id == bindparam("b_job")), rows)

    async def needed(self, job_ids: Sequence[int]) -> dict[int, list[Needed]]:
        """Return what jobs depend on; those that depend on nothing are absent."""
        found: dict[int, list[Needed]] = {}
        statement = (
            select(_d.job_id, _d.needed_id, _j.job_name, _j.status)
            .select_from(dependencies.outerjoin(jobs, _j.job_id == _d.needed_id))
            .where(_d.job_id.in_(job_ids))
            .order_by(_d.job_id, _d.needed_id)
        )
        for row in await self._tx.execute(statement):
            one = Needed(row.needed_id, row.job_name or "", row.status)
            found.setdefault(row.job_id, []).append(one)
        return found

    async def dependents(self, job_ids: Sequence[int]) -> list[int]:
        """Return the jobs in the pipeline that depend on any of these."""
        waiting = dependencies.join(pipeline, _p.job_id == _d.job_id)
        statement = select(_d.job_id).select_from(waiting).where(_d.needed_id.in_(job_ids)).distinct()
        return [row.job_id for row in await self._tx.execute(statement)]


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
