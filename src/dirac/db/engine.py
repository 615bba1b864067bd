"""Engines for SQLite, MariaDB and PostgreSQL behind one class, and what differs between them."""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import orjson
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from dirac.core.entropy import Entropy, SystemEntropy
from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.core.time import Clock, SystemClock
from dirac.db import bounds, connecting, sqlite
from dirac.db.greenlets import in_greenlet
from dirac.db.search_conditions import BY_CODE_POINTS
from dirac.db.transaction import Transaction

U = TypeVar("U")
Dialect = Literal["sqlite", "mariadb", "postgresql"]

_DRIVERS = {
    "sqlite": sqlite.DRIVER,
    "mariadb": "mariadb+asyncmy",
    "mysql": "mariadb+asyncmy",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
# Bad expression, value out of range, wrong date, wrong text, text too long, wrong function argument.
_MARIADB_VALUES = (1139, 1264, 1292, 1366, 1406, 1411, 1690)
_WRITES = "dirac_writes"
_USED = "dirac_used"
_IDLE = 2.0  # seconds


def parse_url(url: str) -> URL:
    """Read a database URL and choose the driver for it.

    Raises:
        InvalidInputError: It is no URL, or names a database that is not supported.
    """
    try:
        parsed = make_url(url)
    except Exception as error:
        raise InvalidInputError(
            "the database URL cannot be read", hint="Example: sqlite:///dirac.db"
        ) from error
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise InvalidInputError(
            f"no support for databases of kind {parsed.get_backend_name()!r}",
            hint="Use sqlite:///FILE, mariadb://USER@HOST/NAME or postgresql://USER@HOST/NAME",
        )
    return parsed.set(drivername=driver)


class Database:
    """The one database of an installation.

    Args:
        url: Where it is.
        clock: Time of the units of work.
        entropy: Source of the identifiers that are made here.
        pool_size: Connections kept open.
        tls: What the server's certificate is verified with; without, connections need not be encrypted.

    Raises:
        InvalidInputError: The address is of no use.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        pool_size: int = 10,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parsed = parse_url(url)
        self.url = parsed
        self.dialect: Dialect = parsed.get_backend_name()  # type: ignore[assignment]  # by parse_url
        self.clock = clock or SystemClock()
        self.entropy = entropy or SystemEntropy()
        self.engine = _make_engine(parsed, pool_size, tls)
        self._writing = self.engine.sync_engine.execution_options(**{_WRITES: True})
        self._reading = self.engine.sync_engine.execution_options(**{_WRITES: False})
        self.closing: list[Callable[[Transaction], Awaitable[None]]] = []
        self.committed: list[Callable[[Transaction], None]] = []
        # SQLite has one writer at a time: waiting here is fair and idle, waiting there is neither.
        self._writer: AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if self.dialect == "sqlite" else nullcontext()
        )

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Begin a transaction that may change things; commits on leaving, rolls back on an error."""
        async with self._writer, self._transaction(writes=True) as transaction:
            yield transaction
            for close in self.closing:
                await close(transaction)
        for listener in self.committed:
            listener(transaction)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Begin a transaction that only looks."""
        async with self._transaction(writes=False) as transaction:
            yield transaction

    @asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncIterator[Transaction]:
        committing = False
        try:
            connection = await self._begin(writes=writes)
            try:
                transaction = Transaction(connection, self.dialect, self.clock.now(), self.entropy)
                yield transaction
                await transaction.flush()
                committing = writes
                await in_greenlet(_end, connection)
            except BaseException:
                # Whoever is cancelled may be so again: the connection goes back in a task of its own.
                await asyncio.shield(asyncio.create_task(in_greenlet(_abandon, connection)))
                raise
        except DBAPIError as error:
            if _is_value(error):
                raise _unacceptable(error) from error
            if _passes(error):
                raise _unavailable(type(error.orig).__name__, committing=committing) from error
            raise

    async def _begin(self, *, writes: bool) -> Connection:
        try:
            return await in_greenlet(self._open, writes)
        except DBAPIError:
            raise
        except Exception as error:  # asyncpg's own, and all connections in use
            if isinstance(error, PoolTimeoutError) or connecting.passes(error):
                raise _unavailable(type(error).__name__, committing=False) from error
            raise

    def _open(self, writes: bool) -> Connection:
        """Begin a transaction; as all that is not asynchronous here, in a greenlet."""
        connection = (self._writing if writes else self._reading).connect()
        try:
            connection.begin()
        except BaseException:
            _abandon(connection)
            raise
        return connection

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for what is not a unit of work: looking at the schema, changing it.

        Raises:
            UnavailableError: There is none; the message is for operators and says why, and what to do.
        """
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self.engine.connect())
            except Exception as error:
                if isinstance(error, (DBAPIError, PoolTimeoutError)) or connecting.passes(error):
                    raise connecting.unreachable(error, self.url) from error
                raise
            yield connection

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


