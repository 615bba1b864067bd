"""One transaction of the workload system, with its stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dirac.core.unit import Event
from dirac.db.history import history
from dirac.db.transaction import Transaction
from dirac.systems.workload.ports_running import PilotSecretRepository
from dirac.systems.workload.store.jobs import JobStore
from dirac.systems.workload.store.pilots import PilotStore
from dirac.systems.workload.store.runs import RunStore
from dirac.systems.workload.store.sandboxes import SandboxStore


class WorkloadUnit:
    """A transaction dressed with the stores of this system.

    Args:
        tx: The transaction.
        pilot_secrets: The identity system's store of pilots' secrets, in the same transaction; whatever
            starts no pilots can do without.
    """

    def __init__(self, tx: Transaction, pilot_secrets: PilotSecretRepository | None = None) -> None:
        self._tx = tx
        self._pilot_secrets = pilot_secrets
        self.jobs = JobStore(tx)
        self.sandboxes = SandboxStore(tx)
        self.runs = RunStore(tx)
        self.pilots = PilotStore(tx)

    @property
    def pilot_secrets(self) -> PilotSecretRepository:
        """What pilots log in with."""
        if self._pilot_secrets is None:
            raise RuntimeError("this unit was made without a store of pilots' secrets")
        return self._pilot_secrets

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
