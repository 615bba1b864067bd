"""Sessions: refresh tokens that follow one another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import msgspec

from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.registry import Member

SessionState: TypeAlias = Literal["Active", "Rotated", "Revoked"]


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
