"""What ended runs have used, in the database: notes that nobody waits for, and what they come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, union_all

from dirac.db.transaction import Transaction
from dirac.systems.workload.ports.running import Change
from dirac.systems.workload.ports.usage import Used
from dirac.systems.workload.store.tables import usage, usage_changes

_u, _n = usage.c, usage_changes.c
_LOCK = 0  # no class has this identifier


async def note(tx: Transaction, changes: Iterable[Change]) -> None:
    """Note what the runs have used that end with these changes: a row per class, which nobody waits for."""
    seconds: Counter[int] = Counter()
    for change in changes:
        job = change.job
        # Without a lease the run was over before, and noted.
        if change.outcome is not None and job.claimed is not None and job.lease_until is not None:
            seconds[job.class_id] += max(0, round((tx.now - job.claimed).total_seconds()))
    rows = [
        {"class_id": class_id, "seconds": number, "ended": tx.now}
        for class_id, number in seconds.items()
        if number
    ]
    if rows:
        await tx.execute(insert(usage_changes), rows)


class UsageStore:
    """Implements `UsageRepository`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def used(self) -> list[Used]:
        """Return all, of a class in at most two parts: what is added up, and the rest as of its last end."""
        noted = select(_n.class_id, func.sum(_n.seconds).label("seconds"), func.max(_n.ended).label("moment"))
        both = union_all(
            select(_u.class_id, _u.seconds, _u.moment).where(_u.class_id != _LOCK),
            noted.group_by(_n.class_id),
        )
        return _read(await self._tx.execute(both))

    async def unfolded(self, most: int) -> tuple[list[Used], list[int]]:
        """Return what was noted and not added up yet, and its identifiers; locked until the end.

        At most so many; none of what is not committed. Only one caller at a time gets beyond this.
        """
        if (await self._tx.execute(select(_n.id).limit(1))).first() is None:
            return [], []
        lock = {"class_id": _LOCK, "seconds": 0.0, "moment": self._tx.now}
        await self._tx.put(usage, lock, ["moment"])
        columns = _n.class_id, _n.seconds, _n.ended, _n.id
        statement = select(*columns).limit(most).with_for_update(skip_locked=True)
        rows = (await self._tx.execute(statement)).all()
        return _read(rows), [row.id for row in rows]

    async def folded(self, class_ids: Collection[int]) -> list[Used]:
        """Return what was added up of these classes."""
        return _read(
            await self._tx.execute(
                select(_u.class_id, _u.seconds, _u.moment).where(_u.class_id.in_(class_ids))
            )
        )

    async def fold(self, sums: Sequence[Used], identifiers: Sequence[int], before: datetime) -> None:
        """Replace sums by these, which contain what has these identifiers; forget sums from before."""
        rows = [msgspec.structs.asdict(each) for each in sorted(sums, key=lambda each: each.class_id)]
        await self._tx.put_all(usage, rows, ["seconds", "moment"])
        await self._tx.execute(delete(usage_changes).where(_n.id.in_(identifiers)))
        await self._tx.execute(delete(usage).where(_u.moment < before, _u.class_id != _LOCK))


def _read(rows: Iterable[Any]) -> list[Used]:
    return [Used(row[0], float(row[1]), row[2]) for row in rows]
