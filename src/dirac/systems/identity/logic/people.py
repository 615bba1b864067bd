"""Following the lists of users of outside providers: who is gone or inactive there is suspended here."""

from __future__ import annotations

import logging

from dirac.core.errors import DiracError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.identity.logic.accounts import Accounts
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.registry import Registry
from dirac.systems.identity.ports.unit import Unit

log = logging.getLogger(__name__)


class People:
    """Compares the accounts of each VO with the list of users of its provider.

    Args:
        units: Where accounts are kept.
        accounts: Speaks to the providers.
        registry: Which VOs there are.
        clock: When a list was asked for.
    """

    def __init__(self, units: Units[Unit], accounts: Accounts, registry: Registry, clock: Clock) -> None:
        self._clock = clock
        self._units = units
        self._accounts = accounts
        self._registry = registry

    async def follow(self, *, entry: str | None = None) -> int:
        """Suspend who is gone, and take it back for who is there again; return how many that were.

        A provider that does not answer, or not completely, changes nothing; the others are followed.

        Args:
            entry: Background task that this is, completed at the end.
        """
        changed = 0
        for vo in await self._registry.names():
            try:
                changed += await self._follow(vo)
            except DiracError as error:
                log.warning("the users of %s cannot be compared with their provider's: %s", vo, error)
        if entry is not None:
            async with self._units.write() as unit:
                unit.complete(entry)
        return changed

    async def _follow(self, vo: str) -> int:
        if (await self._accounts.rules(vo)).provider is None:
            return 0
        _, settings, provider = await self._accounts.provider(vo)
        began = self._clock.now()
        listed = await provider.people()
        if listed is None:
            return 0
        async with self._units.write() as unit:
            # Not who has come since: the list may be older.
            known = await unit.accounts.of_issuer(vo, settings.issuer, began)
            gone = [sub for sub, suspended in known if not suspended and not listed.get(sub, False)]
            back = [sub for sub, suspended in known if suspended and listed.get(sub, False)]
            await unit.accounts.suspend(vo, gone, suspended=True)
            await unit.accounts.suspend(vo, back, suspended=False)
            await self._accounts.shut_out(unit, vo, gone)
            for verb, subs in (("suspended", gone), ("restored", back)):
                for sub in subs:
                    unit.record(about_user(f"user.{verb}", unit.now, vo, sub, actor=settings.issuer))
        return len(gone) + len(back)
