"""What every system's unit of work is: a transaction, to which the system adds its stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dirac.core.unit import Event
from dirac.db.history import forget, history
from dirac.db.transaction import Transaction


class SystemUnit:
    """A transaction as the logic sees it (`dirac.core.unit.UnitOfWork`).

    Args:
        tx: The transaction.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    @property
    def now(self) -> datetime:
        """The time at which the transaction began."""
        return self._tx.now

    def record(self, event: Event) -> None:
        """Append an event to the history."""
        self._tx.record(event)

    def enqueue(
        self,
        task: str,
        args: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        delay: float = 0.0,
    ) -> None:
        """Ask for background work, handed out after the commit."""
        self._tx.enqueue(task, args, key=key, delay=delay)

    def complete(self, entry: str) -> None:
        """Mark a background task's entry as done."""
        self._tx.complete(entry)

    async def recall(self, scope: str, key: str, digest: str) -> str | None:
        """Return the answer that was given for this idempotency key, None if it is new."""
        return await self._tx.recall(scope, key, digest)

    async def remember(self, scope: str, key: str, digest: str, answer: str) -> None:
        """Keep the answer to a request for its repetition."""
        await self._tx.remember(scope, key, digest, answer)

    async def history(self, subject_kind: str, subject_ids: Sequence[str]) -> list[Event]:
        """Return all events of these subjects, in the order in which they were recorded."""
        return await history(self._tx, subject_kind, subject_ids)

    async def forget(self, subject_kind: str, subject_ids: Sequence[str]) -> None:
        """Remove all events of these subjects that are there; what this unit records stays."""
        await forget(self._tx, subject_kind, subject_ids)
