"""Bounds on the time of a statement, kept by the engine that executes it.

What a caller chooses (an expression, an order that no index has) may make a search look at everything. The
engine itself has to give up: cancelling on this side would leave it at work.
"""

from __future__ import annotations

import math
import time
from typing import Any

from sqlalchemy import CursorResult, Executable, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from dirac.core.errors import InvalidInputError
from dirac.db.transaction import Transaction

_OPTION = "dirac_seconds"
_MARIADB_TIMEOUT = 1969
_POSTGRESQL_TIMEOUT = "57014"


class TooSlowError(InvalidInputError):
    """What was asked for takes longer than is allowed."""


async def bounded(tx: Transaction, statement: Executable, seconds: float, hint: str) -> CursorResult[Any]:
    """Run one statement that only looks, for so many seconds at most.

    On PostgreSQL the bound holds for the statements that follow in this transaction, too, and the
    transaction is of no use any more when it is exceeded; `Transaction.savepoint` helps.

    Raises:
        TooSlowError: It was not ready in time; `hint` is what to do instead.
    """
    if tx.dialect == "postgresql":
        if tx.bound != seconds:
            tx.together()
            await tx.execute(text(f"SET LOCAL statement_timeout = {round(seconds * 1000)}"))
            tx.bound = seconds
    elif tx.dialect == "sqlite":
        tx.driver.give_up = time.monotonic() + seconds
    else:
        statement = statement.execution_options(**{_OPTION: seconds})
    try:
        return await tx.execute(statement)
    except DBAPIError as error:
        if _expired(error):
            raise TooSlowError(f"this takes longer than {seconds:g} s", hint=hint) from None
        raise
    finally:
        if tx.dialect == "sqlite":
            tx.driver.give_up = math.inf


def install(engine: AsyncEngine) -> None:
    """Make the connections of an engine of MariaDB keep the bounds; the others are told in `bounded`."""
    if engine.dialect.name in ("mysql", "mariadb"):
        event.listen(engine.sync_engine, "before_cursor_execute", _before_mariadb, retval=True)


def _before_mariadb(
    _connection: Any, _cursor: Any, statement: str, values: Any, context: Any, _many: bool
) -> tuple[str, Any]:
    seconds = context.execution_options.get(_OPTION) if context is not None else None
    if seconds:
        statement = f"SET STATEMENT max_statement_time={seconds:g} FOR {statement}"
    return statement, values


def _expired(error: DBAPIError) -> bool:
    cause = error.orig
    if getattr(cause, "sqlstate", None) == _POSTGRESQL_TIMEOUT:
        return True
    first = cause.args[0] if cause is not None and cause.args else None
    return first in (_MARIADB_TIMEOUT, "interrupted")
