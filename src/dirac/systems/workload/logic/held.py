"""What keeps waiting jobs from a place, added up over classes: pure, and no job is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from dirac.systems.workload.logic.fitting import Dimension, JobClass, Offer, Reason, all_of, fits
from dirac.systems.workload.models import Held, WhyWaiting

Demand = Sequence[tuple[JobClass, int]]
"""Classes with their numbers of waiting jobs."""

_BARRIERS = {
    WhyWaiting.RUNNING_LIMIT: "as many of their kind run here as may",
    WhyWaiting.MATCHING_DELAY: "there is a pause before the next of their kind",
}


class Sorted(msgspec.Struct, frozen=True):
    """Waiting jobs by what becomes of them at a place: classes with numbers.

    Attributes:
        open: Those that fit and may come.
        closed: Those that fit and are kept away, and by what.
        unfit: Those that fit nowhere, by the reasons of the queue that is nearest to fitting.
    """

    open: list[tuple[JobClass, int]]
    closed: list[tuple[WhyWaiting, JobClass, int]]
    unfit: list[tuple[list[Reason], int]]

    @property
    def closed_classes(self) -> list[tuple[JobClass, int]]:
        """Those that are kept away, whatever does."""
        return [(job_class, number) for _, job_class, number in self.closed]

    @property
    def fitting(self) -> int:
        """How many fit, whether they may come or not."""
        return sum(number for _, number in (*self.open, *self.closed_classes))


def sort_out(demand: Demand, offers: Sequence[Offer], closed: Mapping[int, WhyWaiting]) -> Sorted:
    """Compare classes with all that a place offers.

    A class that fits no offer counts under the reasons of the one that it misses by the fewest: to be kept
    away by a queue does not matter to a job that fits the next one.

    Args:
        demand: What waits.
        offers: What there is; without any, nothing fits and there is no reason to tell.
        closed: Classes of which the place takes no jobs now.
    """
    found = Sorted([], [], [])
    if not offers:
        return found
    for job_class, number in demand:
        nearest = min((fits(job_class, offer) for offer in offers), key=len)
        if nearest:
            found.unfit.append((nearest, number))
        elif job_class.class_id in closed:
            found.closed.append((closed[job_class.class_id], job_class, number))
        else:
            found.open.append((job_class, number))
    return found


def reasons(found: Sorted) -> list[Held]:
    """Return what keeps jobs away: requirements, the one that keeps most first; then limits."""
    by_dimension: dict[Dimension, list[tuple[Reason, int, bool]]] = {}
    for nearest, number in found.unfit:
        for reason in nearest:
            by_dimension.setdefault(reason.dimension, []).append((reason, number, len(nearest) == 1))
    held = [_held(dimension, kept) for dimension, kept in by_dimension.items()]
    held.sort(key=lambda each: (-each.jobs, -each.jobs_alone, each.reason))
    for barrier, words in _BARRIERS.items():
        if number := sum(number for reason, _, number in found.closed if reason == barrier):
            text = f"{in_words(number)} {'fits' if number == 1 else 'fit'}, and {words}."
            held.append(Held(reason=barrier.value, jobs=number, jobs_alone=number, text=text))
    return held


def _held(dimension: Dimension, kept: Iterable[tuple[Reason, int, bool]]) -> Held:
    some = list(kept)
    number = sum(each for _, each, _ in some)
    wanted = all_of([reason.wanted for reason, _, _ in some])
    offered = all_of([reason.offered for reason, _, _ in some])
    ask = "asks" if number == 1 else "ask"
    if dimension == Dimension.REQUIRED_TAGS:
        text = f"{in_words(number)} {ask} not for {wanted}, which is insisted on."
    elif dimension == Dimension.BANNED_SITE:
        text = f"{in_words(number)} {'does' if number == 1 else 'do'} not want to run at {offered}."
    elif dimension in (Dimension.OWNER, Dimension.OWNER_GROUP, Dimension.VO):
        text = f"{in_words(number)} {'is' if number == 1 else 'are'} of {wanted}; served is {offered}."
    else:
        text = f"{in_words(number)} {ask} for {wanted}; offered is {offered}."
    return Held(
        reason=dimension.value,
        jobs=number,
        jobs_alone=sum(each for _, each, alone in some if alone),
        text=text,
        wanted=wanted,
        offered=offered,
    )


def in_words(number: int) -> str:
    """Return a number of jobs in words."""
    return f"{number} job" if number == 1 else f"{number} jobs"
