"""Sessions: refresh tokens that follow one another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import msgspec

from dirac.systems.identity.ports.logins import Scope

SessionState: TypeAlias = Literal["Active", "Rotated", "Revoked"]


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

    async def revoke(self, families: Sequence[str]) -> int:
        """End sessions; return how many could have been continued."""
        ...

    async def revoke_of(self, vo: str, subs: Sequence[str] | None) -> int:
        """End all sessions of some users, or of a whole VO; return how many could have been continued."""
        ...

    async def active(self, vo: str, sub: str | None, now: datetime) -> list[RefreshRecord]:
        """Return the active tokens of a user, or of a whole VO, newest first."""
        ...

    async def newest(self, vo: str | None, now: datetime, limit: int) -> list[RefreshRecord]:
        """Return some of the active tokens of a VO, or of all, newest first."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop tokens that ended before a moment; return how many."""
        ...
