"""A transaction dressed as the identity system's unit of work."""

from __future__ import annotations

from dirac.db.transaction import Transaction
from dirac.db.unit import SystemUnit
from dirac.systems.identity.store.audit import AuditStore
from dirac.systems.identity.store.flows import FlowStore
from dirac.systems.identity.store.keys import KeyStore
from dirac.systems.identity.store.nodes import NodeCredentialStore
from dirac.systems.identity.store.passwords import PasswordStore
from dirac.systems.identity.store.pilots import PilotSecretStore
from dirac.systems.identity.store.registry import RegistryStore
from dirac.systems.identity.store.sessions import SessionStore


class IdentityUnit(SystemUnit):
    """Implements `dirac.systems.identity.ports.Unit`."""

    def __init__(self, tx: Transaction) -> None:
        super().__init__(tx)
        self.registry = RegistryStore(tx)
        self.keys = KeyStore(tx)
        self.flows = FlowStore(tx)
        self.sessions = SessionStore(tx)
        self.passwords = PasswordStore(tx)
        self.pilot_secrets = PilotSecretStore(tx)
        self.nodes = NodeCredentialStore(tx)
        self.audit = AuditStore(tx)
