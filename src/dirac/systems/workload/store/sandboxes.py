"""Archives in the database: what is known of them, and which jobs they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, or_, select, update

from dirac.db.transaction import Transaction
from dirac.systems.workload.models import SandboxType
from dirac.systems.workload.ports.work import Assignment, Owner, Review, SandboxRecord
from dirac.systems.workload.store.tables import assignments, jobs, sandboxes

# Rows of one statement: the engines allow about 32 000 values in it.
_BATCH = 5000
_c = sandboxes.c
_COLUMNS = [_c[name] for name in SandboxRecord.__struct_fields__]


class SandboxStore:
    """Implements `SandboxRepository`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def announce(self, owner: Owner, pfn: str, size: int) -> SandboxRecord:
        """Return the record of an archive, making it if it is new, and count this as an access."""
        row = {
            "pfn": pfn,
            "vo": owner.vo,
            "owner_sub": owner.sub,
            "owner_group": owner.group,
            "size": size,
            "created": self._tx.now,
            "last_access": self._tx.now,
        }
        # In this order: MariaDB would have two callers wait for each other if they inserted first.
        if not await self._touch(_c.pfn == pfn):
            await self._tx.insert_missing(sandboxes, [row])
        return (await self.find([pfn]))[pfn]

    async def find(self, pfns: Sequence[str], *, lock: bool = False) -> dict[str, SandboxRecord]:
        """Return the records of archives by name; locked ones are not cleaned away meanwhile."""
        statement = select(*_COLUMNS).where(_c.pfn.in_(pfns)).order_by(_c.sandbox_id)
        if lock:
            statement = statement.with_for_update()
        return {row.pfn: _record(row) for row in await self._tx.execute(statement)}

    async def mark_stored(self, sandbox_ids: Sequence[int]) -> None:
        """Note that the object store has these archives."""
        if sandbox_ids:
            await self._tx.execute(
                update(sandboxes)
                .where(_c.sandbox_id.in_(sandbox_ids), _c.stored.is_(None))
                .values(stored=self._tx.now, last_access=self._tx.now)
            )

    async def assign(self, links: Sequence[Assignment]) -> None:
        """Link archives to jobs; a link that exists stays, for the newest run that asked for it."""
        if not links:
            return
        rows = [
            {"job_id": one.job_id, "type": one.type, "sandbox_id": one.sandbox_id, "attempt": one.attempt}
            for one in links
        ]
        for start in range(0, len(rows), _BATCH):
            await self._tx.insert_missing(assignments, rows[start : start + _BATCH])
        await self._touch(_c.sandbox_id.in_(sorted({one.sandbox_id for one in links})))
        for attempt in sorted({one.attempt for one in links if one.attempt is not None}):
            of_attempt = [one for one in links if one.attempt == attempt]
            await self._tx.execute(
                update(assignments)
                .where(
                    assignments.c.job_id.in_({one.job_id for one in of_attempt}),
                    assignments.c.sandbox_id.in_({one.sandbox_id for one in of_attempt}),
                    assignments.c.attempt < attempt,
                )
                .values(attempt=attempt)
            )

    async def assigned(
        self, job_ids: Sequence[int], kind: SandboxType | None = None
    ) -> list[tuple[int, str, str]]:
        """Return (job, type, pfn) of the inputs and of the present runs' outputs of jobs."""
        a = assignments.c
        statement = (
            select(a.job_id, a.type, _c.pfn)
            .select_from(
                assignments.join(sandboxes, _c.sandbox_id == a.sandbox_id).join(
                    jobs, jobs.c.job_id == a.job_id
                )
            )
            .where(a.job_id.in_(job_ids), or_(a.attempt.is_(None), a.attempt == jobs.c.attempt))
            .order_by(a.job_id, a.type, _c.pfn)
        )
        if kind is not None:
            statement = statement.where(a.type == kind)
        return [(row.job_id, row.type, row.pfn) for row in await self._tx.execute(statement)]

    async def unassign(self, job_ids: Sequence[int]) -> None:
        """Remove all links of jobs; the archives count as used now."""
        a = assignments.c
        which = select(a.sandbox_id).where(a.job_id.in_(job_ids)).distinct()
        ids = sorted((await self._tx.execute(which)).scalars())
        # In batches and in order: whoever else takes these rows takes them in the same order.
        for start in range(0, len(ids), _BATCH):
            await self._touch(_c.sandbox_id.in_(ids[start : start + _BATCH]))
        await self._tx.execute(delete(assignments).where(a.job_id.in_(job_ids)))

    async def review(self, left_since: datetime, limit: int, *, missing: bool = False) -> Review:
        """Look at the archives that were left alone longest; those that belong to a job count as used now."""
        statement = select(*_COLUMNS).where(_c.last_access < left_since)
        if missing:
            statement = statement.where(_c.stored.is_(None))
        statement = (
            statement.order_by(_c.last_access, _c.sandbox_id).limit(limit).with_for_update(skip_locked=True)
        )
        records = {row.sandbox_id: _record(row) for row in await self._tx.execute(statement)}
        if not records:
            return Review(unused=[], seen=0)
        # A statement of its own: it sees the links of those who had the locks before.
        a = assignments.c
        linked = select(a.sandbox_id).where(a.sandbox_id.in_(sorted(records))).distinct()
        used = set((await self._tx.execute(linked)).scalars())
        if used:
            await self._touch(_c.sandbox_id.in_(sorted(used)))
        unused = [record for sandbox_id, record in records.items() if sandbox_id not in used]
        return Review(unused=unused, seen=len(records))

    async def mark_missing(self, sandbox_ids: Sequence[int]) -> None:
        """Note that the object store may not have these archives any more."""
        if sandbox_ids:
            await self._tx.execute(
                update(sandboxes).where(_c.sandbox_id.in_(sandbox_ids)).values(stored=None)
            )

    async def delete(self, sandbox_ids: Sequence[int]) -> None:
        """Delete records."""
        if sandbox_ids:
            await self._tx.execute(delete(sandboxes).where(_c.sandbox_id.in_(sandbox_ids)))

    async def _touch(self, which: ColumnElement[bool]) -> int:
        statement = update(sandboxes).where(which).values(last_access=self._tx.now)
        return (await self._tx.execute(statement)).rowcount


def _record(row: Row[Any]) -> SandboxRecord:
    return SandboxRecord(**row._mapping)
