"""What waits at this moment, as one process sees it: the classes of jobs, and which of them have work.

Hundreds of pilots may wait for work on one server. They share one look at the database, and are woken
together when there may be something new.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Container, Sequence

import msgspec

from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.formats.description import Requirements
from dirac.systems.workload.logic.fitting import Dimension, JobClass, Offer, fits
from dirac.systems.workload.ports_running import Enqueued, Front, RunUnit

# Identifiers are given out before the commit: a class may appear after one with a greater identifier, but
# not later than the longest transaction.
_SETTLED_AFTER = 60.0
_MOST_OFFERS = 4096


class Signals:
    """Wakes those who wait for work, in this process; other processes find out by looking."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def committed(self, transaction: Enqueued) -> None:
        """Listen to a database's commits: where jobs begin to wait, pilots are asked for."""
        if transaction.enqueued:
            self.wake()

    def wake(self) -> None:
        """Say that there may be work."""
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
        self._settled = 0
        self._highest: list[tuple[float, int]] = []
        self._fits: dict[Offer, Fit] = {}

    async def refresh(self, unit: RunUnit) -> None:
        """Load what is new."""
        rows = await unit.runs.classes(self._settled)
        for row in sorted(rows, key=lambda row: row.class_id):
            if row.class_id not in self._known:
                needs = msgspec.convert(row.requirements, Requirements)
                new = JobClass(row.class_id, row.vo, row.owner_group, needs)
                self._known[row.class_id] = new
                self._by_vo.setdefault(row.vo, []).append(new)
        self._settle(max((row.class_id for row in rows), default=self._settled))

    def _settle(self, highest: int) -> None:
        now = self._clock.monotonic()
        if highest > (self._highest[-1][1] if self._highest else self._settled):
            self._highest.append((now, highest))
        while self._highest and now - self._highest[0][0] >= _SETTLED_AFTER:
            self._settled = self._highest.pop(0)[1]

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
    """What one look at the database showed.

    Attributes:
        begun: When, by the clock's `monotonic`.
        fronts: Classes with waiting jobs, in the order of service.
        exhausted: Those of which somebody found no more jobs since.
    """

    begun: float
    fronts: Sequence[Front]
    exhausted: set[Front] = msgspec.field(default_factory=set)

    def left(self, unfit: Container[int]) -> list[Front]:
        """Return the fronts that may still have jobs, without those of some classes."""
        return [front for front in self.fronts if front.class_id not in unfit and front not in self.exhausted]


class WaitingJobs:
    """The classes that have waiting jobs, looked up once for everybody who asks at the same time.

    Args:
        units: Transactions of the workload system.
        classes: The classes in memory.
        clock: The time.
    """

    def __init__(self, units: Units[RunUnit], classes: Classes, clock: Clock) -> None:
        self._units = units
        self._classes = classes
        self._clock = clock
        self._last: dict[str, Look] = {}
        self._looking: dict[str, asyncio.Lock] = {}

    async def look(self, vo: str, *, since: float) -> Look:
        """Return a look at a VO's waiting jobs that began at `since` or later (clock's `monotonic`)."""
        async with self._looking.setdefault(vo, asyncio.Lock()):
            # While we waited for the lock, somebody may have begun a look that is young enough for us too.
            last = self._last.get(vo)
            if last is not None and last.begun >= since:
                return last
            begun = self._clock.monotonic()
            async with self._units.read() as unit:
                await self._classes.refresh(unit)
                found = await unit.runs.fronts(vo)
            fronts = sorted(found, key=lambda front: (-front.priority, front.job_id))
            look = self._last[vo] = Look(begun=begun, fronts=fronts)
            return look
