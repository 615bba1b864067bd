"""What the logic of the identity system needs from outside, and the records that pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import msgspec

from dirac.core.search import Page, Paging, SearchParams
from dirac.core.unit import UnitOfWork
from dirac.systems.identity.models import (
    AuditRecord,
    Identity,
    RegisteredGroup,
    RegisteredUser,
    RegisteredVO,
)

DeviceState: TypeAlias = Literal["Pending", "Confirmed", "Denied", "Redeemed"]
SessionState: TypeAlias = Literal["Active", "Rotated", "Revoked"]
Seconds: TypeAlias = Callable[[], Awaitable[int]]


class Scope(msgspec.Struct, frozen=True):
    """What was asked for: a VO, a group of it, and properties besides the group's.

    Attributes:
        vo: The virtual organisation.
        group: The group; None where the VO's default one is meant.
        properties: What is wanted in addition to what the group has.
    """

    vo: str
    group: str | None = None
    properties: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the text it came from, in one fixed order."""
        parts = [f"vo:{self.vo}", *([f"group:{self.group}"] if self.group else [])]
        return " ".join([*parts, *(f"property:{name}" for name in self.properties)])


class Member(msgspec.Struct, frozen=True):
    """A user, and what each of the user's groups may do."""

    vo: str
    sub: str
    username: str
    suspended: bool
    groups: dict[str, tuple[str, ...]]


class RegistryChanges(msgspec.Struct, frozen=True):
    """What is to be dropped from the registry and what put into it; a changed thing is in both."""

    drop_vos: list[str] = []
    put_vos: list[RegisteredVO] = []
    drop_groups: list[tuple[str, str]] = []
    put_groups: list[tuple[str, RegisteredGroup]] = []
    drop_users: list[tuple[str, str]] = []
    put_users: list[tuple[str, RegisteredUser]] = []


class KeyRecord(msgspec.Struct, frozen=True):
    """A signing key as it is kept."""

    kid: str
    sealed: bytes
    created: datetime
    signs_from: datetime
    expires: datetime | None = None


class DeviceRecord(msgspec.Struct, frozen=True):
    """A login that was begun on a device and is confirmed in a browser."""

    device_digest: str
    user_code: str
    client_id: str
    vo: str
    scope: Scope
    state: DeviceState
    sub: str | None
    created: datetime
    expires: datetime
    interval: int
    polled: datetime | None = None


class CodeRecord(msgspec.Struct, frozen=True):
    """An authorisation code, waiting to be exchanged."""

    code_digest: str
    client_id: str
    redirect_uri: str
    state: str
    challenge: str
    vo: str
    sub: str
    scope: Scope
    expires: datetime
    family: str | None = None


class RefreshRecord(msgspec.Struct, frozen=True):
    """A refresh token; those that follow one another are a family, which is one session."""

    jti: str
    family: str
    vo: str
    sub: str
    client_id: str
    scope: Scope
    state: SessionState
    created: datetime
    expires: datetime
    session_ends: datetime
    rotated: datetime | None = None
    successor: str | None = None


class PilotSecretRecord(msgspec.Struct, frozen=True):
    """The secret of a pilot, as a digest."""

    stamp: str
    vo: str
    secret_digest: str
    expires: datetime
    used: datetime | None = None


class NodeCredentialRecord(msgspec.Struct, frozen=True):
    """What worker nodes of one computing element show, as a digest."""

    credential_id: str
    site: str
    ce: str
    secret_digest: str
    created: datetime
    revoked: datetime | None = None


class Failures(msgspec.Struct, frozen=True):
    """How often somebody's logins failed, and when the last one did."""

    count: int
    last: datetime


class RegistryRepository(Protocol):
    """VOs, groups and users."""

    async def vos(self, vo: str | None = None) -> list[RegisteredVO]:
        """Return all VOs, or the one of that name, with everything, in order of names."""
        ...

    async def outlines(self, vo: str | None = None) -> list[RegisteredVO]:
        """Return all VOs, or the one of that name, with their groups and without their users."""
        ...

    async def member(self, vo: str, *, sub: str) -> Member | None:
        """Return a user by subject."""
        ...

    async def member_called(self, vo: str, *, username: str) -> Member | None:
        """Return a user by name."""
        ...

    async def change(self, changes: RegistryChanges) -> None:
        """Drop first, then put."""
        ...


