"""What a unit of work of the identity system offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, TypeAlias

from dirac.core.search import Page, Paging, SearchParams
from dirac.core.unit import UnitOfWork
from dirac.systems.identity.models import AuditRecord, Identity
from dirac.systems.identity.ports.accounts import AccountRepository, PasswordRepository
from dirac.systems.identity.ports.certificates import ProxyRepository
from dirac.systems.identity.ports.logins import FlowRepository, LoginRepository
from dirac.systems.identity.ports.pilots import (
    IssuedSecretRepository,
    NodeCredentialRepository,
    PilotRecords,
    PilotSecretRepository,
)
from dirac.systems.identity.ports.registry import RegistryUnit
from dirac.systems.identity.ports.sessions import SessionRepository
from dirac.systems.identity.ports.tokens import ClientRepository, KeyRepository, RevocationRepository

Seconds: TypeAlias = Callable[[], Awaitable[int]]


class AuditRepository(Protocol):
    """The audit log."""

    async def add(self, record: AuditRecord) -> None:
        """Add a row."""
        ...

    async def faults(self, identity: Identity, since: datetime) -> int:
        """Count the rows about what was not carried out for a caller; pilots and jobs of a VO are one."""
        ...

    async def refusal(self, request: str) -> AuditRecord | None:
        """Return the row about a refused request."""
        ...

    async def search(self, params: SearchParams, paging: Paging, *, vo: str | None) -> Page:
        """Return a page of the rows of a VO, or of all."""
        ...


class AuditUnit(UnitOfWork, Protocol):
    """What a unit offers, so that a row of the audit log can be added in it."""

    @property
    def audit(self) -> AuditRepository:
        """The audit log."""
        ...


class Unit(RegistryUnit, AuditUnit, Protocol):
    """A unit of work of the identity system."""

    @property
    def keys(self) -> KeyRepository:
        """Signing keys."""
        ...

    @property
    def flows(self) -> FlowRepository:
        """Logins on their way."""
        ...

    @property
    def sessions(self) -> SessionRepository:
        """Refresh tokens."""
        ...

    @property
    def passwords(self) -> PasswordRepository:
        """Digests of passwords."""
        ...

    @property
    def pilot_secrets(self) -> PilotSecretRepository:
        """Secrets of pilots."""
        ...

    @property
    def nodes(self) -> NodeCredentialRepository:
        """Credentials of worker nodes."""
        ...

    @property
    def clients(self) -> ClientRepository:
        """Registered confidential clients."""
        ...

    @property
    def revocations(self) -> RevocationRepository:
        """What was revoked before its end."""
        ...

    @property
    def issued_secrets(self) -> IssuedSecretRepository:
        """Secrets of pilots that are started elsewhere."""
        ...

    @property
    def pilot_records(self) -> PilotRecords | None:
        """Who keeps the records of pilots; None where nobody does."""
        ...

    @property
    def proxies(self) -> ProxyRepository:
        """Proxies of users."""
        ...

    @property
    def accounts(self) -> AccountRepository:
        """What outside providers say of people."""
        ...

    @property
    def logins(self) -> LoginRepository:
        """Logins that have more than one step."""
        ...
