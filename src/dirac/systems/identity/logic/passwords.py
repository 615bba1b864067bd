"""Logins with a password, and what happens to those who guess."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import timedelta

from dirac.core.errors import InvalidInputError, NotFoundError, TooManyRequestsError, UnauthenticatedError
from dirac.core.unit import Units
from dirac.resources.identity.base import IdentityProvider
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.ports.accounts import Failures
from dirac.systems.identity.ports.registry import Member
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

Providers = Callable[[str], IdentityProvider]

_SHORTEST, _LONGEST = 8, 1024
_AT_A_TIME = 2  # a check takes 19 MB and a processor; the rest of the server is to stay awake


def wait_after(count: int, settings: IdentitySettings) -> float:
    """Return the seconds between the last of so many failed logins and the next try."""
    over = count - settings.free_failures
    if over < 0:
        return 0.0
    return min(settings.first_wait_seconds * 2.0 ** min(over, 30), settings.longest_wait_seconds)


class Passwords:
    """Sets and checks passwords.

    A failure is counted before the check and forgotten after a success: guesses that are made at the same
    time cannot slip through. The wait is per user, so nobody can lock the others out.

    Args:
        units: Where digests are kept.
        settings: How many failures, how long a wait.
        providers: Gives the plugin of kind ``dirac.identity`` of a name.
    """

    def __init__(self, units: Units[Unit], settings: IdentitySettings, providers: Providers) -> None:
        self._units = units
        self._settings = settings
        self._providers = providers
        self._turn = asyncio.Semaphore(_AT_A_TIME)

    async def set(self, vo: str, sub: str, password: str, *, actor: str = "installation") -> None:
        """Give a user a password.

        Raises:
            InvalidInputError: It is too short or too long.
            NotFoundError: There is no such user.
        """
        if not _SHORTEST <= len(password) <= _LONGEST:
            raise InvalidInputError(
                f"the password has {len(password)} characters", hint=f"Use {_SHORTEST} to {_LONGEST}"
            )
        async with self._units.read() as unit:
            member = await unit.registry.member(vo, sub=sub)
            outlines = await unit.registry.outlines(vo)
        if member is None or not outlines:
            raise NotFoundError(f"there is no user {sub!r} of the VO {vo!r}")
        provider = self._providers(outlines[0].identity_provider)
        async with self._turn:
            digest = await asyncio.to_thread(provider.keep, password)
        async with self._units.write() as unit:
            await unit.passwords.put(vo, sub, digest, unit.now)
            await unit.passwords.forget(_who(vo, member, ""))
            unit.record(about_user("user.password-set", unit.now, vo, sub, actor=actor))

    async def check(self, vo: str, username: str, password: str) -> Member:
        """Return the user with that name and password.

        Raises:
            UnauthenticatedError: There is none; which of the two is wrong is not told.
            TooManyRequestsError: Too many tries have failed; `retry_after` says when the next makes sense.
        """
        async with self._units.write() as unit:
            outlines = await unit.registry.outlines(vo)
            member = await unit.registry.member_called(vo, username=username)
            who = _who(vo, member, username)
            await self._charge(unit, who, username)
            kept = await unit.passwords.digest(vo, member.sub) if member is not None else None
        provider = self._providers(outlines[0].identity_provider) if outlines else None
        right, better = False, None
        if provider is not None:
            async with self._turn:
                right = await asyncio.to_thread(provider.matches, kept, password[:_LONGEST])
                if right and kept is not None and provider.outdated(kept):
                    better = await asyncio.to_thread(provider.keep, password[:_LONGEST])
        async with self._units.write() as unit:
            if member is not None and right:
                if better is not None and await unit.passwords.digest(vo, member.sub) == kept:
                    await unit.passwords.put(vo, member.sub, better, unit.now)
                await unit.passwords.forget(who)
                return member
            if member is not None:
                unit.record(about_user("login.refused", unit.now, vo, member.sub, actor=f"{vo}:?"))
        raise UnauthenticatedError(
            "the user name or the password is wrong", hint=f"This is a login to the VO {vo}"
        )

    async def _charge(self, unit: Unit, who: str, username: str) -> None:
        failures = await unit.passwords.failures(who)
        idle = unit.now - failures.last
        count = failures.count
        if idle > timedelta(seconds=self._settings.forget_failures_seconds):
            count = 0
        wait = wait_after(count, self._settings) - idle.total_seconds()
        if wait > 0:
            raise TooManyRequestsError(
                f"too many logins of {username!r} have failed",
                hint=f"Try again in {round(wait) or 1} seconds",
                retry_after=wait,
            )
        await unit.passwords.count(who, Failures(count + 1, unit.now))


def _who(vo: str, member: Member | None, username: str) -> str:
    """Return whom failures are counted for; a name that nobody has behaves as one that somebody has."""
    name = f"user\n{member.sub}" if member is not None else f"nobody\n{username}"
    return hashlib.sha256(f"{vo}\n{name}".encode()).hexdigest()
