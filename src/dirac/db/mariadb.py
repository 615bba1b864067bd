"""MariaDB as SQLAlchemy and asyncmy have it, with statements that are prepared, and bounded in time.

To prepare a statement is one more way to the server, once for each connection; after that its values need
no quoting, and its rows come as they are instead of as texts.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.dialects import registry

DRIVER = "mariadb+dirac"
SECONDS = "dirac_seconds"
"""Option of a statement: how long it may take."""

_MOST_STATEMENTS = 100  # of a connection; the server has 16 382 for all, unless told otherwise
_FEW_VALUES = 40  # with more, it is one of many alike, which differ in how many values they have
_Asyncmy: Any = make_url("mariadb+asyncmy://").get_dialect()


class Once(str):
    """A statement that does not come again, and is not prepared: the driver does that with a mere `str`."""

    __slots__ = ()


class Dialect(_Asyncmy):  # type: ignore[misc]  # its class is made when it is asked for
    """SQLAlchemy's MariaDB; what differs is what its driver is told."""

    driver = "dirac"
    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:
        """Return how to connect."""
        arguments, options = super().create_connect_args(url)
        return arguments, options | {"stmt_cache_size": _MOST_STATEMENTS}

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Execute a statement.

        Its bound is no listener's to add: the first one of an engine makes every statement look for all.
        """
        if context is not None and (seconds := context.execution_options.get(SECONDS)):
            statement = f"SET STATEMENT max_statement_time={seconds:g} FOR {statement}"
        if len(parameters) > _FEW_VALUES:
            statement = Once(statement)
        cursor.execute(statement, parameters)

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Execute a statement with many rows of values, not in the form that the server has for that.

        A site's server has refused an upsert in it (error 1295) that another one of the same version takes.
        """
        cursor._connection._bulk_supported = False
        super().do_executemany(cursor, statement, parameters, context)


registry.register(DRIVER.replace("+", "."), __name__, Dialect.__name__)
