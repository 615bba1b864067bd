"""The registry: VOs, groups, users, hosts, and whose a certificate is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from dirac.core.unit import UnitOfWork
from dirac.systems.identity.models import RegisteredGroup, RegisteredHost, RegisteredUser, RegisteredVO
from dirac.systems.identity.ports.tokens import RevocationRecord


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
    """Whose the name of a certificate is: a member of a VO, or a host, whose VO is empty.

    Attributes:
        since: When it was named there first; None if that was before it was noted.
    """

    vo: str
    sub: str
    username: str
    groups: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    since: datetime | None = None


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

    async def certificates(self, vo: str, sub: str | None) -> int:
        """Count the names of certificates of a user, or of all users of a VO."""
        ...

    async def change(self, changes: RegistryChanges) -> None:
        """Drop first, then put."""
        ...


class RegistryUnit(UnitOfWork, Protocol):
    """What a unit of another system offers, so that the registry can be changed in it."""

    @property
    def registry(self) -> RegistryRepository:
        """VOs, groups and users."""
        ...
