"""One transaction: statements, and the events, tasks and completions that commit with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
from sqlalchemy import CursorResult, Executable, Table, delete, insert, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from dirac.core.entropy import Entropy, uuid7
from dirac.core.errors import ConflictError
from dirac.core.unit import Event
from dirac.db.tables import events, idempotency, tasks


class Transaction:
    """Implements `dirac.core.unit.UnitOfWork` on a database connection.

    Events, tasks and completions are collected and written in bulk just before the commit.
    """

    def __init__(self, connection: AsyncConnection, dialect: str, now: datetime, entropy: Entropy) -> None:
        self._connection = connection
        self.dialect = dialect
        self._now = now
        self._entropy = entropy
        self._events: list[dict[str, Any]] = []
        self._tasks: list[dict[str, Any]] = []
        self._completed: list[str] = []

    @property
    def now(self) -> datetime:
        """The time at which the transaction began."""
        return self._now

    @property
    def enqueued(self) -> bool:
        """Whether background work was asked for that may begin at once."""
        return any(task["due"] <= self._now for task in self._tasks)

    async def execute(
        self, statement: Executable, parameters: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None
    ) -> CursorResult[Any]:
        """Run one statement; a list of parameters makes it a bulk one."""
        return cast("CursorResult[Any]", await self._connection.execute(statement, parameters))

    async def ping(self) -> None:
        """Ask the database for a sign of life."""
        await self.execute(select(1))

    async def insert_missing(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert those rows whose unique keys are not there yet; return how many that were."""
        if not rows:
            return 0
        statement: Any
        if self.dialect == "sqlite":
            statement = sqlite.insert(table).on_conflict_do_nothing()
        elif self.dialect == "postgresql":
            statement = postgresql.insert(table).on_conflict_do_nothing()
        else:
            statement = mysql.insert(table).prefix_with("IGNORE")
        return (await self.execute(statement.values([dict(row) for row in rows]))).rowcount

    def record(self, event: Event) -> None:
        """Append an event to the history."""
        row = msgspec.structs.asdict(event)
        row["recorded"] = self._now
        self._events.append(row)

    def enqueue(
        self,
        task: str,
        args: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        delay: float = 0.0,
    ) -> None:
        """Ask for background work, handed out after the commit."""
        self._tasks.append(
            {
                "id": uuid7(self._entropy, self._now.timestamp()).hex,
                "name": task,
                "args": dict(args or {}),
                "pending_key": key,
                "state": "Pending",
                "due": self._now + timedelta(seconds=delay),
                "tries": 0,
                "created": self._now,
            }
        )

    def complete(self, entry: str) -> None:
        """Mark a task's entry as done."""
        self._completed.append(entry)

    async def recall(self, scope: str, key: str, digest: str) -> str | None:
        """Return the answer that was given for this idempotency key, None if it is new.

        Raises:
            ConflictError: The key was used before, for another request.
        """
        row = (
            await self.execute(
                select(idempotency.c.digest, idempotency.c.answer).where(
                    idempotency.c.scope == scope, idempotency.c.key == key
                )
            )
        ).first()
        if row is None:
            return None
        if row.digest != digest:
            raise ConflictError(
                f"the idempotency key {key!r} was used before with another request",
                hint="Use a new key for a new request",
            )
        return str(row.answer)

    async def remember(self, scope: str, key: str, digest: str, answer: str) -> None:
        """Keep the answer to a request, so that its repetition gets the same one.

        Raises:
            ConflictError: The same request is being carried out elsewhere at this moment.
        """
        row = {"scope": scope, "key": key, "digest": digest, "answer": answer, "created": self._now}
        if not await self.insert_missing(idempotency, [row]):
            raise ConflictError("the same request is being carried out", hint="Ask again", retry_after=1.0)

    async def flush(self) -> None:
        """Write what was collected; the database calls it once, before it commits."""
        if self._events:
            await self.execute(insert(events), self._events)
        plain = [task for task in self._tasks if task["pending_key"] is None]
        if plain:
            await self.execute(insert(tasks), plain)
        keyed = {task["pending_key"]: task for task in self._tasks if task["pending_key"] is not None}
        await self.insert_missing(tasks, list(keyed.values()))
        if self._completed:
            await self.execute(
                update(tasks)
                .where(tasks.c.id.in_(self._completed))
                .values(state="Done", finished=self._now, error=None)
            )

    async def forget_before(self, moment: datetime) -> None:
        """Drop idempotency keys and finished tasks that are older than this."""
        await self.execute(delete(idempotency).where(idempotency.c.created < moment))
        await self.execute(delete(tasks).where(tasks.c.state == "Done", tasks.c.finished < moment))
