"""Tokens: keys that sign them, clients that ask for them, and revocations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

Revocable: TypeAlias = Literal["pilot", "site", "vo", "user", "person", "session", "token", "client", "proxy"]
"""What a revocation is about; `person` are tokens that somebody logged in for, `user` those of jobs, too.

`proxy` is a proxy that was kept here, by its fingerprint, with whatever was made of it.
"""


class RevocationRecord(msgspec.Struct, frozen=True):
    """Tokens that are refused though they have not ended.

    Attributes:
        kind: What `name` names.
        vo: Tokens of this VO; empty where the name says it all, or for those of every VO.
        name: Which.
        before: Those that were made until then.
        expires: When the last of them would have ended.
    """

    kind: Revocable
    vo: str
    name: str
    before: datetime
    expires: datetime


class ClientRecord(msgspec.Struct, frozen=True):
    """A client that proves who it is.

    Attributes:
        client_id: Its name.
        vo: The VO it belongs to; empty for one of the installation.
        properties: What it may do at most.
        secret_digest: Of its secret.
        created: When it was registered.
        created_by: By whom.
        jwks: Its public keys (RFC 7517), if it signs assertions; then it has no secret.
    """

    client_id: str
    vo: str
    properties: tuple[str, ...]
    secret_digest: str
    created: datetime
    created_by: str
    jwks: dict[str, Any] | None = None


class RevocationRepository(Protocol):
    """What was revoked before its end."""

    async def put(self, records: Sequence[RevocationRecord]) -> None:
        """Add revocations, or move on those of the same thing."""
        ...

    async def all(self, now: datetime) -> list[RevocationRecord]:
        """Return those that still mean something."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop those that ended before a moment; return how many."""
        ...


class ClientRepository(Protocol):
    """Registered confidential clients."""

    async def add(self, record: ClientRecord) -> bool:
        """Add a client; False if there is one of that name."""
        ...

    async def find(self, client_id: str) -> ClientRecord | None:
        """Return a client."""
        ...

    async def all(self) -> list[ClientRecord]:
        """Return all clients, in order of names."""
        ...

    async def remove(self, client_id: str) -> bool:
        """Remove a client; False if there is none."""
        ...

    async def use(self, client_id: str, jti: str, expires: datetime) -> bool:
        """Note that an assertion was shown; False if it was before."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop assertions that ended before a moment; return how many."""
        ...


class KeyRecord(msgspec.Struct, frozen=True):
    """A signing key as it is kept."""

    kid: str
    sealed: bytes
    created: datetime
    signs_from: datetime
    expires: datetime | None = None


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
