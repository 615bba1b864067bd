"""Giving waiting jobs to pilots: each job to one pilot, each request one job."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container, Sequence
from datetime import timedelta

import msgspec

from dirac.core.errors import ConflictError, NotAllowedError
from dirac.core.time import Clock
from dirac.core.unit import Event, Units
from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.fitting import Dimension, Offer, offer_of
from dirac.systems.workload.logic.pilots import longest_life, pilot_event
from dirac.systems.workload.logic.waiting import Classes, Look, Signals, WaitingJobs
from dirac.systems.workload.models import (
    JobStatus,
    MatchAnswer,
    MatchedJob,
    MatchRequest,
    PilotStatus,
    Resource,
)
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.running import (
    Ask,
    Claimed,
    Configured,
    Front,
    JobRow,
    JobTokens,
    PilotRow,
    RequestAnsweredError,
    RunUnit,
)
from dirac.systems.workload.states import PILOT_LIFE, Line, line_event

_LOOK_AGAIN = 1.0
_REMEMBERED = 60.0
_MOST_PILOTS = 100_000
_RACES = 5
_CLAIMS = 4
_SPENT = "this request was answered before, and that run is over"
_UNKNOWN_SITE = ("", "Unknown", "NotAssigned")


class _Asking(msgspec.Struct, frozen=True):
    """One request of a pilot, with what was found out about it."""

    identity: Identity
    request_id: str
    site: str
    pilot: PilotRow | None
    tree: Tree


class Matching:
    """Answers pilots that ask for work.

    Args:
        units: Transactions of the workload system.
        configuration: Tells what queues are and how long leases last.
        tokens: Issues the tokens of runs.
        signals: Tells when there may be new work.
        clock: The time.
        classes: The classes in memory, shared with whoever else needs them.
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
        self._waiting = WaitingJobs(units, classes, signals, clock)
        # Many may be woken for one job: few of them ask the database, the others see that it is gone.
        self._claims = asyncio.Semaphore(_CLAIMS)
        self._pilots: dict[str, tuple[float, PilotRow]] = {}

    async def match(self, identity: Identity, request: MatchRequest) -> MatchAnswer:
        """Return a job for a pilot, or why there is none.

        A repetition of a request gets the same job again, as long as its run has not begun.

        Raises:
            ConflictError: The pilot has ended.
            NotAllowedError: The pilot is not one of this VO.
        """
        tree = (await self._configuration.current()).tree
        pilot = await self._pilot(identity)
        resource = _registered(request.resource, pilot, tree)
        offer = offer_of(resource, frozenset({identity.vo}))
        asking = _Asking(identity, request.request_id, resource.site, pilot, tree)
        deadline = self._clock.monotonic() + request.wait
        look = self._waiting.recent(identity.vo)
        try:
            claimed = None
            if look is not None:
                claimed = await self._claim(asking, look, self._classes.fit(identity.vo, offer))
            if claimed is not None:
                return MatchAnswer(job=await self._handed_out(claimed, identity, tree))
            return await self._watch(asking, offer, deadline)
        except RequestAnsweredError:
            repeated = await self._repeated(asking)
            if repeated is None:
                raise
            return repeated

    async def _watch(self, asking: _Asking, offer: Offer, deadline: float) -> MatchAnswer:
        """Look for a job until there is one, or the deadline has come."""
        vo, since, races = asking.identity.vo, self._clock.monotonic(), 0
        if deadline > since:
            since -= _LOOK_AGAIN  # there is time to look again: one that others have just had will do
        first = True
        while True:
            wake = self._signals.subscribe()
            look = await self._waiting.look(vo, since=since)
            unfit = self._classes.fit(vo, offer)
            reasons = _counted(look.fronts, unfit)
            had = bool(look.left(unfit))
            claimed = await self._claim(asking, look, unfit)
            if claimed is not None:
                return MatchAnswer(job=await self._handed_out(claimed, asking.identity, asking.tree))
            if first and (repeated := await self._repeated(asking)) is not None:
                return repeated
            first = False
            left = deadline - self._clock.monotonic()
            if had and races < _RACES:
                races, pause = races + 1, 0.01  # others were faster; behind their jobs there may be more
            elif left > 0 and not self._signals.ending:
                pause = min(left, _LOOK_AGAIN)
            else:
                return MatchAnswer(reasons=reasons)
            await self._signals.wait(wake, pause)
            # Woken: what is new came after this. Not woken: a look that others have just had will do.
            since = self._clock.monotonic() - (0 if wake.is_set() or had else _LOOK_AGAIN / 2)

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

    async def _repeated(self, asking: _Asking) -> MatchAnswer | None:
        """Answer a request that has got a job before; None if it has not."""
        async with self._units.read() as unit:
            repeated = await unit.runs.claimed(asking.identity.stamp, asking.request_id)
        if repeated is None:
            return None
        return await self._again(repeated, asking.identity, asking.tree)

    async def _again(self, repeated: Claimed, identity: Identity, tree: Tree) -> MatchAnswer:
        current = repeated.job.lease_until is not None and repeated.job.status == JobStatus.MATCHED
        if not current:
            return MatchAnswer(reasons={_SPENT: 1})
        return MatchAnswer(job=await self._handed_out(repeated, identity, tree))

    async def _claim(self, asking: _Asking, look: Look, unfit: Container[int]) -> Claimed | None:
        if not look.left(unfit):
            return None
        async with self._claims:
            fronts = look.left(unfit)
            return await self._claim_one(asking, look, fronts) if fronts else None

    async def _claim_one(self, asking: _Asking, look: Look, fronts: Sequence[Front]) -> Claimed | None:
        identity, pilot = asking.identity, asking.pilot
        starts = pilot is not None and pilot.status != PilotStatus.RUNNING
        async with self._units.write() as unit:
            ask = Ask(
                stamp=identity.stamp,
                request_id=asking.request_id,
                registered=pilot is not None,
                site=asking.site,
                lease_until=unit.now + timedelta(seconds=asking.tree.workload.lease_seconds),
            )
            for front in fronts:
                won = await unit.runs.claim(front, ask)
                if won is not None:
                    look.served(front, won.following)
                    break
                look.missed(front)
            else:
                return None
            unit.record(_event(won.claimed.job, asking, unit))
            if pilot is not None and starts:
                unit.record(pilot_event(pilot, unit, identity.subject, Status=PilotStatus.RUNNING.value))
        if pilot is not None and starts:
            self._remember(msgspec.structs.replace(pilot, status=PilotStatus.RUNNING.value))
        return won.claimed

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


