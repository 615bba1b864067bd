"""What waits at this moment, as one process knows it, and what of it comes next."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import insort
from collections.abc import Callable, Container, Iterable, Iterator, Mapping

import msgspec

from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.configuration.models import Tree
from dirac.systems.workload.logic.limits import Running
from dirac.systems.workload.logic.shares import VoShares
from dirac.systems.workload.logic.usage import Owner, PastUse, together
from dirac.systems.workload.logic.waiting import Classes, Signals
from dirac.systems.workload.ports.running import Front, RunUnit

_YOUNG = 1.0
_PACE = 20


class Look(msgspec.Struct, kw_only=True, eq=False):
    """What one look at the database showed, and what was done since.

    Attributes:
        begun: When, by the clock's `monotonic`.
        wakes: How often there had been something new by then.
        by_owner: Fronts of classes with waiting jobs, by group and subject, in the order of service.
        owners: By class, whose it is.
        shares: Who of them comes next.
        took: Seconds that the look took.
        spoiled: Something is known to be missing.
    """

    begun: float
    wakes: int
    by_owner: dict[str, dict[str, list[Front]]]
    owners: dict[int, tuple[str, str]]
    shares: VoShares
    took: float = 0.0
    spoiled: bool = False

    @property
    def good_for(self) -> float:
        """Seconds in which nothing new is a reason for another look: that takes 5 % of the time at most."""
        return min(_YOUNG, _PACE * self.took)

    def fronts(self) -> Iterator[Front]:
        """Yield all fronts."""
        for owners in self.by_owner.values():
            for fronts in owners.values():
                yield from fronts

    def first(self, *unfit: Container[int]) -> Front | None:
        """Return the front that is to be served first; None if only these classes have waiting jobs."""
        return self.shares.choose(self.by_owner, *unfit)

    def chosen(self, front: Front) -> None:
        """Note that somebody is to get a job."""
        self.shares.serve(*self.owners[front.class_id])

    def served(self, front: Front, following: Front | None) -> None:
        """Note what is at the front of a class now; None if there is nothing any more."""
        group, owner = self.owners[front.class_id]
        fronts = self.by_owner[group][owner]
        with contextlib.suppress(ValueError):  # somebody else has seen more
            fronts.remove(front)
            if following is not None:
                insort(fronts, following, key=order_of_service)


def order_of_service(front: Front) -> tuple[int, int]:
    """Sort key of an owner's fronts: the highest priority first, then the oldest job."""
    return -front.priority, front.job_id


class WaitingJobs:
    """The classes that have waiting jobs, as this process knows them.

    A look at the database finds the front of every class, by a few steps into an index for each, and serves
    everybody for a second; claims of this process move the fronts on. So nothing is read anew for a request,
    and what other processes do is seen after a second at the latest. A front that is not as it was seen costs
    a vain try: what is claimed is decided by the database.

    Args:
        units: Transactions of the workload system.
        classes: The classes in memory.
        signals: Tells when there may be something new.
        clock: The time.

    Attributes:
        running: What runs where.
        past: What was used lately.
        corrected: Who is told what people of a VO use, when their shares are corrected by it.
    """

    def __init__(self, units: Units[RunUnit], classes: Classes, signals: Signals, clock: Clock) -> None:
        self._units = units
        self._classes = classes
        self._signals = signals
        self._clock = clock
        self._last: dict[str, Look] = {}
        self._looking: dict[str, asyncio.Lock] = {}
        self._shares: dict[str, VoShares] = {}
        self._tree = Tree()
        self.running = Running(classes, clock)
        self.corrected: list[Callable[[str, Mapping[Owner, float], Look | None], None]] = []
        self.past = PastUse(classes, clock)

    def follow(self, tree: Tree) -> None:
        """Take note of the configuration in force."""
        if tree is not self._tree:
            self._tree = tree
            self._shares.clear()
            for look in self._last.values():
                look.spoiled = True
        self.running.follow(tree)

    def recent(self, vo: str) -> Look | None:
        """Return the last look if it is young enough to find jobs with.

        What it shows may be gone, which a claim finds out; what it does not show may be there.
        """
        last = self._last.get(vo)
        if last is None:
            return None
        age = self._clock.monotonic() - last.begun
        return last if age < (_YOUNG if self._is_whole(last) else last.good_for) else None

    def _is_whole(self, look: Look) -> bool:
        return not look.spoiled and look.wakes == self._signals.wakes

    async def present(self, vo: str) -> Look:
        """Return a look that is no older than a second."""
        return await self.look(vo, since=self._clock.monotonic() - _YOUNG)

    async def look(self, vo: str, *, since: float) -> Look:
        """Return a look at a VO's waiting jobs that began after `since` (clock's `monotonic`).

        It is no look from before something new came up in this process.
        """
        async with self._looking.setdefault(vo, asyncio.Lock()):
            # While we waited for the lock, somebody may have begun a look that is young enough for us too.
            last = self._last.get(vo)
            if last is not None:
                if last.begun > since and self._is_whole(last):
                    return last
                early = last.begun + last.good_for - self._clock.monotonic()
                if early > 0:
                    await asyncio.sleep(early)
            begun, wakes = self._clock.monotonic(), self._signals.wakes
            async with self._units.read() as unit:
                await self._classes.refresh(unit)
                found = await unit.runs.fronts(vo)
                counted = await self.running.count(unit)
                if counted:
                    await self.past.read(unit)
            look = self._made(vo, found, begun, wakes)
            if counted:
                self._correct()
            return look

    def _correct(self) -> None:
        """Correct all shares by what runs, and by what was used lately."""
        half_life = self._tree.workload.usage_half_life_hours
        for vo, shares in self._shares.items():
            look = self._last.get(vo)
            usage = together(self.running.usage(vo), self.past.average(vo, half_life))
            shares.correct(usage, look.by_owner if look is not None else {})
            for listener in self.corrected:
                listener(vo, usage, look)

    def _made(self, vo: str, found: Iterable[Front], begun: float, wakes: int) -> Look:
        look = self._last[vo] = Look(
            begun=begun,
            wakes=wakes,
            by_owner={},
            owners={},
            shares=self._shares.get(vo) or self._shares.setdefault(vo, VoShares(self._tree, vo)),
            took=self._clock.monotonic() - begun,
        )
        for front in sorted(found, key=order_of_service):
            job_class = self._classes.get(front.class_id)
            if job_class is None:  # it has come while we looked
                look.spoiled = True
                continue
            group, owner = look.owners[front.class_id] = job_class.owner_group, job_class.owner_sub
            look.by_owner.setdefault(group, {}).setdefault(owner, []).append(front)
        return look