class DatabaseUnits(Generic[U]):
    """Units of work of one system: a transaction dressed with the system's stores.

    Args:
        database: Where the transactions are.
        dress: Makes the system's unit from a transaction.
    """

    def __init__(self, database: Database, dress: Callable[[Transaction], U]) -> None:
        self._database = database
        self._dress = dress

    @asynccontextmanager
    async def write(self) -> AsyncIterator[U]:
        """Begin a unit that may change things."""
        async with self._database.write() as transaction:
            yield self._dress(transaction)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[U]:
        """Begin a unit that only looks."""
        async with self._database.read() as transaction:
            yield self._dress(transaction)


def _end(connection: Connection) -> None:
    connection.commit()
    connection.close()


def _abandon(connection: Connection) -> None:
    """Take back what was done, and give the connection back; whatever is wrong with it by now."""
    try:
        connection.rollback()
    finally:
        connection.close()


def _unavailable(what: str, *, committing: bool) -> UnavailableError:
    if committing:
        # Whether the commit arrived, nobody knows: who repeats it needs an idempotent request.
        return UnavailableError(
            f"the database did not say whether this was carried out: {what}",
            hint="Look whether it was, or repeat it with the same idempotency key",
            retry_after=1.0,
        )
    return UnavailableError(
        f"the database did not carry this out: {what}", hint="Nothing was changed; try again", retry_after=1.0
    )


def _unacceptable(error: DBAPIError) -> InvalidInputError:
    """Tell the caller what an engine did not like about a value: too long, out of range, a bad expression."""
    text = str(error.orig).rpartition(">: ")[2][:200]
    return InvalidInputError(f"the database cannot work with a value: {text}", hint="Nothing was changed")


def _is_value(error: DBAPIError) -> bool:
    """Tell whether it is a value that the engine refuses (SQLSTATE class 22, and MariaDB's numbers)."""
    state = getattr(error.orig, "sqlstate", None) or ""
    number = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return state.startswith("22") or number in _MARIADB_VALUES


def _passes(error: DBAPIError) -> bool:
    """Tell whether the same may work later: the connection broke, or another transaction came first."""
    if isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state in ("40001", "40P01", "55P03", "57P01")


def _make_engine(url: URL, pool_size: int, tls: ssl.SSLContext | None) -> AsyncEngine:
    options: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
    }
    if url.get_backend_name() == "sqlite":
        if url.database not in (None, "", ":memory:"):
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
            # The connection that was used last: it knows the pages that the others would have to read again.
            options |= {"pool_size": pool_size, "pool_use_lifo": True}
        engine = create_async_engine(url, **options)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        bounds.install(engine)
        return engine
    if tls is not None:
        options["connect_args"] = {"ssl": tls}
    engine = create_async_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=pool_size,
        **options,
    )
    if url.get_backend_name() == "postgresql":
        event.listen(engine.sync_engine, "first_connect", partial(_look_at_collation, engine.dialect))
    _watch_pool(engine)
    bounds.install(engine)
    return engine


def _look_at_collation(dialect: Any, connection: Any, _record: object) -> None:
    """Find out whether the database compares texts by code points without being told to."""
    cursor = connection.cursor()
    cursor.execute("SELECT datcollate FROM pg_database WHERE datname = current_database()")
    setattr(dialect, BY_CODE_POINTS, cursor.fetchone()[0] in ("C", "POSIX"))
    cursor.close()
    connection.rollback()


def _watch_pool(engine: AsyncEngine) -> None:
    """Have a connection that nobody has used for a moment asked whether it is still there.

    To ask always costs as much as a small transaction. Whoever finds that one broke in between is told that
    nothing was carried out, and all that are as old are opened anew.
    """
    dialect = engine.dialect

    def note(_connection: object, record: Any) -> None:
        record.info[_USED] = time.monotonic()

    def ask(connection: Any, record: Any, _fairy: object) -> None:
        if time.monotonic() - record.info.get(_USED, math.inf) < _IDLE:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            if not dialect.is_disconnect(error, connection, None):
                raise
            raise InvalidatePoolError from error

    event.listen(engine.sync_engine, "checkin", note)
    event.listen(engine.sync_engine, "checkout", ask)


def _regexp(pattern: str, value: object) -> bool:
    return value is not None and re.search(pattern, str(value)) is not None


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Make a new SQLite connection behave as the other engines do, and survive a loss of power."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA case_sensitive_like = ON")
    cursor.close()
    connection.create_function("regexp", 2, _regexp, deterministic=True)


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once: one that is asked for later fails instead of waiting."""
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
