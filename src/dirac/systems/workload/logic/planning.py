"""How many pilots to start where: pure arithmetic on what waits, what may run, and what is on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.workload.logic.fitting import JobClass, Offer, fits, offer_of_queue, rules_of
from dirac.systems.workload.ports.pilots import QueueLoad

# After so many pilots that never ran, a queue is left alone for a while.
_ABORTED = 3
_MOST_DEMAND = 2000


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
            offer=offer_of_queue(
                queue,
                site=site_name,
                ce=ce_name,
                name=name,
                vos=frozenset({vo}),
                rules=rules_of(tree, vo, queue),
            ),
        )
        for site_name, site in sorted(tree.sites.items())
        if vo in site.virtual_organisations
        for ce_name, ce in sorted(site.computing_elements.items())
        for name, queue in sorted(ce.queues.items())
    ]


def useful(queues: Sequence[Place]) -> int:
    """Return how many waiting jobs of one class a plan looks at: for more there would be no room now."""
    return min(_MOST_DEMAND, max(1, 2 * sum(place.queue.max_waiting for place in queues)))


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


def state_of(
    place: Place,
    vo: str,
    loads: Mapping[tuple[str, str, str, str], QueueLoad],
    aborted: Mapping[tuple[str, str, str], int],
) -> QueueState:
    """Return a queue as it is for a VO.

    Args:
        place: The queue.
        vo: The VO.
        loads: Pilots by VO, site, computing element and queue.
        aborted: Pilots that were given up lately before they ran, by site, computing element and queue.
    """
    where = (place.site, place.ce, place.name)
    here = [load for (_, *key), load in loads.items() if tuple(key) == where]
    own = loads.get((vo, *where), QueueLoad())
    return QueueState(
        place=place,
        waiting=sum(load.waiting for load in here),
        running=sum(load.idle + load.busy for load in here),
        coming=own.waiting + own.idle,
        blocked=aborted.get(where, 0) >= _ABORTED,
    )


class NodeRoom(msgspec.Struct, frozen=True, kw_only=True):
    """What is free on a worker node.

    Attributes:
        slots: Pilots that may be started.
        processors: Processors for all of them.
        memory_mb: Memory for all of them; 0 if that is not known.
    """

    slots: int
    processors: int
    memory_mb: int = 0

    def bears(self, queue: Queue) -> bool:
        """Tell whether there is room for one more pilot of a queue."""
        memory = not self.memory_mb or queue.max_ram <= self.memory_mb
        return self.slots > 0 and queue.processors <= self.processors and memory

    def less(self, queue: Queue) -> NodeRoom:
        """Return what is left beside one pilot of a queue."""
        # 0 would mean "not known"
        memory = max(1, self.memory_mb - queue.max_ram) if self.memory_mb else 0
        return NodeRoom(slots=self.slots - 1, processors=self.processors - queue.processors, memory_mb=memory)


class Wish(msgspec.Struct, frozen=True):
    """How many pilots of a VO could be started in a queue."""

    vo: str
    state: QueueState
    number: int


def share_out(
    wishes: Sequence[Wish],
    present: Mapping[str, int],
    room: NodeRoom,
    shares: Mapping[str, int] | None = None,
) -> list[tuple[str, Place]]:
    """Return the pilots to start on a node: each for the VO that has fewest for its share and needs one.

    Args:
        wishes: What each VO could use.
        present: Pilots by VO that are there already.
        room: What is free on the node.
        shares: Shares of the VOs; equal ones if not given.
    """
    left = [wish.number for wish in wishes]
    rooms = {wish.state.place.name: wish.state.room for wish in wishes}  # shared by all VOs
    has, parts = dict(present), shares or {}
    chosen: list[tuple[str, Place]] = []
    while True:
        possible = [
            index
            for index, wish in enumerate(wishes)
            if left[index] and rooms[wish.state.place.name] and room.bears(wish.state.place.queue)
        ]
        if not possible:
            return chosen
        vo = min({wishes[i].vo for i in possible}, key=lambda vo: (has.get(vo, 0) / parts.get(vo, 1), vo))
        index = next(i for i in possible if wishes[i].vo == vo)
        place = wishes[index].state.place
        chosen.append((vo, place))
        left[index] -= 1
        rooms[place.name] -= 1
        has[vo] = has.get(vo, 0) + 1
        room = room.less(place.queue)