class KeyRepository(Protocol):
    """Signing keys."""

    async def keys(self) -> list[KeyRecord]:
        """Return all keys, the one that signs first first."""
        ...

    async def add(self, record: KeyRecord) -> None:
        """Add a key."""
        ...

    async def retire(self, before: datetime, expires: datetime) -> None:
        """Give an end to all keys that sign from before a moment and have none."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop keys whose end is before a moment; return how many."""
        ...


class FlowRepository(Protocol):
    """Logins on their way."""

    async def add_device(self, record: DeviceRecord) -> bool:
        """Add a device's login; False if its user code is taken."""
        ...

    async def device(self, *, digest: str = "", user_code: str = "") -> DeviceRecord | None:
        """Return a device's login by either of its codes."""
        ...

    async def poll(self, digest: str, now: datetime, interval: int) -> None:
        """Note that the device has asked, and how long it is to wait from now on."""
        ...

    async def move_device(self, digest: str, old: DeviceState, new: DeviceState, sub: str | None) -> bool:
        """Take a login from one state to the next; False if it is not in the first one."""
        ...

    async def add_code(self, record: CodeRecord) -> None:
        """Add an authorisation code."""
        ...

    async def code(self, digest: str) -> CodeRecord | None:
        """Return an authorisation code."""
        ...

    async def take_code(self, digest: str, family: str) -> bool:
        """Exchange a code for a session; False if that was done before."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
        ...


class SessionRepository(Protocol):
    """Refresh tokens."""

    async def add(self, record: RefreshRecord) -> None:
        """Add a token."""
        ...

    async def find(self, jti: str) -> RefreshRecord | None:
        """Return a token."""
        ...

    async def rotate(self, jti: str, successor: str, now: datetime) -> bool:
        """Replace an active token; False if it is not active any more."""
        ...

    async def revoke(self, family: str) -> int:
        """End a session; return how many of its tokens could still have been presented."""
        ...

    async def active(self, vo: str, sub: str | None, now: datetime) -> list[RefreshRecord]:
        """Return the active tokens of a user, or of a whole VO, newest first."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop tokens that ended before a moment; return how many."""
        ...


class PasswordRepository(Protocol):
    """Digests of passwords, and logins that failed."""

    async def digest(self, vo: str, sub: str) -> str | None:
        """Return the digest of a user's password."""
        ...

    async def put(self, vo: str, sub: str, digest: str, now: datetime) -> None:
        """Keep the digest of a user's password."""
        ...

    async def failures(self, who: str) -> Failures:
        """Return what is known, and hold it against others until the unit ends."""
        ...

    async def count(self, who: str, failures: Failures) -> None:
        """Keep a new count."""
        ...

    async def forget(self, who: str) -> None:
        """Forget the failures of somebody who has logged in."""
        ...

    async def drop(self, before: datetime) -> int:
        """Forget failures from before a moment; return how many."""
        ...


class PilotSecretRepository(Protocol):
    """Secrets of pilots; the workload system adds them in the transaction that makes the pilots."""

    async def add(self, stamp: str, vo: str, secret_digest: str, expires: datetime) -> None:
        """Add the secret of one pilot; a second time changes nothing."""
        ...

    async def add_all(self, records: Sequence[PilotSecretRecord]) -> None:
        """Add the secrets of many pilots; those that are there stay as they are."""
        ...

    async def find(self, stamp: str) -> PilotSecretRecord | None:
        """Return the secret of a pilot."""
        ...

    async def use(self, stamp: str, now: datetime) -> bool:
        """Use a secret for the first time; False if somebody else did."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop secrets that ended before a moment; return how many."""
        ...


class NodeCredentialRepository(Protocol):
    """Credentials of worker nodes."""

    async def add(self, record: NodeCredentialRecord) -> None:
        """Add a credential."""
        ...

    async def find(self, credential_id: str) -> NodeCredentialRecord | None:
        """Return a credential."""
        ...

    async def revoke(self, site: str, ce: str, now: datetime) -> int:
        """Revoke the credentials of a computing element; return how many were good."""
        ...


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


class RegistryUnit(UnitOfWork, Protocol):
    """What a unit of another system offers, so that the registry can be changed in it."""

    @property
    def registry(self) -> RegistryRepository:
        """VOs, groups and users."""
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
