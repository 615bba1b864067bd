"""What the logic of pilots needs: their records, their secrets and their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from dirac.core.search import Page, Paging, SearchParams, SummaryParams
from dirac.systems.workload.models import PilotMetadata
from dirac.systems.workload.policy import Visibility


class PilotSecrets(Protocol):
    """Who knows the one-time secrets of pilots."""

    def secret(self, stamp: str) -> str:
        """Return the secret of a pilot, the same each time."""
        ...

    def digest(self, stamp: str) -> str:
        """Return what is stored of the secret of a pilot."""
        ...


class UsedSecret(Protocol):
    """The stored secret of a pilot."""

    @property
    def used(self) -> datetime | None:
        """When the pilot logged in, None if it has not."""
        ...


class PilotTokens(Protocol):
    """Who issues the tokens of pilots."""

    async def pilot_token(self, *, stamp: str, vo: str, seconds: int, site: str = "") -> str:
        """Return a token for a pilot."""
        ...


class PilotSecretRepository(Protocol):
    """The stored secrets of pilots, in the transaction of the pilots themselves."""

    async def find(self, stamp: str) -> UsedSecret | None:
        """Return the secret of a pilot, None once it is forgotten."""
        ...

    async def add(
        self, stamp: str, vo: str, secret_digest: str, expires: datetime, *, site: str = "", ce: str = ""
    ) -> None:
        """Let a pilot with this secret log in, until it expires."""
        ...


class PilotRow(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot.

    Attributes:
        grid_site: The site.
        destination_site: The computing element.
        pilot_reference: Its name there, empty until it was taken.
    """

    pilot_stamp: str
    vo: str
    status: str
    status_reason: str
    grid_type: str
    grid_site: str
    destination_site: str
    queue: str
    pilot_reference: str
    submission_time: datetime
    last_update_time: datetime
    current_job_id: int | None = None


class QueueLoad(msgspec.Struct, frozen=True):
    """Pilots of one queue that have not ended.

    Attributes:
        waiting: Those that do not run yet.
        idle: Those that run and have no job.
        busy: Those that run and have one.
    """

    waiting: int = 0
    idle: int = 0
    busy: int = 0


class PilotRepository(Protocol):
    """Pilots. All methods take and answer in bulk."""

    async def add(self, pilots: Sequence[PilotRow]) -> int:
        """Insert pilots; return how many of these stamps were new."""
        ...

    async def find(self, visible: Visibility, stamps: Sequence[str], *, lock: bool) -> dict[str, PilotRow]:
        """Return those pilots that are visible, by stamp."""
        ...

    async def silent(self, stamps: Sequence[str]) -> dict[str, PilotRow]:
        """Return and lock those of these pilots that run, and have no run whose lease has time left."""
        ...

    async def named(self, visible: Visibility, name: str) -> list[PilotRow]:
        """Return those visible pilots, a few at most, that have this stamp or reference."""
        ...

    async def alive(self) -> list[PilotRow]:
        """Return all pilots that have not ended."""
        ...

    async def loads(self) -> dict[tuple[str, str, str, str], QueueLoad]:
        """Return the pilots that have not ended, counted by VO, site, computing element and queue."""
        ...

    async def aborted(self, since: datetime) -> dict[tuple[str, str, str], int]:
        """Count the pilots that were given up before they ran, by site, computing element and queue."""
        ...

    async def of_element(self, site: str, ce: str) -> list[PilotRow]:
        """Return the pilots of a computing element that have not ended."""
        ...

    async def ended(self, since: datetime, until: datetime) -> list[PilotRow]:
        """Return the pilots that changed last between these moments, and have ended."""
        ...

    async def plan_lock(self) -> None:
        """Wait until nobody else plans pilots; until the end of the transaction nobody else does."""
        ...

    async def update(self, changes: Mapping[str, PilotMetadata]) -> None:
        """Change pilots, by stamp."""
        ...

    async def submitted(self, references: Mapping[str, str]) -> None:
        """Note the names that computing elements gave to pilots, by stamp."""
        ...

    async def search(self, visible: Visibility, params: SearchParams, paging: Paging) -> Page:
        """Return one page of the visible pilots that fit."""
        ...

    async def summary(self, visible: Visibility, params: SummaryParams) -> list[dict[str, Any]]:
        """Count the visible pilots that fit, by the values of some parameters."""
        ...
