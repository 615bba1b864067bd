"""What is known of people: passwords, failed logins, what outside providers say, what was accepted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec


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


class Failures(msgspec.Struct, frozen=True):
    """How often somebody's logins failed, and when the last one did."""

    count: int
    last: datetime


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

    async def regrant(self, vo: str, sub: str, sealed: bytes) -> None:
        """Keep what lets us ask the provider again, in the place of what did so before."""
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
