"""What a use case may do to the world: one unit of work, committed once, with its events and tasks.

The logic of a system sees these protocols only; `dirac.db` implements them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

U_co = TypeVar("U_co", covariant=True)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened; the history of everything is made of these.

    Attributes:
        kind: What happened, as ``system.noun.verb-in-past``, for instance ``workload.job.status``.
        vo: The virtual organisation it belongs to, empty for the installation itself.
        subject_kind: What it happened to: ``job``, ``pilot``, ``user``, ``configuration``.
        subject_id: Which one.
        time: When it happened; may be earlier than when it was recorded.
        actor: Who caused it.
        attempt: The run of the job it belongs to, if any.
        data: Further facts, JSON values only.
    """

    kind: str
    vo: str
    subject_kind: str
    subject_id: str
    time: datetime
    actor: str
    attempt: int | None = None
    data: dict[str, Any] = {}


class UnitOfWork(Protocol):
    """One transaction. Leaving it without an error commits everything at once, else nothing."""

    @property
    def now(self) -> datetime:
        """The time at which the unit began; the one timestamp of all that it writes."""
        ...

    def record(self, event: Event) -> None:
        """Append an event to the history."""
        ...

    def enqueue(
        self,
        task: str,
        args: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        delay: float = 0.0,
    ) -> None:
        """Ask for background work, handed out after the commit.

        Args:
            task: Name of a declared task.
            args: Its arguments, JSON values only.
            key: While an entry with this key has not been begun, another one is not added; it begins at
                the earlier of the two moments.
            delay: Seconds before it may begin.
        """
        ...

    def complete(self, entry: str) -> None:
        """Mark a background task's entry as done, together with the effect it has here.

        If another execution has done so already, the unit fails with a `ConflictError` and has no effect.
        """
        ...


class Units(Protocol[U_co]):
    """Where a use case gets its units of work from."""

    def write(self) -> AbstractAsyncContextManager[U_co]:
        """Begin a unit that may change things."""
        ...

    def single(self) -> AbstractAsyncContextManager[U_co]:
        """Begin a unit that changes things by one statement at most: no event, no task, no completion."""
        ...

    def read(self) -> AbstractAsyncContextManager[U_co]:
        """Begin a unit that only looks."""
        ...
