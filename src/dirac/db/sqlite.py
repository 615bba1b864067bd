"""SQLite under the event loop: what is short runs where it is asked for, what may take long in a thread.

Handing a call to another thread and waiting for it costs several times more than most statements take. So
a query runs at once, with a watch on it: one that is not done within a moment is interrupted, and begins
again in a thread. A few rows are inserted at once, too. All else that writes, and every commit that has
something to make durable, is one call in a thread. Nothing here ever waits for a lock of another process:
what finds the database locked is repeated in a thread, with patience.

See decision 0021.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from sqlalchemy import URL, Pool
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import AsyncAdaptedQueuePool, StaticPool
from sqlalchemy.util import await_only

T = TypeVar("T")

DRIVER = "sqlite+dirac"
BUSY_SECONDS = 30
"""How long to wait for another process that writes."""

_MOMENT = 0.002  # seconds that a query may hold the event loop up
_STEPS = 2000  # of SQLite's virtual machine between two looks at the clock; some 50 microseconds
_FEW_VALUES = 400  # of one statement with many rows in it: some of these look for what is there
_FEW_IN_ROWS = 2500  # of rows that are just added; a job costs as much as 25 of them, 15 microseconds
_MOST_STATEMENTS = 512

AT_ONCE = "/* at once */"
"""Prefix of an UPDATE that changes one row, found by its key: it takes less time than a way to a thread."""


class Connection:
    """A connection as SQLAlchemy's asynchronous engine wants it.

    Args:
        raw: Python's own; transactions are begun and ended by statements only.

    Attributes:
        writes: Whether the next transaction may change things; if so it waits for all others that do.
        give_up: When a statement is interrupted for good, by `time.monotonic`.
    """

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.driver_connection = self._raw = raw
        self.writes = True
        self.give_up = float("inf")
        self._deadline = float("inf")
        self._changes = 0
        self._calls: SimpleQueue[_Call[Any] | None] | None = None
        raw.set_progress_handler(self._is_late, _STEPS)

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        return Cursor(self, self._raw.cursor())

    def create_function(self, *args: Any, **options: Any) -> None:
        """Make a function known to SQL."""
        self._raw.create_function(*args, **options)

    def begin(self) -> None:
        """Begin a transaction: the shortest way there is, since every one begins so."""
        statement, self.writes = "BEGIN IMMEDIATE" if self.writes else "BEGIN", True
        self.at_once(lambda: self._raw.execute(statement), watched=False)

    def commit(self) -> None:
        """End the transaction; nothing is waited for if nothing was changed."""
        if self._raw.in_transaction and self._raw.total_changes == self._changes:
            self._raw.commit()
        elif self._raw.in_transaction:
            self.in_thread(self._raw.commit)
        self._changes = self._raw.total_changes

    def rollback(self) -> None:
        """Take the transaction back."""
        self._raw.rollback()
        self._changes = self._raw.total_changes

    def close(self) -> None:
        """Close it; what was not committed is taken back at once, whoever still holds a statement of it."""
        with suppress(sqlite3.Error):
            self._raw.rollback()
        self._raw.close()
        if self._calls is not None:
            self._calls.put(None)

    def at_once(self, work: Callable[[], T], *, watched: bool) -> T:
        """Do something here; in a thread if it has to wait for others, or is `watched` and takes long."""
        await_only(_nothing())  # SQLAlchemy takes a driver that never waits for a wrong one
        if watched:
            self._deadline = time.monotonic() + _MOMENT
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _is(error, sqlite3.SQLITE_INTERRUPT) and not _is(error, sqlite3.SQLITE_BUSY):
                raise
            if time.monotonic() > self.give_up:
                raise
        finally:
            self._deadline = float("inf")
        return self.in_thread(work)

    def in_thread(self, work: Callable[[], T]) -> T:
        """Do something in a thread, while others have the event loop."""
        result: T = await_only(self._in_thread(work))
        return result

    async def _in_thread(self, work: Callable[[], T]) -> T:
        call = _Call(lambda: self._patiently(work))
        if self._calls is None:
            self._calls = SimpleQueue()
            threading.Thread(target=_serve, args=(self._calls,), name="sqlite", daemon=True).start()
        self._calls.put(call)
        try:
            await call.waiter
        except asyncio.CancelledError:
            # Whatever comes next may not use the connection beside it.
            self._raw.interrupt()
            await call.ended()
            raise
        return call.result()

    def _patiently(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _is(error, sqlite3.SQLITE_BUSY):
                raise
        self._raw.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        try:
            return work()
        finally:
            self._raw.execute("PRAGMA busy_timeout = 0")

    def _is_late(self) -> bool:
        now = time.monotonic()
        return now > self._deadline or now > self.give_up


class _Call(Generic[T]):
    """One call in a thread of a connection; `asyncio.to_thread` and a shield take five times as long."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._result: T | None = None
        self._error: BaseException | None = None
        self._over = False
        self.waiter = self._loop.create_future()

    def run(self) -> None:
        """Do it, and wake who waits; called by the thread."""
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._over = True
        if not self.waiter.done():
            self.waiter.set_result(None)

    async def ended(self) -> None:
        """Wait for the end, whoever asks for less."""
        while not self._over:
            self.waiter = self._loop.create_future()
            with suppress(asyncio.CancelledError):
                await self.waiter

    def result(self) -> T:
        """Return, or raise, what came out of it."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # it has run


def _serve(calls: SimpleQueue[_Call[Any] | None]) -> None:
    """Run calls until there is None."""
    while (call := calls.get()) is not None:
        call.run()
        del call  # it would keep its rows until the next


class Cursor:
    """Runs one statement; its rows are all read before it returns."""

    arraysize = 1

    def __init__(self, connection: Connection, raw: sqlite3.Cursor) -> None:
        self._connection = connection
        self._raw = raw
        self._rows: list[Any] = []
        self._next = 0

    @property
    def description(self) -> Any:
        """The columns of the rows."""
        return self._raw.description

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        return self._raw.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The key of the row that was inserted last."""
        return self._raw.lastrowid

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement."""

        def work() -> list[Any]:
            self._raw.execute(sql, parameters)
            return self._raw.fetchall() if self._raw.description else []

        watched = sql.startswith("SELECT")  # an interrupted one has changed nothing
        if watched or _is_short(sql, len(parameters)):
            self._rows = self._connection.at_once(work, watched=watched)
        else:
            self._rows = self._connection.in_thread(work)
        self._next = 0

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each of many rows."""

        def work() -> None:
            self._raw.executemany(sql, rows)

        self._rows = []
        if len(rows) * len(rows[0]) <= _FEW_IN_ROWS and sql.startswith("INSERT"):
            self._connection.at_once(work, watched=False)
        else:
            self._connection.in_thread(work)

    def fetchone(self) -> Any:
        """Return the next row, None if there is none."""
        if self._next == len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchmany(self, size: int = 1) -> list[Any]:
        """Return the next rows."""
        rows = self._rows[self._next : self._next + size]
        self._next += len(rows)
        return rows

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        rows = self._rows[self._next :] if self._next else self._rows
        self._rows, self._next = [], 0
        return rows

    async def _async_soft_close(self) -> None:
        """Keep what was read: the rows are not the statement's any more."""

    def close(self) -> None:
        """Let go of the rows."""
        self._rows, self._next = [], 0
        self._raw.close()


