"""The classes of jobs in memory, and who is woken when there may be work.

Hundreds of pilots may wait on one server: they are woken together when there may be something new.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from dirac.core.time import Clock
from dirac.formats.description import Requirements
from dirac.systems.workload.logic.fitting import Dimension, JobClass, Offer, fits
from dirac.systems.workload.ports.running import RunUnit

# Identifiers are given out before the commit: a class may appear after one with a greater identifier, but
# not later than the longest transaction.
_SETTLED_AFTER = 60.0
_MOST_OFFERS = 4096


class Enqueued(Protocol):
    """A committed transaction, as far as listeners look at it."""

    @property
    def enqueued(self) -> bool:
        """Whether background work was asked for."""
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
        self._all: list[JobClass] = []
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
                new = JobClass(row.class_id, row.vo, row.owner_group, needs, row.owner_sub)
                self._known[row.class_id] = new
                self._all.append(new)
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

    @property
    def everything(self) -> Sequence[JobClass]:
        """All classes; new ones come at the end."""
        return self._all

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
