"""Bounds on the time of a statement, kept by the engine that executes it.

What a caller chooses (an expression, an order that no index has) may make a search look at everything. The
engine itself has to give up: cancelling on this side would leave it at work.
"""

from __future__ import annotations

import math
import time
from typing import Any

from sqlalchemy import CursorResult, Executable, text
from sqlalchemy.exc import DBAPIError

from dirac.core.errors import InvalidInputError
from dirac.db import mariadb
from dirac.db.connecting import codes_of
from dirac.db.transaction import Transaction

_TIMEOUTS = frozenset({1969, "57014"})  # MariaDB's number, PostgreSQL's SQLSTATE


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
        statement = statement.execution_options(**{mariadb.SECONDS: seconds})
    try:
        return await tx.execute(statement)
    except DBAPIError as error:
        if _expired(error):
            raise TooSlowError(f"this takes longer than {seconds:g} s", hint=hint) from None
        raise
    finally:
        if tx.dialect == "sqlite":
            tx.driver.give_up = math.inf


def _expired(error: DBAPIError) -> bool:
    cause = error.orig
    interrupted = cause is not None and cause.args[:1] == ("interrupted",)  # SQLite has no more to say
    return interrupted or not _TIMEOUTS.isdisjoint(codes_of(cause))