class Dialect(SQLiteDialect_pysqlite):
    """SQLAlchemy's SQLite, with these connections."""

    driver = "dirac"
    is_async = True
    supports_statement_cache = True

    def connect(self, *args: Any, **options: Any) -> DBAPIConnection:
        """Open a connection."""
        options |= {
            "isolation_level": None,
            "check_same_thread": False,  # one thread at a time, but not always the same
            "timeout": 0,
            "cached_statements": _MOST_STATEMENTS,
        }
        connection: Any = Connection(sqlite3.connect(*args, **options))
        return connection  # type: ignore[no-any-return]

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin a transaction."""
        dbapi_connection.dbapi_connection.begin()

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        """Return the kind of pool: a database in memory has one connection only."""
        return AsyncAdaptedQueuePool if cls._is_url_file_db(url) else StaticPool

    def get_driver_connection(self, connection: Any) -> Any:
        """Return Python's own connection."""
        return connection.driver_connection


registry.register(DRIVER.replace("+", "."), __name__, Dialect.__name__)


async def _nothing() -> None:
    pass


def _is_short(sql: str, values: int) -> bool:
    """Tell whether a statement takes a moment at most; to begin a transaction is to wait, or it does."""
    return sql.startswith(("BEGIN", f"UPDATE {AT_ONCE}")) or (
        values <= _FEW_VALUES and sql.startswith("INSERT") and " SELECT " not in sql
    )


def _is(error: sqlite3.Error, code: int) -> bool:
    return (error.sqlite_errorcode & 0xFF) == code
