"""A database that fails at a chosen operation, for tests that must not lose or double anything.

For all n, let the n-th operation of a use case fail, then look at what is there, then repeat::

    faults = FailNth(database)
    for n in itertools.count(1):
        with faults.failing(n), contextlib.suppress(UnavailableError):
            await use_case()
        if not faults.fired:
            break  # the use case has fewer operations than n
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from dirac.db.engine import Database


class InjectedError(Exception):
    """What the driver is made to say."""


class FailNth:
    """Lets the n-th operation on a database fail: every statement is one, and every commit.

    Statements are counted as they are sent, a bulk one once.

    Attributes:
        count: Operations in the present or the last `failing` block.
        fired: Whether one of them failed.
    """

    def __init__(self, database: Database) -> None:
        self._engine = database.engine.sync_engine
        self.count = 0
        self.fired = False

    @contextmanager
    def failing(self, n: int, *, lost: bool = False) -> Iterator[None]:
        """Let the n-th operation of the block fail as it does when the connection breaks.

        Args:
            n: Which one, from 1; 0 for none, to count them.
            lost: Carry the operation out, and lose the answer: a commit then has happened.
        """
        self.count, self.fired = 0, False
        listeners = self._listeners(n, lost)
        for name, listener in listeners.items():
            event.listen(self._engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners.items():
                event.remove(self._engine, name, listener)

    def _listeners(self, n: int, lost: bool) -> dict[str, Callable[..., None]]:
        def before_statement(*_args: Any) -> None:
            if self._is_due(n) and not lost:
                self._break()

        def after_statement(*_args: Any) -> None:
            if lost and self.count == n and not self.fired:
                self._break()

        def before_commit(connection: Connection) -> None:
            if self._is_due(n):
                if lost:
                    connection.dialect.do_commit(connection.connection)
                self._break()

        return {
            "before_cursor_execute": before_statement,
            "after_cursor_execute": after_statement,
            "commit": before_commit,
        }

    def _is_due(self, n: int) -> bool:
        self.count += 1
        return self.count == n

    def _break(self) -> NoReturn:
        self.fired = True
        raise OperationalError("an injected fault", None, InjectedError("the connection broke"))
