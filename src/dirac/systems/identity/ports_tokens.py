"""What the logic of tokens needs from outside: clients, revocations, secrets that are issued in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

Revocable: TypeAlias = Literal["pilot", "site", "vo", "user", "person", "session", "token", "client"]
"""What a revocation is about; `person` are tokens that somebody logged in for, `user` those of jobs, too."""


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


class Reach(msgspec.Struct, frozen=True):
    """Which pilots a revocation is about: those that fit all that is given.

    Attributes:
        vo: Of this VO; of all if it is empty.
        site: At this site.
        stamp: Of this stamp.
    """

    vo: str = ""
    site: str = ""
    stamp: str = ""


class SecretCount(msgspec.Struct, frozen=True):
    """How many pilots' secrets there are of a VO at a site."""

    vo: str
    site: str
    used: int
    unused: int


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


class IssuedSecretRecord(msgspec.Struct, frozen=True):
    """A secret for pilots that are started elsewhere.

    Attributes:
        secret_id: Its public part.
        vo: The VO of these pilots.
        site: Where they are.
        ce: The computing element there.
        secret_digest: Of the whole secret.
        uses: How many pilots may log in with it.
        used: How many have.
        created: When it was issued.
        expires: Until when they may.
    """

    secret_id: str
    vo: str
    site: str
    ce: str
    secret_digest: str
    uses: int
    used: int
    created: datetime
    expires: datetime


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


class IssuedSecretRepository(Protocol):
    """Secrets of pilots that are started elsewhere."""

    async def add(self, records: Sequence[IssuedSecretRecord]) -> None:
        """Add secrets."""
        ...

    async def find(self, secret_id: str) -> IssuedSecretRecord | None:
        """Return a secret."""
        ...

    async def use(self, secret_id: str, now: datetime) -> bool:
        """Count one more use; False if there were enough of them, or it has expired."""
        ...

    async def good(self, vo: str | None, site: str | None, now: datetime) -> list[IssuedSecretRecord]:
        """Return those that may still be used, of a VO or of all, at a site or everywhere."""
        ...

    async def end(self, reach: Reach, now: datetime) -> int:
        """Let secrets expire; return how many were good."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop secrets that ended before a moment; return how many."""
        ...


class PilotState(msgspec.Struct, frozen=True):
    """How a pilot is.

    Attributes:
        status: By its record.
        runs: What it holds, as job and attempt.
    """

    status: str
    runs: list[tuple[int, int]]


class PilotRecords(Protocol):
    """Who keeps the records of pilots, in the same transaction."""

    async def add(self, *, stamp: str, vo: str, site: str, ce: str, actor: str) -> bool:
        """Put a pilot on record that was started elsewhere; False if there is one of that stamp."""
        ...

    async def states(self, stamps: Sequence[str]) -> dict[str, PilotState]:
        """Return how pilots are and which runs they hold, by stamp; those without a record are left out."""
        ...
