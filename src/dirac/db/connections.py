"""How connections are made, looked after, and begin a transaction, on each engine."""

from __future__ import annotations

import math
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import orjson
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from dirac.core.errors import InvalidInputError
from dirac.db import mariadb, sqlite
from dirac.db.search_conditions import BY_CODE_POINTS

Mode = Literal["read", "write", "single"]
"""What a transaction is for: to look, to change things, or to change things by one statement."""
_USED = "dirac_used"
_IDLE = 2.0  # seconds
_DRIVERS = {
    "sqlite": sqlite.DRIVER,
    "mariadb": mariadb.DRIVER,
    "mysql": mariadb.DRIVER,
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


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


def make_engine(url: URL, pool_size: int, tls: ssl.SSLContext | None) -> AsyncEngine:
    """Return what opens connections to a database, and keeps them.

    Args:
        url: Where it is, of `parse_url`.
        pool_size: How many are kept.
        tls: What the server's certificate is verified with; without, connections need not be encrypted.
    """
    options: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
        # Who takes a connection ends what it began: one more ROLLBACK is a way to the server and back.
        "pool_reset_on_return": None,
    }
    # The connection that was used last knows pages and statements that others would have to read again.
    pooled = {"pool_size": pool_size, "pool_use_lifo": True}
    if url.get_backend_name() == "sqlite":
        if url.database not in (None, "", ":memory:"):
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
            options |= pooled
        engine = create_async_engine(url, **options)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    if tls is not None:
        options["connect_args"] = {"ssl": tls}
    options |= pooled | {"max_overflow": pool_size, "isolation_level": "READ COMMITTED"}
    engine = create_async_engine(url, **options)
    if url.get_backend_name() == "postgresql":
        event.listen(engine.sync_engine, "first_connect", partial(_look_at_collation, engine.dialect))
    _watch_pool(engine)
    return engine


def renew(engine: AsyncEngine, renewed: Callable[[], Awaitable[str]]) -> None:
    """Have each new connection log in with what the address says at that moment."""

    def connect(dialect: Any, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
        _, fresh = dialect.create_connect_args(parse_url(await_only(renewed())))
        parameters |= {name: fresh[name] for name in ("user", "password") if name in fresh}

    event.listen(engine.sync_engine, "do_connect", connect)


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


def prepare(connection: Connection, dialect: str, mode: Mode) -> None:
    """Say what the next transaction of a connection is for.

    Not by an event of SQLAlchemy's: the first one of an engine makes every statement look for all of them.

    SQLite takes the lock for writing at once: one that is asked for later fails instead of waiting. On
    PostgreSQL statements are transactions of their own where that is as good: what only looks sees
    another state with each statement anyway (READ COMMITTED), what changes things by one holds nothing
    together. It saves two ways to the server and back.
    """
    driver: Any = connection.connection.dbapi_connection
    if dialect == "sqlite":
        driver.writes = mode != "read"
    elif dialect == "postgresql":
        driver.autocommit = mode != "write"
