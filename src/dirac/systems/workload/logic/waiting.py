"""What waits at this moment, as one process sees it: the classes of jobs, and which of them have work.

Hundreds of pilots may wait for work on one server. They share one look at the database, and are woken
together when there may be something new.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

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


class WaitingJobs:
    """The classes that have waiting jobs, looked up at most once at a time for everybody who asks.

    Args:
        units: Transactions of the workload system.
        classes: The classes in memory.
    """

    def __init__(self, units: Units[RunUnit], classes: Classes) -> None:
        self._units = units
        self._classes = classes
        self._running: dict[str, asyncio.Task[Sequence[Front]]] = {}
        self._next: dict[str, asyncio.Task[Sequence[Front]]] = {}

    async def fronts(self, vo: str) -> Sequence[Front]:
        """Return the fronts of a VO by a look that begins now or later, in the order of service."""
        running = self._running.get(vo)
        if running is None or running.done():
            task = self._running[vo] = asyncio.create_task(self._look(vo))
        else:
            # That look began before we asked and may have missed what we are looking for.
            waiting = self._next.get(vo)
            if waiting is None or waiting.done():
                waiting = self._next[vo] = asyncio.create_task(self._after(vo, running))
            task = waiting
        return await asyncio.shield(task)

    async def _after(self, vo: str, running: asyncio.Task[Sequence[Front]]) -> Sequence[Front]:
        await asyncio.wait([running])
        task = asyncio.current_task()
        if task is not None:
            self._running[vo] = task
        self._next.pop(vo, None)
        return await self._look(vo)

    async def _look(self, vo: str) -> Sequence[Front]:
        async with self._units.read() as unit:
            await self._classes.refresh(unit)
            found = await unit.runs.fronts(vo)
        return sorted(found, key=lambda front: (-front.priority, front.job_id))
