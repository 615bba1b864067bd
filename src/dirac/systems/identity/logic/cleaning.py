"""Dropping what is over."""

from __future__ import annotations

from datetime import timedelta

from dirac.core.unit import Units
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

# A device that asks late is told that its login has expired, rather than that there is none.
_KEEP = timedelta(hours=1)


class Cleaning:
    """Drops logins, sessions, secrets, revocations and failures that are over.

    Args:
        units: Where they are kept.
        settings: How long failures count.
    """

    def __init__(self, units: Units[Unit], settings: IdentitySettings) -> None:
        self._units = units
        self._forget = timedelta(seconds=settings.forget_failures_seconds)

    async def clean(self, *, entry: str | None = None) -> int:
        """Drop everything that was over an hour ago; return how much that was.

        Args:
            entry: Background task that this is, completed together with the effect.
        """
        async with self._units.write() as unit:
            if entry is not None:
                unit.complete(entry)
            before = unit.now - _KEEP
            return (
                await unit.flows.drop(before)
                + await unit.logins.drop(before)
                + await unit.sessions.drop(before)
                + await unit.pilot_secrets.drop(before)
                + await unit.issued_secrets.drop(before)
                + await unit.revocations.drop(before)
                + await unit.proxies.drop(before)
                + await unit.clients.drop(before)
                + await unit.passwords.drop(min(before, unit.now - self._forget))
            )
