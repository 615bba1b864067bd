"""A transaction dressed as the identity system's unit of work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dirac.core.unit import Event
from dirac.db.transaction import Transaction
from dirac.systems.identity.store.flows import FlowStore
from dirac.systems.identity.store.keys import KeyStore
from dirac.systems.identity.store.passwords import PasswordStore
from dirac.systems.identity.store.pilots import PilotSecretStore
from dirac.systems.identity.store.registry import RegistryStore
from dirac.systems.identity.store.sessions import SessionStore


class IdentityUnit:
    """Implements `dirac.systems.identity.ports.Unit`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.registry = RegistryStore(tx)
        self.keys = KeyStore(tx)
        self.flows = FlowStore(tx)
        self.sessions = SessionStore(tx)
        self.passwords = PasswordStore(tx)
        self.pilot_secrets = PilotSecretStore(tx)

    @property
    def now(self) -> datetime:
        """The time at which the unit began."""
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
