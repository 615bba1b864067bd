"""Engines for SQLite, MariaDB and PostgreSQL behind one class, and what differs between them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Generic, Literal, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from dirac.core.entropy import Entropy, SystemEntropy
from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.core.time import Clock, SystemClock
from dirac.db import connecting
from dirac.db.connections import Mode, make_engine, parse_url, prepare, renew
from dirac.db.greenlets import in_greenlet
from dirac.db.transaction import Transaction

U = TypeVar("U")
Dialect = Literal["sqlite", "mariadb", "postgresql"]

# Bad expression, value out of range, wrong date, wrong text, text too long, wrong function argument.
_MARIADB_VALUES = frozenset({1139, 1264, 1292, 1366, 1406, 1411, 1690})
_OTHERS_FIRST = frozenset({"40001", "40P01", "55P03", "57P01"})


class Database:
    """The one database of an installation.

    Args:
        url: Where it is.
        clock: Time of the units of work.
        entropy: Source of the identifiers that are made here.
        pool_size: Connections kept open.
        tls: What the server's certificate is verified with; without, connections need not be encrypted.
        renewed: Gives the address for each new connection: its password may have been replaced.

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
        renewed: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        parsed = parse_url(url)
        self.url = parsed
        self.dialect: Dialect = parsed.get_backend_name()  # type: ignore[assignment]  # by parse_url
        self.clock = clock or SystemClock()
        self.entropy = entropy or SystemEntropy()
        self.engine = make_engine(parsed, pool_size, tls)
        if renewed is not None and self.dialect != "sqlite":
            renew(self.engine, renewed)
        self.closing: list[Callable[[Transaction], Awaitable[None]]] = []
        self.committed: list[Callable[[Transaction], None]] = []
        # SQLite has one writer at a time: waiting here is fair and idle, waiting there is neither.
        self.turn = asyncio.Lock() if self.dialect == "sqlite" else None

    def write(self) -> _Unit[Transaction]:
        """Begin a transaction that may change things; commits on leaving, rolls back on an error."""
        return _Unit(self, _bare, "write")

    def read(self) -> _Unit[Transaction]:
        """Begin a transaction that only looks; on PostgreSQL each statement is one of its own."""
        return _Unit(self, _bare, "read")

    async def begin(self, mode: Mode) -> tuple[Connection, Transaction]:
        """Take a connection and begin a transaction on it, which `_Unit` ends."""
        connection = await self._begin(mode)
        return connection, Transaction(connection, self.dialect, self.clock.now(), self.entropy, mode=mode)

    async def _begin(self, mode: Mode) -> Connection:
        try:
            return await in_greenlet(self._open, mode)
        except DBAPIError:
            raise
        except Exception as error:  # asyncpg's own, and all connections in use
            if isinstance(error, PoolTimeoutError) or connecting.passes(error):
                raise _unavailable(type(error).__name__, committing=False) from error
            raise

    def _open(self, mode: Mode) -> Connection:
        """Begin a transaction; as all that is not asynchronous here, in a greenlet."""
        connection = self.engine.sync_engine.connect()
        try:
            prepare(connection, self.dialect, mode)
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
            if connection.sync_connection is not None:
                prepare(connection.sync_connection, self.dialect, "write")
            try:
                yield connection
            except BaseException:
                if not connection.closed:
                    await connection.invalidate()  # the pool does not look at what it gets back
                raise

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

    def write(self) -> _Unit[U]:
        """Begin a unit that may change things."""
        return _Unit(self._database, self._dress, "write")

    def single(self) -> _Unit[U]:
        """Begin a unit that changes things by one statement at most.

        Nothing else is committed with it, no event and no entry of the audit log. PostgreSQL commits it by
        itself, without two more ways to the server and back.
        """
        return _Unit(self._database, self._dress, "single")

    def read(self) -> _Unit[U]:
        """Begin a unit that only looks."""
        return _Unit(self._database, self._dress, "read")


class _Unit(Generic[U]):
    """One transaction, as a context: what every request enters, so that it is no generator in a generator."""

    __slots__ = ("_connection", "_database", "_dress", "_mode", "_transaction", "_writes")

    def __init__(self, database: Database, dress: Callable[[Transaction], U], mode: Mode) -> None:
        self._database = database
        self._dress = dress
        self._mode = mode
        self._writes = mode != "read"

    async def __aenter__(self) -> U:
        database = self._database
        if self._writes and database.turn is not None:
            await database.turn.acquire()
        try:
            self._connection, self._transaction = await database.begin(self._mode)
        except BaseException as error:
            self._over()
            if isinstance(error, DBAPIError):
                _explain(error, committing=False)
            raise
        return self._dress(self._transaction)

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            await (self._commit() if error is None else self._abandon())
        finally:
            self._over()
        if isinstance(error, DBAPIError):
            _explain(error, committing=self._mode == "single")
        if error is None and self._mode == "write":
            for listener in self._database.committed:
                listener(self._transaction)

    async def _commit(self) -> None:
        committing = False
        try:
            if self._mode == "write":
                for close in self._database.closing:
                    await close(self._transaction)
                await self._transaction.flush()
            committing = self._writes
            await in_greenlet(_end, self._connection)
        except BaseException as error:
            await self._abandon()
            if isinstance(error, DBAPIError):
                _explain(error, committing=committing)
            raise

    async def _abandon(self) -> None:
        # Whoever is cancelled may be so again: the connection goes back in a task of its own.
        await asyncio.shield(asyncio.create_task(in_greenlet(_abandon, self._connection)))

    def _over(self) -> None:
        if self._writes and self._database.turn is not None:
            self._database.turn.release()


def _bare(transaction: Transaction) -> Transaction:
    return transaction


def _end(connection: Connection) -> None:
    connection.commit()
    connection.close()


def _abandon(connection: Connection) -> None:
    """Take back what was done, and give the connection back; whatever is wrong with it by now."""
    try:
        connection.rollback()
        if not connection.invalidated:
            # A commit that failed is over for SQLAlchemy, not for the engine.
            connection.connection.rollback()
    except BaseException:
        connection.invalidate()  # the pool does not look at what it gets back
        raise
    finally:
        connection.close()


def _explain(error: DBAPIError, *, committing: bool) -> None:
    """Raise what callers are told of an error of the engine's; nothing for a defect of ours.

    Raises:
        InvalidInputError: It does not like a value.
        UnavailableError: The same may work later.
    """
    if _is_value(error):
        raise _unacceptable(error) from error
    if _passes(error):
        what = " ".join(map(str, (type(error.orig).__name__, *connecting.codes_of(error.orig))))
        raise _unavailable(what, committing=committing) from error


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
    listed = not _MARIADB_VALUES.isdisjoint(connecting.codes_of(error.orig))
    return listed or connecting.is_of_class(error.orig, "22")


def _passes(error: DBAPIError) -> bool:
    """Tell whether the same may work later: the connection broke, or another transaction came first."""
    if isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated:
        return True
    return not _OTHERS_FIRST.isdisjoint(connecting.codes_of(error.orig))
