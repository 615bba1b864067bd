"""Tokens that are refused before their end: a few rows, which every process holds in memory.

A look at them costs nothing that a request could notice: they are read again every few seconds, and a token
that was looked at is looked at again only after they have changed. What is revoked here is refused here at
once, and by other processes `revocation_refresh_seconds` later at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator

from dirac.core.errors import UnavailableError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.identity.logic.claims import Claims
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

log = logging.getLogger(__name__)
_Key = tuple[str, str, str]
_SHORTEST_PAUSE = 1.0
# Clocks of servers differ, and a token may just have been signed when its subject was revoked.
_MARGIN = 2.0
_NEVER = float("-inf")


class Revocations:
    """What is revoked, from the database and fresh.

    Args:
        units: Where it is kept.
        clock: When it is read again.
        settings: How often that is.

    Attributes:
        version: Changes whenever something more is revoked.
    """

    def __init__(self, units: Units[Unit], clock: Clock, settings: IdentitySettings) -> None:
        self._units = units
        self._clock = clock
        self._every = settings.revocation_refresh_seconds
        self._before: dict[_Key, float] = {}
        self._due = float("-inf")
        self._reading = asyncio.Lock()
        self.version = 0

    async def follow(self) -> None:
        """Read again what is revoked, if that was some time ago.

        Raises:
            UnavailableError: It cannot be read, and never was: nobody is let in on a guess.
        """
        if self._clock.monotonic() < self._due:
            return
        async with self._reading:
            if self._clock.monotonic() < self._due:
                return
            try:
                await self._read()
            except UnavailableError:
                if not self.version:
                    raise
                # Without a database nothing is answered anyway; what is known goes on counting.
                self._due = self._clock.monotonic() + _SHORTEST_PAUSE
                log.warning("revocations cannot be read; going on with those that are known")

    def expect(self) -> None:
        """Have the next look at a token read what has just been revoked."""
        self._due = float("-inf")

    def covers(self, claims: Claims) -> bool:
        """Tell whether a token is revoked."""
        return bool(self._before) and self.since(claims.iat, _keys(claims))

    def since(self, moment: float, keys: Iterable[tuple[str, str, str]]) -> bool:
        """Tell whether something of these (kind, VO, name) was revoked since a moment."""
        before = self._before
        return any(moment <= before.get(key, _NEVER) + _MARGIN for key in keys)

    async def _read(self) -> None:
        async with self._units.read() as unit:
            records = await unit.revocations.all(unit.now)
        found: dict[_Key, float] = {(one.kind, one.vo, one.name): one.before.timestamp() for one in records}
        if not self.version or any(self._before.get(key) != moment for key, moment in found.items()):
            self.version += 1
        self._before = found
        self._due = self._clock.monotonic() + self._every


def _keys(claims: Claims) -> Iterator[_Key]:
    """Yield whatever a token would be revoked with."""
    vo, sub = claims.vo, claims.sub.partition(":")[2]
    yield "token", "", claims.jti
    yield "token", "", claims.origin
    yield "session", "", claims.sid
    yield "vo", vo, ""
    yield "user", vo, sub
    yield "user", vo, claims.owner_sub
    if claims.kind == "user":
        yield "person", vo, sub
    if claims.client_id:
        yield "client", "", claims.client_id
    if claims.pilot_stamp:
        for whose in (vo, ""):
            yield "pilot", whose, claims.pilot_stamp
            yield "site", whose, claims.pilot_site
