"""Giving waiting jobs to pilots: each job to one pilot, each request one job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from dirac.core.errors import ConflictError, InvalidInputError, NotAllowedError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.claiming import Asking, Claiming
from dirac.systems.workload.logic.fitting import Dimension, offer_of, rules_of
from dirac.systems.workload.logic.looking import WaitingJobs
from dirac.systems.workload.logic.offers import LastOffers
from dirac.systems.workload.logic.pilots import longest_life
from dirac.systems.workload.logic.shadow import ShadowPolicy
from dirac.systems.workload.logic.waiting import Classes, Signals
from dirac.systems.workload.models import (
    JobStatus,
    MatchAnswer,
    MatchedJob,
    MatchRequest,
    PilotStatus,
    Resource,
    WhyWaiting,
)
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.pilots import PilotRow
from dirac.systems.workload.ports.running import (
    Claimed,
    Configured,
    Front,
    JobTokens,
    RequestAnsweredError,
    RunUnit,
)
from dirac.systems.workload.states import PILOT_LIFE

_LOOK_AGAIN = 1.0
_FRESH = 0.25
_REMEMBERED = 60.0
_MOST_PILOTS = 100_000
_SPENT = "this request was answered before, and that run is over"
_LONGEST_ID = 60
_UNKNOWN_SITE = ("", "Unknown", "NotAssigned")


class Matching:
    """Answers pilots that ask for work.

    Args:
        units: Transactions of the workload system.
        configuration: Tells what queues are and how long leases last.
        tokens: Issues the tokens of runs.
        signals: Tells when there may be new work.
        clock: The time.
        classes: The classes in memory, shared with whoever else needs them.

    Attributes:
        waiting: What waits, as this process knows it.
        offers: What pilots have that asked for work.
        shadow: A candidate of the configuration, evaluated beside.
        refused: Who is told the reasons of an answer without a job.
    """

    def __init__(
        self,
        units: Units[RunUnit],
        configuration: Configured,
        tokens: JobTokens,
        signals: Signals,
        clock: Clock,
        classes: Classes,
    ) -> None:
        self._units = units
        self._configuration = configuration
        self._tokens = tokens
        self._signals = signals
        self._clock = clock
        self._classes = classes
        self.waiting = WaitingJobs(units, classes, signals, clock)
        self.offers = LastOffers(clock)
        self.refused: list[Callable[[Iterable[str]], None]] = []
        self.shadow = ShadowPolicy(self.waiting.running, clock)
        self.waiting.corrected.append(self.shadow.correct)
        self._claiming = Claiming(units, classes, self.waiting.running, self._remember, self.shadow)
        self._pilots: dict[str, tuple[float, PilotRow]] = {}

    async def match(self, identity: Identity, request: MatchRequest) -> MatchAnswer:
        """Return a job for a pilot, or several if it asks for them, or why there is none.

        A repetition of a request gets the same jobs again, as long as their runs have not begun.

        Raises:
            ConflictError: The pilot has ended.
            InvalidInputError: The identifier of a request for several jobs is too long.
            NotAllowedError: The pilot is not one of this VO.
        """
        _check(request)
        tree = (await self._configuration.current()).tree
        self.waiting.follow(tree)
        self.shadow.follow(tree)
        pilot = await self._pilot(identity)
        resource, queue = _registered(request.resource, pilot, tree)
        offer = offer_of(resource, frozenset({identity.vo}), rules_of(tree, identity.vo, queue))
        self.offers.note(identity.stamp, offer)
        asking = Asking(identity, request.request_id, request.jobs, resource.site, offer, pilot, tree)
        deadline = self._clock.monotonic() + request.wait
        look = self.waiting.recent(identity.vo)
        try:
            if look is not None and (got := await self._claiming.claim(asking, look)):
                return await self._answer(got, asking)
            return await self._watch(asking, deadline)
        except RequestAnsweredError:
            repeated = await self._repeated(asking)
            if repeated is None:
                raise
            return repeated

    async def _watch(self, asking: Asking, deadline: float) -> MatchAnswer:
        """Look for a job until there is one, or the deadline has come."""
        vo, begun = asking.identity.vo, self._clock.monotonic()
        # With time to look again, one that others have had will do; without, a fresher one.
        since = begun - (_LOOK_AGAIN if deadline > begun else _FRESH)
        first = True
        while True:
            wake = self._signals.subscribe()
            look = await self.waiting.look(vo, since=since)
            closed = self.waiting.running.closed(asking.site)
            reasons = _counted(look.fronts(), self._classes.fit(vo, asking.offer), closed)
            if got := await self._claiming.claim(asking, look):
                return await self._answer(got, asking)
            if first and (repeated := await self._repeated(asking)) is not None:
                return repeated
            first = False
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._signals.ending:
                self._claiming.decided(asking, look)
                for listener in self.refused:
                    listener(reasons)
                return MatchAnswer(reasons=reasons)
            await self._signals.wait(wake, min(left, _LOOK_AGAIN))
            # Woken: what is new came after this. Not woken: a look that others have just had will do.
            since = self._clock.monotonic() - (0 if wake.is_set() else _LOOK_AGAIN / 2)

    async def _pilot(self, identity: Identity) -> PilotRow | None:
        """Return the record of a pilot, which is remembered for a while: where it is does not change."""
        now = self._clock.monotonic()
        known = self._pilots.get(identity.stamp)
        if known is not None and known[1].vo == identity.vo and now - known[0] < _REMEMBERED:
            return known[1]
        async with self._units.read() as unit:
            found = await unit.pilots.find(Visibility(), [identity.stamp], lock=False)
        pilot = found.get(identity.stamp)
        if pilot is None:
            return None
        if pilot.vo != identity.vo:
            raise NotAllowedError(f"pilot {identity.stamp!r} is not one of {identity.vo!r}")
        if not PILOT_LIFE.successors(PilotStatus(pilot.status)):
            raise ConflictError(f"pilot {identity.stamp!r} is {pilot.status}; it gets no more jobs")
        self._remember(pilot)
        return pilot

    def _life(self, stamp: str, tree: Tree) -> int:
        known = self._pilots.get(stamp)
        if known is None:
            return 0
        pilot = known[1]
        queue = find_queue(tree, pilot.grid_site, pilot.destination_site, pilot.queue)
        return longest_life(queue, tree)

    def _remember(self, pilot: PilotRow) -> None:
        if len(self._pilots) >= _MOST_PILOTS:
            self._pilots.clear()
        self._pilots[pilot.pilot_stamp] = (self._clock.monotonic(), pilot)

    async def _repeated(self, asking: Asking) -> MatchAnswer | None:
        """Answer a request that has got jobs before; None if it has not."""
        async with self._units.read() as unit:
            repeated = await unit.runs.claimed(asking.identity.stamp, asking.request_ids)
        if not repeated:
            return None
        current = [
            one
            for one in sorted(repeated, key=lambda one: one.job.job_id)
            if one.job.lease_until is not None and one.job.status == JobStatus.MATCHED
        ]
        return await self._answer(current, asking) if current else MatchAnswer(reasons={_SPENT: 1})

    async def _answer(self, got: Sequence[Claimed], asking: Asking) -> MatchAnswer:
        jobs = [await self._handed_out(one, asking.identity, asking.tree) for one in got]
        return MatchAnswer(job=jobs[0], more=jobs[1:])

    async def _handed_out(self, claimed: Claimed, identity: Identity, tree: Tree) -> MatchedJob:
        job, rules = claimed.job, tree.workload
        # A run may last as long as its pilot, and nobody renews its token.
        seconds = max(tree.pilot.token_seconds, self._life(identity.stamp, tree))
        token = await self._tokens.job_token(
            job_id=job.job_id,
            attempt=job.attempt,
            vo=job.vo,
            owner_sub=job.owner_sub,
            owner=job.owner,
            group=job.owner_group,
            stamp=identity.stamp,
            seconds=seconds,
            site=identity.site,
        )
        return MatchedJob(
            job_id=job.job_id,
            attempt=job.attempt,
            jdl=claimed.jdl,
            owner=job.owner,
            owner_group=job.owner_group,
            vo=job.vo,
            token=token,
            token_expires_in=seconds,
            lease_seconds=rules.lease_seconds,
            heartbeat_seconds=rules.heartbeat_seconds,
        )


def _check(request: MatchRequest) -> None:
    if request.jobs > 1 and len(request.request_id) > _LONGEST_ID:
        raise InvalidInputError(
            f"the identifier of the request has {len(request.request_id)} characters",
            where="request_id",
            hint=f"Use at most {_LONGEST_ID} for a request for several jobs",
        )


def find_queue(tree: Tree, site: str, ce: str, queue: str) -> Queue | None:
    """Return a queue of the configuration."""
    place = tree.sites.get(site)
    element = place.computing_elements.get(ce) if place else None
    return element.queues.get(queue) if element else None


def _registered(resource: Resource, pilot: PilotRow | None, tree: Tree) -> tuple[Resource, Queue | None]:
    """Return what a pilot offers, what it measured, at the place where we started it; and that place.

    The tags of that place are the configuration's word, not the pilot's.
    """
    if pilot is None or pilot.grid_site in _UNKNOWN_SITE:
        return resource, None
    ce = "" if pilot.destination_site in _UNKNOWN_SITE else pilot.destination_site
    placed = msgspec.structs.replace(resource, site=pilot.grid_site, ce=ce, queue=pilot.queue)
    queue = find_queue(tree, pilot.grid_site, ce, pilot.queue)
    if queue is None:
        return placed, None
    placed = msgspec.structs.replace(
        placed,
        tags=sorted({*placed.tags, *queue.tags}),
        required_tags=sorted({*placed.required_tags, *queue.required_tags}),
        platforms=sorted({*placed.platforms, *queue.platforms}),
        whole_node=placed.whole_node or "WholeNode" in queue.tags,
        gpus=max(placed.gpus, queue.gpus),
    )
    return placed, queue


def _counted(
    fronts: Iterable[Front], unfit: Mapping[int, tuple[Dimension, ...]], closed: Mapping[int, WhyWaiting]
) -> dict[str, int]:
    """Count, over the classes that have waiting jobs, why they do not fit."""
    found: Counter[str] = Counter()
    for front in fronts:
        if front.class_id in unfit:
            found.update(map(str, unfit[front.class_id]))
        elif front.class_id in closed:
            found[str(closed[front.class_id])] += 1
    return dict(found)
