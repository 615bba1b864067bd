"""What the configuration's logic needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dirac.core.unit import UnitOfWork
from dirac.systems.configuration.models import Snapshot, Version
from dirac.systems.identity.models import RegisteredHost, RegisteredVO


class Versions(Protocol):
    """The accepted configurations, by number."""

    async def head(self) -> tuple[int, str]:
        """Return number and digest of the newest one; 0 and nothing if there is none. Cheap."""
        ...

    async def snapshot(self, number: int | None = None) -> Snapshot | None:
        """Return one, or the newest; None if there is none."""
        ...

    async def text(self, number: int) -> str | None:
        """Return the text that one was given as; None if there is none."""
        ...

    async def listed(self, limit: int, before: int | None) -> list[Version]:
        """Return the newest ones, newest first, of those with a number below `before`."""
        ...

    async def add(self, version: Version, text: str, normal_form: bytes) -> bool:
        """Keep one; return False if there is one with that number already."""
        ...


class ConfigurationUnit(UnitOfWork, Protocol):
    """A unit of work on the configuration."""

    @property
    def versions(self) -> Versions:
        """The accepted configurations."""
        ...


class Registry(Protocol):
    """The identity system's list of communities and their members."""

    async def replace(
        self, unit: Any, vos: Sequence[RegisteredVO], *, hosts: Sequence[RegisteredHost], actor: str
    ) -> None:
        """Make this the list, in the caller's unit, which carries what the identity system needs there."""
        ...