def _event(job: JobRow, asking: _Asking, unit: RunUnit) -> Event:
    line = Line(
        time=unit.now,
        status=JobStatus.MATCHED,
        minor_status=job.minor_status,
        application_status=job.application_status,
        source="Matcher",
    )
    actor = asking.identity.subject
    event = line_event(line, vo=job.vo, job_id=job.job_id, attempt=job.attempt, actor=actor)
    facts = {"Site": asking.site, "PilotStamp": asking.identity.stamp}
    return msgspec.structs.replace(event, data=event.data | facts)


def find_queue(tree: Tree, site: str, ce: str, queue: str) -> Queue | None:
    """Return a queue of the configuration."""
    place = tree.sites.get(site)
    element = place.computing_elements.get(ce) if place else None
    return element.queues.get(queue) if element else None


def _registered(resource: Resource, pilot: PilotRow | None, tree: Tree) -> Resource:
    """Return what a pilot offers: what it measured, at the place where we started it.

    The tags of that place are the configuration's word, not the pilot's.
    """
    if pilot is None or pilot.grid_site in _UNKNOWN_SITE:
        return resource
    ce = "" if pilot.destination_site in _UNKNOWN_SITE else pilot.destination_site
    placed = msgspec.structs.replace(resource, site=pilot.grid_site, ce=ce, queue=pilot.queue)
    queue = find_queue(tree, pilot.grid_site, ce, pilot.queue)
    if queue is None:
        return placed
    return msgspec.structs.replace(
        placed,
        tags=sorted({*placed.tags, *queue.tags}),
        required_tags=sorted({*placed.required_tags, *queue.required_tags}),
        platforms=sorted({*placed.platforms, *queue.platforms}),
        whole_node=placed.whole_node or "WholeNode" in queue.tags,
        gpus=max(placed.gpus, queue.gpus),
    )


def _counted(fronts: Sequence[Front], unfit: dict[int, tuple[Dimension, ...]]) -> dict[str, int]:
    """Count, over the classes that have waiting jobs, why they do not fit."""
    return dict(Counter(str(dimension) for front in fronts for dimension in unfit.get(front.class_id, ())))
