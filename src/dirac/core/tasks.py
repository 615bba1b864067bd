"""Background work, declared: systems list their tasks, the server runs them.

A task is executed at least once. It is idempotent, and marks its entry done in the transaction of its
effect (`UnitOfWork.complete`), so that a crash between the two cannot happen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

Provider = Callable[[type], Any]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon a failed task is tried again before it is parked for an operator.

    Attributes:
        tries: Number of executions in all.
        first_delay: Seconds before the second one.
        factor: Growth of the delay from one try to the next.
        longest_delay: Seconds it never exceeds.
    """

    tries: int = 8
    first_delay: float = 1.0
    factor: float = 3.0
    longest_delay: float = 600.0

    def delay(self, tries: int) -> float | None:
        """Return the seconds to wait after so many failed tries, None to give up."""
        if tries >= self.tries:
            return None
        return min(self.first_delay * self.factor ** (tries - 1), self.longest_delay)


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a task.

    Attributes:
        entry: Identifier of its outbox entry, to be marked done by `UnitOfWork.complete`.
        args: The arguments it was enqueued with.
        provide: Gives the object of a type that the composition root has built.
    """

    entry: str
    args: dict[str, Any]
    provide: Provider


@dataclass(frozen=True, slots=True)
class Task:
    """A declared task.

    Attributes:
        name: ``system.verb_noun``; part of the wire format between server and worker.
        run: What it does.
        retry: What happens when it raises.
        every: Seconds between two runs for periodic work, None for work on demand. Runs do not overlap.
        deadline: Seconds that an execution may take; then it is ended and counts as failed.
    """

    name: str
    run: Callable[[Execution], Awaitable[None]]
    retry: Retry = field(default_factory=Retry)
    every: float | None = None
    deadline: float = 300.0
