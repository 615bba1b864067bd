"""How many pilots to start where: pure arithmetic on what waits, what may run, and what is on its way."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.workload.logic.fitting import JobClass, Offer, fits, offer_of_queue


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A queue that a VO may use, with what a pilot in it will offer."""

    site: str
    ce: str
    ce_type: str
    name: str
    queue: Queue
    offer: Offer


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """A queue at this moment.

    Attributes:
        waiting: Pilots of all VOs that do not run yet.
        running: Pilots of all VOs that run.
        coming: Pilots of the VO in question that will ask for work: they wait, or run without a job.
        blocked: The queue does not take pilots at present.
    """

    place: Place
    waiting: int = 0
    running: int = 0
    coming: int = 0
    blocked: bool = False

    @property
    def room(self) -> int:
        """How many more pilots the queue takes."""
        if self.blocked:
            return 0
        limits = self.place.queue
        all_together = limits.max_running - self.waiting - self.running
        return max(0, min(limits.max_waiting - self.waiting, all_together))


def places(tree: Tree, vo: str) -> list[Place]:
    """Return the queues that a VO may use, in a fixed order."""
    return [
        Place(
            site=site_name,
            ce=ce_name,
            ce_type=ce.type,
            name=name,
            queue=queue,
            offer=offer_of_queue(queue, site=site_name, ce=ce_name, name=name, vos=frozenset({vo})),
        )
        for site_name, site in sorted(tree.sites.items())
        if vo in site.virtual_organisations
        for ce_name, ce in sorted(site.computing_elements.items())
        for name, queue in sorted(ce.queues.items())
    ]


def plan(demand: Sequence[tuple[JobClass, int]], queues: Sequence[QueueState]) -> list[int]:
    """Return how many pilots to start in each queue.

    One pilot for each waiting job that no coming pilot will take, as far as there is room. Jobs that fit in
    few places come first, so that others do not use these up; among queues the one with most room left.

    Args:
        demand: Classes with their numbers of waiting jobs.
        queues: The queues.
    """
    fitting = [
        [number for number, state in enumerate(queues) if not fits(job_class, state.place.offer)]
        for job_class, _ in demand
    ]
    left = [count for _, count in demand]
    order = sorted(range(len(demand)), key=lambda i: (len(fitting[i]), demand[i][0].class_id))
    coming = [state.coming for state in queues]
    for index in order:
        for number in fitting[index]:
            taken = min(left[index], coming[number])
            left[index] -= taken
            coming[number] -= taken
    room = [state.room for state in queues]
    start = [0] * len(queues)
    for index in order:
        while left[index] > 0:
            best = max(fitting[index], key=lambda number: room[number], default=None)
            if best is None or room[best] == 0:
                break
            room[best] -= 1
            start[best] += 1
            left[index] -= 1
    return start
