"""The configuration in memory: parsed, at most a second old, and the last good one if the newest is not."""

from __future__ import annotations

import asyncio
import logging

from dirac.core.errors import InternalError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.configuration.layout import EMPTY, Part, State, load
from dirac.systems.configuration.models import Snapshot, Tree
from dirac.systems.configuration.ports import ConfigurationUnit

CHECK_SECONDS = 1.0
"""How long another process's new version may go unnoticed."""

_BACK = 20

log = logging.getLogger(__name__)


class Keeper:
    """Keeps the newest version that can be read.

    Args:
        units: Units of work on the configuration.
        clock: Tells when to look for a new version.

    Attributes:
        problem: Why the newest version is not the one in force; None if it is.
    """

    def __init__(self, units: Units[ConfigurationUnit], clock: Clock) -> None:
        self._units = units
        self._clock = clock
        self._state = State(EMPTY, {})
        self._seen: tuple[int, str] | None = None
        self._good_until = float("-inf")
        self._loading = asyncio.Lock()
        self.problem: str | None = None

    async def current(self) -> Snapshot:
        """Return the configuration; at most `CHECK_SECONDS` old, and never older than an own application."""
        if self._clock.monotonic() >= self._good_until:
            async with self._loading:
                if self._clock.monotonic() >= self._good_until:
                    asked = self._clock.monotonic()
                    async with self._units.read() as unit:
                        await self._follow(unit)
                    self._good_until = asked + CHECK_SECONDS
        return self._state.snapshot

    async def newest(self, unit: ConfigurationUnit) -> State:
        """Return the newest version, as the database has it at this moment.

        Raises:
            InternalError: It was written by another release, and this one cannot read it.
        """
        number, name = await unit.versions.head()
        state = self._state
        if (number, name) == (state.snapshot.version, state.snapshot.digest):
            return state
        return await load(unit, number, state) or State(EMPTY, {})

    async def newest_or_unreadable(self, unit: ConfigurationUnit) -> State:
        """Return the newest version; if it cannot be read, its number and the names of its files."""
        try:
            return await self.newest(unit)
        except InternalError:
            number, name = await unit.versions.head()
            names = await unit.versions.names(number)
            parts = {each: Part("", Tree()) for each in sorted(names)}
            return State(Snapshot(version=number, digest=name), parts, unreadable=True)

    async def adopt(self, state: State) -> None:
        """Go on with what an application has just found or made."""
        async with self._loading:  # one who is reading an older version finishes first
            if state.snapshot.version >= self._state.snapshot.version:
                self._keep(state)
                self._good_until = self._clock.monotonic() + CHECK_SECONDS

    async def _follow(self, unit: ConfigurationUnit) -> None:
        head = await unit.versions.head()
        if head == self._seen:
            return
        number = head[0]
        try:
            self._keep(await load(unit, number, self._state) or State(EMPTY, {}))
        except InternalError as error:
            self._tell(number, error)
            if self._seen is None:  # this process has just begun
                self._keep(await self._last_good(unit, number), problem=self.problem)
        self._seen = head

    async def _last_good(self, unit: ConfigurationUnit, number: int) -> State:
        for older in range(number - 1, max(number - _BACK, 0), -1):
            try:
                state = await load(unit, older)
            except InternalError:
                continue
            if state is not None:
                return state
        raise InternalError(self.problem or f"version {number} of the configuration cannot be read")

    def _tell(self, number: int, error: InternalError) -> None:
        self.problem = f"version {number} of the configuration is not in force: {error}"
        log.error("%s; an older one stays in force", self.problem)

    def _keep(self, state: State, problem: str | None = None) -> None:
        self._state = state
        self._seen = (state.snapshot.version, state.snapshot.digest)
        self.problem = problem
