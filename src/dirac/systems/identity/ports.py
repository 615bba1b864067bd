"""What the logic of the identity system needs from outside, and the records that pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import msgspec

from dirac.core.search import Page, Paging, SearchParams
from dirac.core.unit import UnitOfWork
from dirac.systems.identity.models import (
    AuditRecord,
    Identity,
    RegisteredGroup,
    RegisteredHost,
    RegisteredUser,
    RegisteredVO,
)
from dirac.systems.identity.ports_tokens import (
    ClientRepository,
    IssuedSecretRepository,
    PilotRecords,
    Reach,
    RevocationRecord,
    RevocationRepository,
    SecretCount,
)

DeviceState: TypeAlias = Literal["Pending", "Confirmed", "Denied", "Redeemed"]
SessionState: TypeAlias = Literal["Active", "Rotated", "Revoked"]
LoginStage: TypeAlias = Literal["Begun", "Asked", "Known", "Done"]
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
    """A user, and what each of the user's groups may do.

    Attributes:
        vo: The virtual organisation.
        sub: Subject within it.
        username: For people to read.
        suspended: Whether the configuration or an outside provider says so.
        groups: Properties by group.
        declared: Whether the configuration declares the user; then its word on groups holds.
        outside: Whether an outside provider stands by the user, and is to be asked from time to time.
    """

    vo: str
    sub: str
    username: str
    suspended: bool
    groups: dict[str, tuple[str, ...]]
    declared: bool = True
    outside: bool = False


class Bearer(msgspec.Struct, frozen=True):
    """Whose the name of a certificate is: a member of a VO, or a host, whose VO is empty."""

    vo: str
    sub: str
    username: str
    groups: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()


class ProxyRecord(msgspec.Struct, frozen=True):
    """A proxy that somebody has delegated to this installation; its key is sealed."""

    proxy_id: str
    vo: str
    sub: str
    dirac_group: str
    subject: str
    limited: bool
    chain: bytes
    sealed: bytes
    created: datetime
    expires: datetime


class ProxyRequestRecord(msgspec.Struct, frozen=True):
    """A key that was made for a proxy, and waits for its owner to sign it."""

    proxy_id: str
    vo: str
    sub: str
    sealed: bytes
    created: datetime
    expires: datetime


class JudgedChain(Protocol):
    """What a verified chain of certificates says (`dirac.transport.authorities.Judged`)."""

    @property
    def subject(self) -> str:
        """Name of the certificate of the user or host."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate that was shown."""
        ...

    @property
    def is_proxy(self) -> bool:
        """Whether that is a proxy."""
        ...

    @property
    def limited(self) -> bool:
        """Whether that is a limited one."""
        ...

    @property
    def group(self) -> str | None:
        """DIRAC's group in it."""
        ...

    @property
    def vos(self) -> tuple[str, ...]:
        """VOs that VOMS says its bearer is in."""
        ...

    @property
    def not_after(self) -> datetime:
        """When it ends."""
        ...


class ChainJudge(Protocol):
    """Verifies chains of certificates."""

    @property
    def version(self) -> int:
        """Changes when another judgement is possible."""
        ...

    def judge(self, certificates: Sequence[bytes]) -> JudgedChain:
        """Return what a chain (DER, its bearer's certificate first) says.

        Raises:
            UnauthenticatedError: It is not good here.
        """
        ...


class RegistryChanges(msgspec.Struct, frozen=True):
    """What is to be dropped from the registry and what put into it; a changed thing is in both.

    Attributes:
        revoke: Whose access tokens are good no longer.
    """

    drop_vos: list[str] = []
    put_vos: list[RegisteredVO] = []
    drop_groups: list[tuple[str, str]] = []
    put_groups: list[tuple[str, RegisteredGroup]] = []
    drop_users: list[tuple[str, str]] = []
    put_users: list[tuple[str, RegisteredUser]] = []
    revoke: list[RevocationRecord] = []
    drop_hosts: list[str] = []
    put_hosts: list[RegisteredHost] = []


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
    """The refresh token that is good of a session; a refresh replaces it in its place.

    Attributes:
        family: The session.
        created: When it replaced the one before it.
        expires: When it ends if it is not used.
        session_ends: When the session ends, used or not.
        rotated: When it was replaced, by an older version, which kept those that were.
        successor: What it was replaced by, by an older version.
        previous: Identifier of the token that it has replaced.
    """

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
    previous: str | None = None


