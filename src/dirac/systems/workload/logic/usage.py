"""What people have used lately, for the correction of their shares: counters that fade.

A run that ends adds its seconds, from its claim to its end, to those of its class; whether it was of use to
anybody does not matter, the slot was taken. What was used ``t`` seconds ago counts ``2 ** (-t / H)``, with
the half-life ``H`` (`workload.usage_half_life_hours`). Fading is the same for everything, so one number and
the moment at which it was right stand for the whole past: after ``t`` more seconds it is worth

    U(now + t) = U(now) * 2 ** (-t / H) + what ended meanwhile

Slurm (priority/multifactor, PriorityDecayHalfLife) and HTCondor (PRIORITY_HALFLIFE) let usage fade like this.
Who always uses ``p`` processors has ``U = p * H / ln 2``; so ``A = U * ln 2 / H`` is an average of the
processors used, over the recent past, in the same unit as what runs now. Shares are corrected by the sum of
both (`logic/shares.py` says how).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.workload.logic.fitting import processors_of
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.ports.running import Configured, RunUnit
from dirac.systems.workload.ports.usage import Used

Owner = tuple[str, str]
_HOUR = 3600.0
_BATCH = 500  # of which a process that also answers requests notices nothing
_SELDOM = 60.0
# After so many half-lives, a millionth is left.
_FORGOTTEN = 20


def faded(used: Used, now: datetime, half_life: float) -> float:
    """Return what seconds of runs are worth at a moment; the half-life is in seconds, 0 for nothing."""
    if half_life <= 0:
        return 0.0
    age = max(0.0, (now - used.moment).total_seconds())
    return used.seconds * math.exp2(-age / half_life)


def added(parts: Iterable[Used], now: datetime, half_life: float) -> list[Used]:
    """Return what is used by class, as of one moment."""
    sums: dict[int, float] = {}
    for part in parts:
        sums[part.class_id] = sums.get(part.class_id, 0.0) + faded(part, now, half_life)
    return [Used(class_id, seconds, now) for class_id, seconds in sums.items()]


class PastUse:
    """What was used lately, as one process knows it: read once a minute.

    Args:
        classes: The classes in memory.
        clock: The time.
    """

    def __init__(self, classes: Classes, clock: Clock) -> None:
        self._classes = classes
        self._clock = clock
        self._used: list[Used] = []
        self._read: float | None = None
        self._averages: dict[tuple[str, float], dict[Owner, float]] = {}

    async def read(self, unit: RunUnit) -> None:
        """Read it, unless that was done lately."""
        now = self._clock.monotonic()
        if self._read is None or now - self._read >= _SELDOM:
            self._used, self._read = await unit.usage.used(), now
            self._averages.clear()

    def average(self, vo: str, half_life_hours: float) -> Mapping[Owner, float]:
        """Return the processors that were used in a VO on the recent average, by group and subject.

        As of the moment at which that was first asked after it was read: shares are corrected more often.
        """
        known = self._averages.get((vo, half_life_hours))
        if known is None:
            known = self._averages[vo, half_life_hours] = self._average(vo, half_life_hours)
        return known

    def _average(self, vo: str, half_life_hours: float) -> dict[Owner, float]:
        half_life, now = half_life_hours * _HOUR, self._clock.now()
        found: dict[Owner, float] = {}
        for used in self._used:
            has = self._classes.get(used.class_id)
            if has is not None and has.vo == vo and half_life > 0:
                owner = has.owner_group, has.owner_sub
                average = faded(used, now, half_life) * math.log(2) / half_life
                found[owner] = found.get(owner, 0.0) + average * processors_of(has.needs)
        return found


def together(*parts: Mapping[Owner, float]) -> dict[Owner, float]:
    """Return the sum of what people use."""
    found: dict[Owner, float] = {}
    for part in parts:
        for owner, number in part.items():
            found[owner] = found.get(owner, 0.0) + number
    return found


class UsageKeeping:
    """Adds up what was noted of ended runs.

    Args:
        units: Transactions of the workload system.
        configuration: Tells the half-life.
    """

    def __init__(self, units: Units[RunUnit], configuration: Configured) -> None:
        self._units = units
        self._configuration = configuration

    async def fold(self) -> int:
        """Add up what was noted since the last time; return how many notes there were."""
        half_life = (await self._configuration.current()).tree.workload.usage_half_life_hours * _HOUR
        folded, some = 0, _BATCH
        while some == _BATCH:  # what comes meanwhile is for the next time, or this would never end
            async with self._units.write() as unit:
                notes, identifiers = await unit.usage.unfolded(_BATCH)
                some = len(identifiers)
                if some:
                    old = await unit.usage.folded({note.class_id for note in notes})
                    sums = added([*old, *notes], unit.now, half_life)
                    before = unit.now - timedelta(seconds=_FORGOTTEN * half_life)
                    await unit.usage.fold(sums, identifiers, before)
            folded += some
        return folded
