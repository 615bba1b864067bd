"""What waits at this moment, as one process sees it: the classes of jobs, and which of them have work.

Hundreds of pilots may wait for work on one server. They share one look at the database, and are woken
together when there may be something new.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import insort
from collections.abc import Container
from typing import Protocol

import msgspec

from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.formats.description import Requirements
from dirac.systems.workload.logic.fitting import Dimension, JobClass, Offer, fits
from dirac.systems.workload.ports.running import Front, RunUnit

# Identifiers are given out before the commit: a class may appear after one with a greater identifier, but
# not later than the longest transaction.
_SETTLED_AFTER = 60.0
_MOST_OFFERS = 4096
_YOUNG = 1.0
_PACE = 20


class Enqueued(Protocol):
    """A committed transaction, as far as listeners look at it."""

    @property
    def enqueued(self) -> bool:
        """Whether background work was asked for that may begin at once."""
        ...


class Signals:
    """Wakes those who wait for work, in this process; other processes find out by looking.

    Attributes:
        wakes: How often there may have been something new.
        ending: Nobody may wait any more: the process is about to end.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.wakes = 0
        self.ending = False

    def end(self) -> None:
        """Let all who wait go, and nobody wait again."""
        self.ending = True
        self.wake()

    def committed(self, transaction: Enqueued) -> None:
        """Listen to a database's commits: where jobs begin to wait, pilots are asked for."""
        if transaction.enqueued:
            self.wake()

    def wake(self) -> None:
        """Say that there may be work."""
        self.wakes += 1
        self._event.set()
        self._event = asyncio.Event()

    def subscribe(self) -> asyncio.Event:
        """Return what is set at the next wake; subscribe before looking, or a wake may be missed."""
        return self._event

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until a wake, or so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)


class Fit(msgspec.Struct):
    """How all classes of a VO compare with one offer.

    Attributes:
        known: How many classes were compared.
        reasons: By class, why it does not fit; classes that do are absent.
    """

    known: int = 0
    reasons: dict[int, tuple[Dimension, ...]] = {}


class Classes:
    """All requirement classes, kept in memory: a class never changes.

    Args:
        clock: Tells when a class is old enough to have no younger siblings with smaller identifiers.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_vo: dict[str, list[JobClass]] = {}
        self._known: dict[int, JobClass] = {}
        self._newest = 0
        # Up to here nothing is missing; beyond, so many classes are known.
        self._settled = 0
        self._unsettled = 0
        self._seen: list[tuple[float, int]] = []
        self._fits: dict[Offer, Fit] = {}

    async def refresh(self, unit: RunUnit) -> None:
        """Load what is new."""
        count = await unit.runs.class_count(self._settled)
        if count == self._unsettled:
            self._settle(self._newest)
            return
        rows = await unit.runs.classes(self._settled)
        for row in sorted(rows, key=lambda row: row.class_id):
            if row.class_id not in self._known:
                needs = msgspec.convert(row.requirements, Requirements)
                new = JobClass(row.class_id, row.vo, row.owner_group, needs)
                self._known[row.class_id] = new
                self._by_vo.setdefault(row.vo, []).append(new)
                self._newest = max(self._newest, row.class_id)
        self._unsettled = len(rows)
        self._settle(self._newest)

    def _settle(self, newest: int) -> None:
        """Take note of what is known now, and count what was known long ago as complete."""
        now = self._clock.monotonic()
        if not self._seen or newest > self._seen[-1][1]:
            self._seen.append((now, newest))
        while len(self._seen) > 1 and now - self._seen[1][0] >= _SETTLED_AFTER:
            self._seen.pop(0)
        moment, settled = self._seen[0]
        if now - moment >= _SETTLED_AFTER and settled > self._settled:
            self._settled = settled
            self._unsettled = sum(class_id > settled for class_id in self._known)

    def get(self, class_id: int) -> JobClass | None:
        """Return a class."""
        return self._known.get(class_id)

    def fit(self, vo: str, offer: Offer) -> dict[int, tuple[Dimension, ...]]:
        """Return why classes of a VO do not fit an offer, by class; those that fit are absent.

        Pilots of a queue offer the same, and classes never change: each pair is compared once.
        """
        classes = self._by_vo.get(vo, [])
        fit = self._fits.get(offer)
        if fit is None:
            if len(self._fits) >= _MOST_OFFERS:
                self._fits.clear()
            fit = self._fits[offer] = Fit(reasons={})
        for job_class in classes[fit.known :]:
            if reasons := fits(job_class, offer):
                fit.reasons[job_class.class_id] = tuple(reason.dimension for reason in reasons)
        fit.known = len(classes)
        return fit.reasons


class Look(msgspec.Struct):
    """What one look at the database showed, and what was done since.

    Attributes:
        begun: When, by the clock's `monotonic`.
        wakes: How often there had been something new by then.
        fronts: Classes with waiting jobs, in the order of service.
        took: Seconds that the look took.
        spoiled: Something is known to be missing.
    """

    begun: float
    wakes: int
    fronts: list[Front]
    took: float = 0.0
    spoiled: bool = False

    @property
    def good_for(self) -> float:
        """Seconds in which nothing new is a reason for another look: that takes 5 % of the time at most."""
        return min(_YOUNG, _PACE * self.took)

    def first(self, unfit: Container[int]) -> Front | None:
        """Return the front that is to be served first; None if only these classes have waiting jobs."""
        return next((front for front in self.fronts if front.class_id not in unfit), None)

    def served(self, front: Front, following: Front | None) -> None:
        """Note what is at the front of a class now; None if there is nothing any more."""
        with contextlib.suppress(ValueError):  # somebody else has seen more
            self.fronts.remove(front)
            if following is not None:
                insort(self.fronts, following, key=order_of_service)


def order_of_service(front: Front) -> tuple[int, int]:
    """Sort key of fronts: the highest priority first, then the oldest job."""
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
    """

    def __init__(self, units: Units[RunUnit], classes: Classes, signals: Signals, clock: Clock) -> None:
        self._units = units
        self._classes = classes
        self._signals = signals
        self._clock = clock
        self._last: dict[str, Look] = {}
        self._looking: dict[str, asyncio.Lock] = {}

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
            took = self._clock.monotonic() - begun
            look = self._last[vo] = Look(begun, wakes, sorted(found, key=order_of_service), took)
            return look
