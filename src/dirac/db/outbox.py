"""The outbox: background work that was committed with its cause, handed out until it is done.

An entry's life::

    Pending ──> Sent ──> Running ──> Done
       ^          |         |
       |<─ lost ──┴─ lost ──┤
       |<─── failed, again ─┤
                            └──> Parked   (an operator looks at it: `dirac task list`)

`due` is when an entry may be handed out next: for one that waits its start, for one that was handed out
the moment at which it counts as lost. One query therefore finds both what is new and what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select, update

from dirac.core.errors import NotFoundError
from dirac.core.tasks import Task
from dirac.db.engine import Database
from dirac.db.tables import schedules, tasks

_OPEN = ("Pending", "Sent", "Running")
_RESEND_AFTER = 60.0
_ERROR_LENGTH = 4000


class Entry(msgspec.Struct, frozen=True):
    """One entry of the outbox."""

    id: str
    name: str
    args: dict[str, Any]
    tries: int


class ListedTask(msgspec.Struct, frozen=True):
    """One entry as an operator sees it."""

    id: str
    name: str
    state: str
    tries: int
    created: datetime
    due: datetime
    error: str | None


class Outbox:
    """Hands out background work and keeps account of it.

    Args:
        database: Where the entries are.
        declared: All tasks of the installation, by name.
    """

    def __init__(self, database: Database, declared: Mapping[str, Task]) -> None:
        self._database = database
        self._declared = declared

    async def take(self, limit: int) -> list[str]:
        """Return identifiers of entries that are due, and count them as sent."""
        async with self._database.read() as tx:
            first = (await tx.execute(_due(tx.now).limit(1))).first()
        if first is None:
            return []  # the usual case, without a write
        async with self._database.write() as tx:
            found = await tx.execute(_due(tx.now).limit(limit).with_for_update(skip_locked=True))
            taken = [row.id for row in found]
            if taken:
                resend = tx.now + timedelta(seconds=_RESEND_AFTER)
                await tx.execute(update(tasks).where(tasks.c.id.in_(taken)).values(state="Sent", due=resend))
        return taken

    async def begin(self, entry_id: str) -> Entry | None:
        """Start an execution; None if the entry is done, or somebody else executes it."""
        async with self._database.write() as tx:
            row = (await tx.execute(select(tasks).where(tasks.c.id == entry_id).with_for_update())).first()
            if row is None or row.state in ("Done", "Parked"):
                return None
            if row.state == "Running" and row.due > tx.now:
                return None
            task = self._declared.get(row.name)
            lease = task.deadline if task else _RESEND_AFTER
            await tx.execute(
                update(tasks)
                .where(tasks.c.id == entry_id)
                .values(
                    state="Running",
                    tries=row.tries + 1,
                    due=tx.now + timedelta(seconds=lease),
                    pending_key=None,
                )
            )
            return Entry(id=row.id, name=row.name, args=row.args, tries=row.tries + 1)

    async def finish(self, entry: Entry) -> None:
        """Mark an entry as done whose effect did not do so itself."""
        async with self._database.write() as tx:
            tx.complete(entry.id)

    async def fail(self, entry: Entry, error: str) -> bool:
        """Put an entry back for another try, or park it; tell whether it was parked."""
        task = self._declared.get(entry.name)
        delay = task.retry.delay(entry.tries) if task else None
        async with self._database.write() as tx:
            changes: dict[str, Any] = {"error": error[:_ERROR_LENGTH], "state": "Parked"}
            if delay is not None:
                changes |= {"state": "Pending", "due": tx.now + timedelta(seconds=delay)}
            await tx.execute(
                update(tasks).where(tasks.c.id == entry.id, tasks.c.state == "Running").values(changes)
            )
        return delay is None

    async def tick(self) -> None:
        """Enqueue the periodic tasks whose time has come; safe to run in many processes."""
        periodic = {task.name: task.every for task in self._declared.values() if task.every is not None}
        async with self._database.read() as tx:
            known = {row.task: row.due for row in await tx.execute(select(schedules))}
        if all(name in known and known[name] > tx.now for name in periodic):
            return
        async with self._database.write() as tx:
            new = [{"task": name, "due": tx.now} for name in periodic if name not in known]
            await tx.insert_missing(schedules, new)
            for name, every in periodic.items():
                moved = await tx.execute(
                    update(schedules)
                    .where(schedules.c.task == name, schedules.c.due <= tx.now)
                    .values(due=tx.now + timedelta(seconds=every))
                )
                if moved.rowcount:
                    tx.enqueue(name, key=f"every:{name}")

    async def listed(self, states: Sequence[str], limit: int) -> list[ListedTask]:
        """Return entries in these states, newest first."""
        columns = [tasks.c[name] for name in ListedTask.__struct_fields__]
        async with self._database.read() as tx:
            rows = await tx.execute(
                select(*columns).where(tasks.c.state.in_(states)).order_by(tasks.c.id.desc()).limit(limit)
            )
            return [ListedTask(**row._mapping) for row in rows]

    async def retry(self, entry_id: str) -> None:
        """Give a parked entry another series of tries.

        Raises:
            NotFoundError: There is no parked entry of that name.
        """
        async with self._database.write() as tx:
            changed = await tx.execute(
                update(tasks)
                .where(tasks.c.id == entry_id, tasks.c.state == "Parked")
                .values(state="Pending", due=tx.now, tries=0)
            )
            if not changed.rowcount:
                raise NotFoundError(f"there is no parked task {entry_id!r}", hint="See `dirac task list`")


def _due(now: datetime) -> Any:
    return (
        select(tasks.c.id)
        .where(tasks.c.state.in_(_OPEN), tasks.c.due <= now)
        .order_by(tasks.c.due, tasks.c.id)
    )
