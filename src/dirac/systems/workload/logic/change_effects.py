"""What a change of the configuration would do to jobs that wait, told before it happens."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from dirac.core.unit import Units
from dirac.systems.configuration.models import Effect, Tree
from dirac.systems.workload.logic.fitting import JobClass, fits
from dirac.systems.workload.logic.held import Demand, in_words
from dirac.systems.workload.logic.planning import Place, places
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.ports.running import RunUnit

_MOST = 100_000
"""Waiting jobs of one class that are counted."""

_SHOWN = 3


class ChangeEffects:
    """Implements `dirac.systems.configuration.ports.Effects`.

    Args:
        units: Transactions of the workload system.
        classes: The classes in memory.
    """

    def __init__(self, units: Units[RunUnit], classes: Classes) -> None:
        self._units = units
        self._classes = classes

    async def effects(self, old: Tree, new: Tree) -> list[Effect]:
        """Return what VOs gain and lose, with the numbers of jobs that wait for it now."""
        found: list[Effect] = []
        for vo in sorted(_touched(old, new)):
            before, after = places(old, vo), places(new, vo)
            kept = {place.offer for place in after}
            lost = [place for place in before if place.offer not in kept]
            gained = [place for place in after if place.offer not in {each.offer for each in before}]
            if not lost and not gained:
                continue
            demand = await self._demand(vo)
            found += _lost(vo, before, after, lost, demand)
            found += _gained(vo, before, gained, demand)
        return found

    async def _demand(self, vo: str) -> Demand:
        async with self._units.read() as unit:
            await self._classes.refresh(unit)
            counts = await unit.runs.waiting_counts(vo, _MOST)
        known = ((self._classes.get(class_id), number) for class_id, number in counts.items())
        return [(job_class, number) for job_class, number in known if job_class is not None]


def _touched(old: Tree, new: Tree) -> set[str]:
    """Return the VOs that may see other queues; versions share what they have in common."""
    before, after = old.virtual_organisations, new.virtual_organisations
    if old.workload.compatible_platforms != new.workload.compatible_platforms:
        return before.keys() | after.keys()
    found = {name for name in before.keys() | after.keys() if before.get(name) is not after.get(name)}
    for name in old.sites.keys() | new.sites.keys():
        sites = old.sites.get(name), new.sites.get(name)
        if sites[0] is not sites[1]:
            found.update(vo for site in sites if site is not None for vo in site.virtual_organisations)
    return found


def _lost(
    vo: str, before: Collection[Place], after: Collection[Place], lost: Collection[Place], demand: Demand
) -> Iterator[Effect]:
    elements = {(place.site, place.ce) for place in before} - {(place.site, place.ce) for place in after}
    hit = [(each, number) for each, number in demand if any(not fits(each, place.offer) for place in lost)]
    waiting = sum(number for _, number in hit)
    stranded = sum(number for each, number in hit if not any(not fits(each, place.offer) for place in after))
    if elements:
        number = len(elements)
        what = "1 CE becomes" if number == 1 else f"{number} CEs become"
        some, wait = _some(sorted(ce for _, ce in elements)), "waits" if waiting == 1 else "wait"
        jobs = f"{_grouped(in_words(waiting))} {wait} on {'it' if number == 1 else 'them'}"
        yield Effect(vo, f"{what} unreachable for VO {vo} ({some}), {jobs}", number)
    if stranded:
        yield Effect(vo, f"{_grouped(in_words(stranded))} of VO {vo} would fit nowhere any more", stranded)


def _gained(
    vo: str, before: Collection[Place], gained: Collection[Place], demand: Demand
) -> Iterator[Effect]:
    elements = {(place.site, place.ce) for place in gained} - {(place.site, place.ce) for place in before}
    freed = sum(number for each, number in demand if _fits_one(each, gained) and not _fits_one(each, before))
    if elements:
        number = len(elements)
        what = "1 CE becomes" if number == 1 else f"{number} CEs become"
        yield Effect(
            vo,
            f"{what} reachable for VO {vo} ({_some(sorted(ce for _, ce in elements))})",
            number,
            harm=False,
        )
    if freed:
        yield Effect(
            vo, f"{_grouped(in_words(freed))} of VO {vo} that fit nowhere now would fit", freed, harm=False
        )


def _fits_one(job_class: JobClass, queues: Collection[Place]) -> bool:
    return any(not fits(job_class, place.offer) for place in queues)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _grouped(text: str) -> str:
    number, _, noun = text.partition(" ")
    return f"{int(number):,} {noun}".replace(",", " ")
