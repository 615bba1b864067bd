"""A transaction dressed as the identity system's unit of work."""

from __future__ import annotations

from dirac.db.transaction import Transaction
from dirac.db.unit import SystemUnit
from dirac.systems.identity.ports.pilots import PilotRecords
from dirac.systems.identity.store.accounts import AccountStore
from dirac.systems.identity.store.audit import AuditStore
from dirac.systems.identity.store.clients import ClientStore
from dirac.systems.identity.store.flows import FlowStore
from dirac.systems.identity.store.keys import KeyStore
from dirac.systems.identity.store.logins import LoginStore
from dirac.systems.identity.store.nodes import NodeCredentialStore
from dirac.systems.identity.store.passwords import PasswordStore
from dirac.systems.identity.store.pilots import IssuedSecretStore, PilotSecretStore
from dirac.systems.identity.store.proxies import ProxyStore
from dirac.systems.identity.store.registry import RegistryStore
from dirac.systems.identity.store.revocations import RevocationStore
from dirac.systems.identity.store.sessions import SessionStore


class IdentityUnit(SystemUnit):
    """Implements `dirac.systems.identity.ports.unit.Unit`.

    Args:
        tx: The transaction.
        pilot_records: Who keeps the records of pilots, in the same transaction; None where nobody does.
    """

    def __init__(self, tx: Transaction, pilot_records: PilotRecords | None = None) -> None:
        super().__init__(tx)
        self.registry = RegistryStore(tx)
        self.keys = KeyStore(tx)
        self.flows = FlowStore(tx)
        self.sessions = SessionStore(tx)
        self.passwords = PasswordStore(tx)
        self.pilot_secrets = PilotSecretStore(tx)
        self.nodes = NodeCredentialStore(tx)
        self.clients = ClientStore(tx)
        self.revocations = RevocationStore(tx)
        self.issued_secrets = IssuedSecretStore(tx)
        self.pilot_records = pilot_records
        self.proxies = ProxyStore(tx)
        self.accounts = AccountStore(tx)
        self.logins = LoginStore(tx)
        self.audit = AuditStore(tx)