class PilotSecretRecord(msgspec.Struct, frozen=True):
    """The secret of a pilot, as a digest."""

    stamp: str
    vo: str
    secret_digest: str
    expires: datetime
    used: datetime | None = None
    site: str | None = None
    ce: str | None = None


class NodeCredentialRecord(msgspec.Struct, frozen=True):
    """What worker nodes of one computing element show, as a digest."""

    credential_id: str
    site: str
    ce: str
    secret_digest: str
    created: datetime
    revoked: datetime | None = None


class AccountRecord(msgspec.Struct, frozen=True):
    """What an outside provider said of a person when it was last asked.

    Attributes:
        vo: The virtual organisation that has this provider.
        sub: Subject at the provider.
        issuer: The provider; the same subject at another one is somebody else.
        username: For people to read.
        email: Mail address, empty if not known.
        groups: Groups of the VO that follow from what it said.
        suspended: Whether its list of users has the person as inactive, or not at all.
        sealed: How to ask again, sealed; None once the provider does not stand by the login any more.
        checked: When it said so.
        asking: Until when somebody is asking it at this moment.
    """

    vo: str
    sub: str
    issuer: str
    username: str
    email: str
    groups: tuple[str, ...]
    suspended: bool
    sealed: bytes | None
    checked: datetime
    asking: datetime | None = None


class LoginRecord(msgspec.Struct, frozen=True):
    """A login in a browser that has more than one step; `sub` is known after the first.

    Attributes:
        state_digest: Digest of what the browser carries from step to step.
        cookie_digest: Digest of what only the browser has that began.
        vo: The VO it is for.
        user_code: Code of the device that waits for it, if one does.
        request: What the program asked for that waits for it, if one does.
        stage: ``Begun``: sent to a provider; ``Asked``: came back; ``Known``: we know who it is; ``Done``.
        sub: Who it is.
        expires: Its end.
    """

    state_digest: str
    cookie_digest: str
    vo: str
    user_code: str | None
    request: dict[str, str] | None
    stage: LoginStage
    sub: str | None
    expires: datetime


class Failures(msgspec.Struct, frozen=True):
    """How often somebody's logins failed, and when the last one did."""

    count: int
    last: datetime


