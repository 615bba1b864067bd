"""Worker nodes that start pilots themselves: they ask, and are told which are worth starting now.

The server decides as the pilot factory does, by the same function. What is different is who begins: a node
that has room. Nothing is lost with an answer: the stamps of new pilots follow from the request, so that its
repetition finds them; and each request says which pilots there are, so that others are given up at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence

import msgspec

from dirac.core.errors import ConflictError, NotFoundError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.configuration.models import ComputingElement, Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.looking import WaitingJobs
from dirac.systems.workload.logic.matching import find_queue
from dirac.systems.workload.logic.node_pilots import NodeId, NodePilots
from dirac.systems.workload.logic.pilot_factory import ABORTED_WITHIN
from dirac.systems.workload.logic.pilot_making import PilotMaker
from dirac.systems.workload.logic.pilots import longest_life, node_reference
from dirac.systems.workload.logic.planning import (
    NodeRoom,
    Place,
    QueueState,
    Wish,
    places,
    plan,
    share_out,
    state_of,
    useful,
)
from dirac.systems.workload.logic.waiting import Classes, Signals
from dirac.systems.workload.models import (
    NodeAnswer,
    NodePilot,
    NodePlace,
    NodeQueue,
    NodeReceipt,
    NodeReport,
    NodeRequest,
)
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.pilots import PilotRow
from dirac.systems.workload.ports.running import ComputingElements, Configured, RunUnit

_LOOK_AGAIN = 1.0
_PLANS = 4
_IDLE = 10.0
_FULL = 60.0
_MOST_NODES = 100_000


class _Asking(msgspec.Struct, frozen=True):
    """One request of a node.

    Attributes:
        stamps: Those that its pilots have, in this order.
    """

    identity: Identity
    node: NodeId
    request: NodeRequest
    stamps: list[str]


class Nodes:
    """Answers worker nodes that ask for pilots.

    Args:
        units: Transactions of the workload system, with the pilots' secrets.
        configuration: Tells which queues there are.
        elements: Tells which elements have nodes that ask.
        maker: Makes pilots.
        signals: Tells when there may be new work.
        clock: The time.
        classes: The classes in memory.
    """

    def __init__(
        self,
        units: Units[RunUnit],
        configuration: Configured,
        elements: ComputingElements,
        maker: PilotMaker,
        signals: Signals,
        clock: Clock,
        classes: Classes,
    ) -> None:
        self._units = units
        self._configuration = configuration
        self._elements = elements
        self._maker = maker
        self._signals = signals
        self._clock = clock
        self._classes = classes
        self._waiting = WaitingJobs(units, classes, signals, clock)
        self._present = NodePilots(units, clock)
        # Many may be woken for one job: few of them plan, the others see that there is nothing left.
        self._plans = asyncio.Semaphore(_PLANS)
        self._vain: dict[tuple[str, str, frozenset[str]], tuple[int, float]] = {}
        self._newest: dict[NodeId, str] = {}

    async def place(self, identity: Identity) -> NodePlace:
        """Return what a node's credential is good for.

        Raises:
            NotFoundError: Its computing element is not in the configuration any more.
            ConflictError: The nodes of that element do not ask for pilots.
        """
        tree = (await self._configuration.current()).tree
        element = await self._element(identity, tree)
        return NodePlace(
            site=identity.site,
            ce=identity.ce,
            queues=[
                NodeQueue(
                    name=name,
                    processors=queue.processors,
                    max_ram_mb=queue.max_ram,
                    max_running=queue.max_running,
                )
                for name, queue in sorted(element.queues.items())
            ],
            virtual_organisations=sorted(tree.sites[identity.site].virtual_organisations),
            min_disk_mb=tree.pilot.min_disk,
        )

    async def ask(self, identity: Identity, request: NodeRequest) -> NodeAnswer:
        """Return the pilots that a node is to start; wait for some if there is nothing to start now.

        A repetition of a request gets the same pilots. Pilots that the server believes to be on the node, and
        that the node does not have, are given up.

        Raises:
            NotFoundError: The node's computing element is not in the configuration any more.
            ConflictError: The nodes of that element do not ask for pilots.
        """
        await self._element(identity, (await self._configuration.current()).tree)
        node = NodeId(identity.site, identity.ce, request.node)
        asking = _Asking(identity, node, request, _stamps(node, request))
        if len(self._newest) >= _MOST_NODES:
            self._newest.clear()
        self._newest[node] = request.request_id
        stop = await self._present.settle(identity, node, request, asking.stamps)
        new = await self._watch(asking) if request.slots else []
        tree = (await self._configuration.current()).tree
        pilots = [self._told(pilot, tree) for pilot in new]
        again = 0.0 if new or request.wait else _IDLE
        again = again if request.slots else _FULL
        return NodeAnswer(pilots=pilots, stop=stop, ask_again=again)

    async def report(self, identity: Identity, report: NodeReport) -> NodeReceipt:
        """Note how pilots of a node have ended; the runs that they had are lost at once."""
        return await self._present.ended(identity, report)

    async def _element(self, identity: Identity, tree: Tree) -> ComputingElement:
        site = tree.sites.get(identity.site)
        element = site.computing_elements.get(identity.ce) if site is not None else None
        if element is None:
            raise NotFoundError(
                f"the configuration has no computing element {identity.ce!r} at site {identity.site!r}",
                hint="Add it with type: node, or give the node a credential for another one",
            )
        if not (await self._elements.get(identity.site, identity.ce)).capabilities.pull:
            raise ConflictError(
                f"pilots are submitted to {identity.ce!r}, a computing element of type {element.type!r}",
                hint="Only nodes of elements of type: node ask for pilots",
            )
        return element

    async def _watch(self, asking: _Asking) -> list[PilotRow]:
        """Look for pilots worth starting until there are some, or the time is over."""
        repeated = await self._repeated(asking)
        deadline = self._clock.monotonic() + asking.request.wait
        while not repeated:
            wake = self._signals.subscribe()
            if new := await self._start(asking):
                return new
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._newest.get(asking.node) != asking.request.request_id:
                return []
            await self._signals.wait(wake, min(left, _LOOK_AGAIN))
            if self._newest.get(asking.node) != asking.request.request_id:
                return []  # the launcher has been started anew: nobody reads this answer
        return repeated

    async def _repeated(self, asking: _Asking) -> list[PilotRow]:
        async with self._units.read() as unit:
            return await _of_request(unit, asking)

    async def _start(self, asking: _Asking) -> list[PilotRow]:
        """Make the pilots that are worth starting on a node now."""
        tree = (await self._configuration.current()).tree
        queues = _usable(tree, asking)
        wanting = [vo for vo in sorted(queues) if await self._wants(vo, queues[vo])]
        # All nodes of an element that could use the same queues would plan the same.
        names = frozenset(place.name for vo in wanting for place in queues[vo])
        key = (asking.node.site, asking.node.ce, names)
        if not names or self._is_vain(key):
            return []
        async with self._plans:
            if self._is_vain(key):
                return []
            wakes, begun = self._signals.wakes, self._clock.monotonic()
            async with self._units.write() as unit:
                new = await self._plan(unit, asking, tree, wanting)
            if not new:
                self._vain[key] = wakes, begun
        return new

    async def _wants(self, vo: str, queues: Sequence[Place]) -> bool:
        """Tell whether a VO has waiting jobs that fit in one of these queues; a shared look is enough."""
        look = await self._waiting.look(vo, since=self._clock.monotonic() - _LOOK_AGAIN / 2)
        return any(look.first(self._classes.fit(vo, place.offer)) is not None for place in queues)

    def _is_vain(self, key: tuple[str, str, frozenset[str]]) -> bool:
        wakes, begun = self._vain.get(key, (-1, 0.0))
        return wakes == self._signals.wakes and self._clock.monotonic() - begun < _LOOK_AGAIN

    async def _plan(self, unit: RunUnit, asking: _Asking, tree: Tree, vos: Sequence[str]) -> list[PilotRow]:
        """Plan as the pilot factory does, with what is free on this node as a further limit."""
        await unit.pilots.plan_lock()
        if repeated := await _of_request(unit, asking):
            return repeated
        loads = await unit.pilots.loads()
        aborted = await unit.pilots.aborted(unit.now - ABORTED_WITHIN)
        wishes = []
        for vo in vos:
            counts = await unit.runs.waiting_counts(vo, useful(places(tree, vo)))
            found = [(self._classes.get(class_id), count) for class_id, count in sorted(counts.items())]
            demand = [(job_class, count) for job_class, count in found if job_class is not None]
            states = [_only(state_of(place, vo, loads, aborted), asking) for place in places(tree, vo)]
            wishes += [
                Wish(vo, state, number)
                for state, number in zip(states, plan(demand, states), strict=True)
                if number
            ]
        here = Counter[str]()
        for (vo, site, ce, _queue), load in loads.items():
            if (site, ce) == (asking.node.site, asking.node.ce):
                here[vo] += load.waiting + load.idle + load.busy
        shares = {name: vo.job_share for name, vo in tree.virtual_organisations.items()}
        chosen = share_out(wishes, here, _room(asking.request), shares)
        new = [
            self._maker.row(place, vo, stamp, unit.now, node_reference(asking.node.name, stamp))
            for stamp, (vo, place) in zip(asking.stamps, chosen, strict=False)
        ]
        await self._maker.register(unit, new, asking.identity.subject)
        return new

    def _told(self, pilot: PilotRow, tree: Tree) -> NodePilot:
        """Return what the launcher has to know to start a pilot."""
        queue = find_queue(tree, pilot.grid_site, pilot.destination_site, pilot.queue)
        return NodePilot(
            stamp=pilot.pilot_stamp,
            vo=pilot.vo,
            queue=pilot.queue,
            secret=self._maker.secret(pilot),
            arguments=self._maker.arguments(pilot),
            settings=self._maker.settings(tree, queue),
            processors=queue.processors if queue is not None else 1,
            max_ram_mb=queue.max_ram if queue is not None else 0,
            wall_seconds=longest_life(queue, tree),
        )


def _stamps(node: NodeId, request: NodeRequest) -> list[str]:
    """Return the stamps of the pilots that a request may get: the same for each of its tries."""
    text = "\0".join((node.site, node.ce, node.name, request.request_id))
    return [hashlib.sha256(f"{text}\0{number}".encode()).hexdigest()[:32] for number in range(request.slots)]


async def _of_request(unit: RunUnit, asking: _Asking) -> list[PilotRow]:
    """Return the pilots that an earlier try of this request has got."""
    rows = await unit.pilots.find(Visibility(), asking.stamps, lock=False)
    return [rows[stamp] for stamp in asking.stamps if stamp in rows]


def _room(request: NodeRequest) -> NodeRoom:
    return NodeRoom(slots=request.slots, processors=request.processors, memory_mb=request.memory_mb)


def _usable(tree: Tree, asking: _Asking) -> dict[str, list[Place]]:
    """Return, by VO, the queues of the node's element for which there is room on it."""
    if asking.request.disk_mb < tree.pilot.min_disk:
        return {}
    room = _room(asking.request)
    found = {
        vo: [
            place
            for place in places(tree, vo)
            if (place.site, place.ce) == (asking.node.site, asking.node.ce) and room.bears(place.queue)
        ]
        for vo in tree.sites[asking.node.site].virtual_organisations
    }
    return {vo: queues for vo, queues in found.items() if queues}


def _only(state: QueueState, asking: _Asking) -> QueueState:
    """Return a queue as one that takes pilots only if it is the node's."""
    place = state.place
    here = (place.site, place.ce) == (asking.node.site, asking.node.ce)
    bears = _room(asking.request).bears(place.queue)
    return state if here and bears else msgspec.structs.replace(state, blocked=True)
