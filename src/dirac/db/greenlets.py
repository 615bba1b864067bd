"""SQLAlchemy's calls under asyncio, each in a greenlet that has served others before.

SQLAlchemy runs what is not asynchronous in a greenlet, from which the driver's awaitables come out, and makes
a new one for every statement (`sqlalchemy.util.greenlet_spawn`). From Python 3.11 on, a new greenlet asks the
system for memory of its own and gives it back at its end, which takes several times as long as all the rest.
These here are kept.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")

_MOST_IDLE = 64


class _Worker(greenlet):  # type: ignore[misc]  # it has no types
    """Runs one call after the other; ends with the first that raises.

    Attributes:
        done: Whether its call has returned.
        result: What the call returned.
    """

    __sqlalchemy_greenlet_provider__ = True  # where `sqlalchemy.util.await_only` may be called
    done = False
    result: Any = None

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        while True:
            self.result = function(*arguments)
            del arguments  # they would live until the next call
            self.done = True
            assert self.parent is not None  # noqa: S101 - it is whoever waits for the call
            function, arguments = self.parent.switch()


class _Idle(threading.local):
    """Workers without a call; they cannot leave their thread."""

    def __init__(self) -> None:
        self.workers: list[_Worker] = []


_idle = _Idle()


async def in_greenlet(function: Callable[..., T], *arguments: Any) -> T:
    """Call something that waits by `sqlalchemy.util.await_only`, and return its result."""
    workers, caller = _idle.workers, getcurrent()
    worker = workers.pop() if workers else _Worker()
    worker.parent, worker.gr_context, worker.done = caller, caller.gr_context, False
    awaitable = worker.switch(function, arguments)
    while not worker.done:
        try:
            value = await awaitable
        except BaseException:
            awaitable = worker.throw(*sys.exc_info())
        else:
            awaitable = worker.switch(value)
    result: T = worker.result
    worker.result = worker.gr_context = None
    if len(workers) < _MOST_IDLE:
        workers.append(worker)
    return result