class RegistryRepository(Protocol):
    """VOs, groups and users."""

    async def names(self) -> list[str]:
        """Return the names of all VOs."""
        ...

    async def vos(self, scope: Collection[str] | None = None) -> list[RegisteredVO]:
        """Return everything, in order of names."""
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

    async def user_names(self, subjects: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return the names of users, by VO and subject."""
        ...

    async def hosts(self) -> list[RegisteredHost]:
        """Return all hosts, in order of names."""
        ...

    async def bearers(self, dn: str) -> list[Bearer]:
        """Return who has a certificate of that name: one for each VO, or one host."""
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

    async def held(self, jti: str, vo: str, sub: str) -> tuple[RefreshRecord | None, Member | None]:
        """Return a token of a user, and the user; None for what there is not."""
        ...

    async def current(self, family: str) -> RefreshRecord | None:
        """Return the active token of a session."""
        ...

    async def rotate(self, jti: str, successor: RefreshRecord) -> bool:
        """Put another in the place of an active token; False if it is not active any more."""
        ...

    async def revoke(self, family: str) -> int:
        """End a session; return how many of its tokens could still have been presented."""
        ...

    async def revoke_of(self, vo: str, subs: Sequence[str]) -> int:
        """End all sessions of some users; return how many tokens could still have been presented."""
        ...

    async def active(self, vo: str, sub: str | None, now: datetime) -> list[RefreshRecord]:
        """Return the active tokens of a user, or of a whole VO, newest first."""
        ...

    async def newest(self, vo: str | None, now: datetime, limit: int) -> list[RefreshRecord]:
        """Return some of the active tokens of a VO, or of all, newest first."""
        ...

    async def revoke_all(self, vo: str, sub: str | None) -> int:
        """End the sessions of a user, or of a whole VO; return how many could have been continued."""
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


class AccountRepository(Protocol):
    """What outside providers say of people, and what people have accepted."""

    async def find(self, vo: str, sub: str) -> AccountRecord | None:
        """Return what is known of a person."""
        ...

    async def put(self, record: AccountRecord) -> None:
        """Keep what is known of a person now."""
        ...

    async def claim(self, vo: str, sub: str, now: datetime, until: datetime) -> bool:
        """Be the one who asks the provider; False if somebody else is at it."""
        ...

    async def release(self, vo: str, sub: str) -> None:
        """Let others ask again."""
        ...

    async def end(self, vo: str, sub: str) -> None:
        """Forget how to ask: the provider does not stand by the login any more."""
        ...

    async def of_issuer(self, vo: str, issuer: str, until: datetime) -> list[tuple[str, bool]]:
        """Return subjects of whom a provider spoke last until then, and whether they are suspended."""
        ...

    async def suspend(self, vo: str, subs: Sequence[str], *, suspended: bool) -> None:
        """Suspend people, or take it back."""
        ...

    async def accepted(self, vo: str, sub: str, version: str) -> bool:
        """Tell whether somebody has accepted a version of the acceptable-use policy."""
        ...

    async def accept(self, vo: str, sub: str, version: str, now: datetime) -> bool:
        """Keep that somebody has accepted it; False if that was known."""
        ...


class LoginRepository(Protocol):
    """Logins in a browser that have more than one step."""

    async def add(self, record: LoginRecord) -> None:
        """Add a login."""
        ...

    async def find(self, state_digest: str) -> LoginRecord | None:
        """Return a login."""
        ...

    async def move(self, state_digest: str, old: LoginStage, new: LoginStage, sub: str | None) -> bool:
        """Take a login from one stage to the next; False if it is not in the first one."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
        ...


class PilotSecretRepository(Protocol):
    """Secrets of pilots; the workload system adds them in the transaction that makes the pilots."""

    async def add(
        self, stamp: str, vo: str, secret_digest: str, expires: datetime, *, site: str = "", ce: str = ""
    ) -> None:
        """Add the secret of one pilot; a second time changes nothing."""
        ...

    async def add_all(self, records: Sequence[PilotSecretRecord]) -> int:
        """Add the secrets of many pilots; those that are there stay as they are. Return how many were new."""
        ...

    async def find(self, stamp: str) -> PilotSecretRecord | None:
        """Return the secret of a pilot."""
        ...

    async def use(self, stamp: str, now: datetime) -> bool:
        """Use a secret for the first time; False if somebody else did."""
        ...

    async def end(self, reach: Reach, now: datetime) -> int:
        """Let secrets expire; return how many were good and unused."""
        ...

    async def places(self, vo: str | None, site: str | None, now: datetime) -> list[SecretCount]:
        """Count the secrets that are not over, by VO, site and whether they were used."""
        ...

    async def held(
        self, vo: str | None, site: str | None, now: datetime, limit: int
    ) -> list[PilotSecretRecord]:
        """Return the secrets that were used and are not over, the latest first."""
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

    async def revoke(self, site: str, ce: str | None, now: datetime) -> int:
        """Revoke the credentials of a computing element, or of a whole site; return how many were good."""
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


class ProxyRepository(Protocol):
    """Proxies that were delegated to this installation."""

    async def ask(self, record: ProxyRequestRecord) -> None:
        """Keep a key that waits to be signed."""
        ...

    async def waiting(self, vo: str, sub: str, now: datetime) -> int:
        """Return how many keys of a user's wait."""
        ...

    async def asked(self, proxy_id: str) -> ProxyRequestRecord | None:
        """Return a key that waits to be signed."""
        ...

    async def put(self, record: ProxyRecord) -> None:
        """Keep a proxy in place of the one of the same VO, user and group; its key waits no longer."""
        ...

    async def find(self, proxy_id: str) -> ProxyRecord | None:
        """Return a proxy."""
        ...

    async def of(self, vo: str, sub: str | None, now: datetime) -> list[ProxyRecord]:
        """Return what is good of a user's, or of a whole VO's, in order of users and groups."""
        ...

    async def remove(self, proxy_id: str) -> bool:
        """Remove a proxy; False if it is not there."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
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
