"""Secrets of pilots and worker nodes, and the pilots that log in with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec


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

    async def holds(self, stamp: str, job_id: int, attempt: int) -> bool:
        """Tell whether a pilot has this run of a job at this moment."""
        ...

    async def states(self, stamps: Sequence[str]) -> dict[str, PilotState]:
        """Return how pilots are and which runs they hold, by stamp; those without a record are left out."""
        ...


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

    async def good(self, site: str | None) -> list[NodeCredentialRecord]:
        """Return those that were not revoked, at a site or everywhere, in order of places."""
        ...

    async def revoke(self, site: str, ce: str | None, now: datetime) -> int:
        """Revoke the credentials of a computing element, or of a whole site; return how many were good."""
        ...
