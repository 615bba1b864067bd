"""One transaction: statements, and the events, tasks and completions that commit with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    Table,
    and_,
    case,
    delete,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from dirac.core.entropy import Entropy, uuid7
from dirac.core.errors import ConflictError, InvalidInputError
from dirac.core.unit import Event
from dirac.db.bulk import MOST_ROWS, Literal, bulk_insert
from dirac.db.connections import Mode
from dirac.db.greenlets import in_greenlet
from dirac.db.tables import events, idempotency, tasks
from dirac.db.upsert import upsert

_EVENT_COLUMNS = (
    *("recorded", "time", "data", "kind", "vo"),
    *("subject_kind", "subject_id", "attempt", "actor"),
)
SEPARATOR = "!"
"""An entry, and its key: it stands between those without keys and the others, on MariaDB."""
CHANGE_TASKS = update(tasks).with_hint("FORCE INDEX (PRIMARY)", dialect_name="mariadb")
"""A change of entries that are named by their identifiers.

MariaDB would find one by its state where that looks cheaper, which locks index before row, and others' rows:
whoever has the row and moves it to another state meets that in a deadlock.
"""

_LAST_NUMBER = text("SELECT seq FROM sqlite_sequence WHERE name = :table")
_NEXT_NUMBERS = text(
    "SELECT nextval(pg_get_serial_sequence(:table, :key)) FROM generate_series(1, CAST(:count AS integer))"
)
_INSERT_TASKS = insert(tasks)
_TURN = select(tasks.c.id).where(tasks.c.id == SEPARATOR).with_for_update()
_MOST_VALUES = 32_000  # of one statement: PostgreSQL counts them in 16 bits with a sign, SQLite takes 32 766


class Transaction:
    """Implements `dirac.core.unit.UnitOfWork` on a database connection.

    Events, tasks and completions are collected and written in bulk just before the commit.

    Args:
        connection: What it is on.
        dialect: Of which engine.
        now: The time at which it began.
        entropy: Where identifiers come from.
        mode: What for; events, tasks and completions are for those that write.

    Attributes:
        bound: Seconds that PostgreSQL lets each statement take, None if it was not told (`dirac.db.bounds`).
    """

    def __init__(
        self, connection: Connection, dialect: str, now: datetime, entropy: Entropy, *, mode: Mode = "write"
    ) -> None:
        self._connection = connection
        self._mode = mode
        self.dialect = dialect
        self._now = now
        self._entropy = entropy
        self.bound: float | None = None
        self._events: list[Event] = []
        self._tasks: list[dict[str, Any]] = []
        self._completed: set[str] = set()

    @property
    def now(self) -> datetime:
        """The time at which the transaction began."""
        return self._now

    @property
    def enqueued(self) -> bool:
        """Whether background work was asked for."""
        return bool(self._tasks)

    @property
    def urgent(self) -> bool:
        """Whether background work was asked for that may begin at once."""
        return any(task["due"] <= self._now for task in self._tasks)

    async def execute(
        self, statement: Executable, parameters: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None
    ) -> CursorResult[Any]:
        """Run one statement; a list of parameters makes it a bulk one."""
        return await in_greenlet(self._connection.execute, statement, parameters)

    def together(self) -> None:
        """Make the statements that follow parts of one transaction, where each would be one of its own."""
        if self.dialect == "postgresql":
            self.driver.autocommit = False

    @property
    def driver(self) -> Any:
        """The driver's connection."""
        return self._connection.connection.dbapi_connection

    async def ping(self) -> None:
        """Ask the database for a sign of life."""
        await self.execute(select(1))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Enclose statements that may fail without the rest of the transaction."""
        self.together()
        await self.execute(text("SAVEPOINT part"))
        try:
            yield
        except Exception:
            await self.execute(text("ROLLBACK TO SAVEPOINT part"))
            raise
        await self.execute(text("RELEASE SAVEPOINT part"))

    async def insert_missing(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert those rows whose unique keys are not there yet; return how many that were.

        All rows name the same columns.
        """
        if not rows:
            return 0
        most = min(MOST_ROWS, _MOST_VALUES // len(rows[0]))
        return sum([await self._insert_missing(table, rows[i : i + most]) for i in range(0, len(rows), most)])

    async def _insert_missing(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
        # What is returned tells apart what was inserted. A statement without its values is compiled once.
        first = next(iter(table.primary_key))
        if self.dialect != "mariadb":
            dialect = sqlite if self.dialect == "sqlite" else postgresql
            statement = dialect.insert(table).on_conflict_do_nothing().returning(first)
            return len((await self.execute(statement, rows)).all())
        ignoring = mysql.insert(table).prefix_with("IGNORE").returning(first)
        count = len((await self.execute(ignoring, rows)).all())
        # IGNORE also cuts what is too long for its column; each row that was there is one warning.
        warnings = (await self.execute(text("SELECT @@warning_count"))).scalar_one()
        if warnings > len(rows) - count:
            raise InvalidInputError(f"a value does not fit into the table {table.name!r}")
        return count

    async def put(self, table: Table, row: Mapping[str, Any], changing: Sequence[str]) -> None:
        """Insert a row, or give the one with its primary key these of its values; it is locked until the end.

        In one statement: a row that is inserted if missing, and changed or locked then, has two callers on
        MariaDB hold it against each other.
        """
        await self.put_all(table, [row], changing)

    async def put_all(self, table: Table, rows: Sequence[Mapping[str, Any]], changing: Sequence[str]) -> None:
        """Do as `put` with several rows, which are in the same order for all callers."""
        key = list(table.primary_key)
        await self.execute(
            upsert(self.dialect, table, key, lambda new: {name: new[name] for name in changing}), rows
        )

    async def add(self, table: Table, rows: Sequence[Mapping[str, Any]], number: str) -> None:
        """Insert rows, or add to this number of those with their primary keys; for one caller at a time."""
        key = list(table.primary_key)
        adding = upsert(self.dialect, table, key, lambda new: {number: table.c[number] + new[number]})
        most = min(MOST_ROWS, _MOST_VALUES // len(table.c))
        for start in range(0, len(rows), most):
            await self.execute(adding, rows[start : start + most])

    def record(self, event: Event) -> None:
        """Append an event to the history."""
        self._refuse_more()
        self._events.append(event)

    def enqueue(
        self,
        task: str,
        args: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        delay: float = 0.0,
    ) -> str:
        """Ask for background work, handed out after the commit.

        Returns:
            Its identifier; without meaning if other work waits under the same key.
        """
        self._refuse_more()
        entry_id = uuid7(self._entropy, self._now.timestamp()).hex
        self._tasks.append(
            {
                "id": entry_id,
                "name": task,
                "args": dict(args or {}),
                "pending_key": key,
                "state": "Pending",
                "due": self._now + timedelta(seconds=delay),
                "tries": 0,
                "created": self._now,
            }
        )
        return entry_id

    def complete(self, entry: str) -> None:
        """Mark a task's entry as done; if it is already, the transaction fails with a ConflictError."""
        self._refuse_more()
        self._completed.add(entry)

    def _refuse_more(self) -> None:
        if self._mode != "write":
            raise RuntimeError(f"nothing can be committed together with what a {self._mode} unit does")

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

    async def insert_numbered(
        self, table: Table, columns: tuple[str, ...], common: Mapping[str, Any], rows: Sequence[Sequence[Any]]
    ) -> list[int]:
        """Insert rows that the engine numbers, as `insert_all`; return their ascending numbers, in order."""
        numbers = await self._reserve(table, len(rows))
        key = next(iter(table.primary_key)).name
        if numbers is not None:
            numbered = [(*row, number) for row, number in zip(rows, numbers, strict=True)]
            await self.insert_all(table, (*columns, key), common, numbered)
            return numbers
        bulk = bulk_insert(table, columns, self._connection.dialect)
        found: list[int] = []
        for start in range(0, len(rows), MOST_ROWS):
            sql, given = bulk.returning(key, common, rows[start : start + MOST_ROWS], self._literal())
            found += (await in_greenlet(self._connection.exec_driver_sql, sql, given)).scalars()
        return sorted(found)

    async def _reserve(self, table: Table, count: int) -> list[int] | None:
        """Return numbers for new rows; None where only their insertion gives them, or does so for less."""
        if self.dialect == "mariadb" or count < 2:
            return None
        if self.dialect == "sqlite":  # nobody else can write before our commit
            last = (await self.execute(_LAST_NUMBER, {"table": table.name})).scalar() or 0
            return list(range(last + 1, last + 1 + count))
        key = next(iter(table.primary_key)).name
        found = await self.execute(_NEXT_NUMBERS, {"table": table.name, "key": key, "count": count})
        return sorted(found.scalars())

    async def insert_all(
        self, table: Table, columns: tuple[str, ...], common: Mapping[str, Any], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Insert many rows, for little: see `dirac.db.bulk`.

        Args:
            table: Where they go.
            columns: All that they have, first those of `common`.
            common: What is the same in all rows.
            rows: The other values of each.
        """
        if content := list(rows):
            bulk = bulk_insert(table, columns, self._connection.dialect)
            for sql, given in bulk.calls(common, content, self._literal()):
                await in_greenlet(self._connection.exec_driver_sql, sql, given)

    def _literal(self) -> Literal | None:
        if self.dialect != "mariadb":
            return None
        written: Literal = self._connection.connection.driver_connection.literal  # type: ignore[union-attr]
        return written

    @property
    def recorded(self) -> Sequence[Event]:
        """The events that were recorded and are not written yet."""
        return self._events

    async def write_events(self) -> None:
        """Write the events that were recorded so far: who makes very many does not want to keep them."""
        if self._events:
            written, self._events = self._events, []
            rows = map(_event_values, written)
            await self.insert_all(events, _EVENT_COLUMNS, {"recorded": self._now}, rows)

    async def flush(self) -> None:
        """Write what was collected; the database calls it once, before it commits."""
        await self.write_events()
        plain = [task for task in self._tasks if task["pending_key"] is None]
        if plain:
            await self.execute(_INSERT_TASKS, plain)
        await self._add_keyed()
        if self._completed:
            await self._finish()

    async def _add_keyed(self) -> None:
        """Add the tasks that have a key, or bring forward the ones that wait under it.

        This locks what is there until the commit: work that begins meanwhile would not see what this
        transaction changed, and nothing would be left to see it later.
        """
        keyed: dict[str, dict[str, Any]] = {}
        for task in sorted(self._tasks, key=lambda task: task["due"], reverse=True):
            if task["pending_key"] is not None:
                keyed[task["pending_key"]] = task  # the earliest
        rows = [keyed[key] for key in sorted(keyed)]  # in one order everywhere: no deadlock
        if rows and self.dialect == "mariadb":
            # Who adds a key there locks gaps between keys, and two at the same time would meet in a deadlock:
            # they take turns. Nobody waits for the turn who has a key locked, not even one that is gone.
            await self.execute(_TURN)
        if rows:
            await self.execute(_add_or_bring_forward(self.dialect), rows)

    async def lock_tasks(self, ids: Iterable[str]) -> None:
        """Lock entries whose keys are to be given up, key before row.

        On MariaDB whoever asks for work under a key (`_add_keyed`) locks in that order; the other way round,
        from a row to its key, one would meet them in a deadlock. Elsewhere keys have no locks.
        """
        if self.dialect != "mariadb":
            return
        keyed = select(tasks.c.pending_key).where(tasks.c.id.in_(ids), tasks.c.pending_key.is_not(None))
        for key in sorted((await self.execute(keyed)).scalars()):
            # One by one: that is found by its key, however small the table.
            await self.execute(select(tasks.c.id).where(tasks.c.pending_key == key).with_for_update())

    async def _finish(self) -> None:
        """Mark entries as done, each once: of two executions of one entry the second has no effect.

        Raises:
            ConflictError: Another execution was faster.
        """
        await self.lock_tasks(self._completed)
        changed = await self.execute(
            CHANGE_TASKS.where(tasks.c.id.in_(self._completed), tasks.c.state != "Done").values(
                state="Done", finished=self._now, error=None, pending_key=None
            )
        )
        if changed.rowcount != len(self._completed):
            raise ConflictError("this background task was carried out by another execution already")

    async def forget_before(self, moment: datetime) -> None:
        """Drop idempotency keys and finished tasks that are older than this."""
        await self.execute(delete(idempotency).where(idempotency.c.created < moment))
        await self.execute(delete(tasks).where(tasks.c.state == "Done", tasks.c.finished < moment))


def _event_values(event: Event) -> tuple[Any, ...]:
    return (
        event.time,
        event.data,
        event.kind,
        event.vo,
        event.subject_kind,
        event.subject_id,
        event.attempt,
        event.actor,
    )


@cache
def _add_or_bring_forward(dialect: str) -> Any:
    """Return the statement that adds tasks that have a key, or brings forward those that wait under it."""
    return upsert(dialect, tasks, [tasks.c.pending_key], lambda new: {"due": _earlier(new.due)})


def _earlier(due: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Return the earlier moment for an entry that nobody has tried yet; others keep their own."""
    # As literals: asyncmy takes no parameters behind the values when several rows are given at once.
    waits = and_(tasks.c.state == literal_column("'Pending'"), tasks.c.tries == literal_column("0"))
    return case((and_(waits, due < tasks.c.due), due), else_=tasks.c.due)
