"""The outbox: background work that was committed with its cause, handed out until it is done.

An entry's life::

    Pending ──> Sent ──> Running ──> Done
       ^          |         |
       |<─ lost ──┴─ lost ──┤
       |<── failed, stopped ┤
                            └──> Parked   (an operator looks at it: `dirac task list`)

Executions of an entry are numbered by `tries`; only the newest may say how it ended, and only one may have
an effect (`Transaction.complete`). An execution holds a lease and renews it, so that one that died is
noticed long before the deadline of the task.

`due` is when an entry may be handed out next: for one that waits its start, for one that was handed out
the moment at which it counts as lost. One query therefore finds both what is new and what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select, update

from dirac.core.errors import NotFoundError, UnavailableError
from dirac.core.tasks import Task
from dirac.db.engine import Database
from dirac.db.tables import schedules, tasks
from dirac.db.transaction import CHANGE_TASKS, SEPARATOR, Transaction

_OPEN = ("Pending", "Sent", "Running")
_ERROR_LENGTH = 4000
_PERIODIC = "every:"


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
        resend_after: Seconds after which an entry that was handed out and not begun counts as lost.
        lease: Seconds without a sign of life after which an execution counts as lost.
    """

    def __init__(
        self,
        database: Database,
        declared: Mapping[str, Task],
        *,
        resend_after: float = 60.0,
        lease: float = 15.0,
    ) -> None:
        self._database = database
        self._declared = declared
        self._resend_after = timedelta(seconds=resend_after)
        self._lease = timedelta(seconds=lease)
        self._separated = database.dialect != "mariadb"

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
                resend = tx.now + self._resend_after
                await tx.execute(CHANGE_TASKS.where(tasks.c.id.in_(taken)).values(state="Sent", due=resend))
        return taken

    async def put_back(self, entry_ids: Sequence[str]) -> None:
        """Take back entries that were to be handed out and could not be."""
        async with self._database.write() as tx:
            await tx.execute(
                CHANGE_TASKS.where(tasks.c.id.in_(entry_ids), tasks.c.state == "Sent").values(
                    state="Pending", due=tx.now
                )
            )

    async def begin(self, entry_id: str) -> Entry | None:
        """Start an execution; None if the entry was not handed out, is done, or is carried out elsewhere."""
        async with self._database.write() as tx:
            await tx.lock_tasks([entry_id])
            row = (await tx.execute(select(tasks).where(tasks.c.id == entry_id).with_for_update())).first()
            lost = row is not None and row.state == "Running" and row.due <= tx.now
            if row is None or (row.state != "Sent" and not lost):
                return None  # the usual fate of a message that came twice
            task = self._declared.get(row.name)
            entry = Entry(id=row.id, name=row.name, args=row.args, tries=row.tries + 1)
            if task and row.tries >= task.retry.tries:
                # Nobody lived to say how the last one ended: it may be what killed them.
                error = f"execution {row.tries} of {task.retry.tries} did not come to an end"
                await tx.execute(CHANGE_TASKS.where(tasks.c.id == entry_id).values(_parked(error)))
                return None
            changes: dict[str, Any] = {"state": "Running", "tries": entry.tries, "due": tx.now + self._lease}
            if not (row.pending_key or "").startswith(_PERIODIC):
                changes["pending_key"] = None
            await tx.execute(CHANGE_TASKS.where(tasks.c.id == entry_id).values(changes))
            return entry

    async def keep(self, entry: Entry) -> None:
        """Renew the lease of an execution until cancelled, or until another one has begun."""
        held = True
        while held:
            await self._database.clock.sleep(self._lease.total_seconds() / 3)
            with suppress(UnavailableError):  # two more renewals fit in
                async with self._database.write() as tx:
                    held = await _change(tx, entry, {"due": tx.now + self._lease})

    async def finish(self, entry: Entry) -> None:
        """Mark an entry as done whose effect did not do so itself."""
        async with self._database.write() as tx:
            await tx.lock_tasks([entry.id])
            await _change(
                tx, entry, {"state": "Done", "finished": tx.now, "error": None, "pending_key": None}
            )

    async def fail(self, entry: Entry, error: str) -> str | None:
        """Put an entry back for another try, or park it; return its new state.

        None if this execution has no say any more: another one began, or the effect was committed.
        """
        task = self._declared.get(entry.name)
        delay = task.retry.delay(entry.tries) if task else None
        async with self._database.write() as tx:
            await tx.lock_tasks([entry.id])
            changes = _parked(error)
            if delay is not None:
                due = tx.now + timedelta(seconds=delay)
                changes = {"state": "Pending", "due": due, "error": changes["error"]}
            return changes["state"] if await _change(tx, entry, changes) else None

    async def interrupt(self, entry: Entry) -> None:
        """Put an entry back whose execution was ended from outside: it begins again at once, uncounted."""
        async with self._database.write() as tx:
            await _change(tx, entry, {"state": "Pending", "due": tx.now, "tries": entry.tries - 1})

    async def tick(self) -> None:
        """Enqueue the periodic tasks whose time has come; safe to run in many processes.

        One whose last run has not come to an end, retries included, is left out.
        """
        await self._separate()
        periodic = {task.name: task.every for task in self._declared.values() if task.every is not None}
        async with self._database.read() as tx:
            known = {row.task: row.due for row in await tx.execute(select(schedules))}
        if all(name in known and known[name] > tx.now for name in periodic):
            return
        if new := periodic.keys() - known.keys():
            async with self._database.write() as tx:  # its own: many that insert and then update, deadlock
                await tx.insert_missing(schedules, [{"task": name, "due": tx.now} for name in sorted(new)])
        async with self._database.write() as tx:
            for name, every in sorted(periodic.items()):  # as they are inserted: no deadlock with who does
                moved = await tx.execute(
                    update(schedules)
                    .where(schedules.c.task == name, schedules.c.due <= tx.now)
                    .values(due=tx.now + timedelta(seconds=every))
                )
                if moved.rowcount:
                    tx.enqueue(name, key=_PERIODIC + name)

    async def _separate(self) -> None:
        """Put an entry that nobody ever changes between those without a key and those with one.

        MariaDB only: in the index of keys, whoever adds the first one locks the gap before it, too, which is
        where all go that give their keys up. Those who add keys take turns by it, too.
        """
        if self._separated:
            return
        async with self._database.write() as tx:
            row: dict[str, Any] = {"id": SEPARATOR, "name": SEPARATOR, "args": {}, "pending_key": SEPARATOR}
            row |= {"state": "Done", "due": tx.now, "tries": 0, "created": tx.now}
            await tx.insert_missing(tasks, [row])
        self._separated = True

    async def listed(self, states: Sequence[str], limit: int) -> list[ListedTask]:
        """Return entries in these states, newest first."""
        columns = [tasks.c[name] for name in ListedTask.__struct_fields__]
        async with self._database.read() as tx:
            rows = await tx.execute(
                select(*columns)
                .where(tasks.c.state.in_(states), tasks.c.id != SEPARATOR)
                .order_by(tasks.c.id.desc())
                .limit(limit)
            )
            return [ListedTask(**row._mapping) for row in rows]

    async def retry(self, entry_id: str) -> None:
        """Give a parked entry another series of tries.

        Raises:
            NotFoundError: There is no parked entry of that name.
        """
        async with self._database.write() as tx:
            changed = await tx.execute(
                CHANGE_TASKS.where(tasks.c.id == entry_id, tasks.c.state == "Parked").values(
                    state="Pending", due=tx.now, tries=0
                )
            )
            if not changed.rowcount:
                raise NotFoundError(f"there is no parked task {entry_id!r}", hint="See `dirac task list`")


def _due(now: datetime) -> Any:
    return (
        select(tasks.c.id)
        .where(tasks.c.state.in_(_OPEN), tasks.c.due <= now)
        .order_by(tasks.c.due, tasks.c.id)
    )


def _parked(error: str) -> dict[str, Any]:
    """Return what parks an entry; of a long error the end says most."""
    return {"state": "Parked", "error": error[-_ERROR_LENGTH:], "pending_key": None}


async def _change(tx: Transaction, entry: Entry, changes: Mapping[str, Any]) -> bool:
    """Change an entry as its newest execution; return whether it is that."""
    changed = await tx.execute(
        CHANGE_TASKS.where(
            tasks.c.id == entry.id, tasks.c.state == "Running", tasks.c.tries == entry.tries
        ).values(changes)
    )
    return changed.rowcount == 1
