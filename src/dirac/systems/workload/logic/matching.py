"""Giving waiting jobs to pilots: each job to one pilot, each request one job."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container, Sequence
from datetime import timedelta

import msgspec

from dirac.core.errors import ConflictError, NotAllowedError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.fitting import Dimension, offer_of
from dirac.systems.workload.logic.pilots import pilot_event
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
from dirac.systems.workload.ports_running import (
    Claimed,
    Configured,
    Front,
    JobTokens,
    PilotRow,
    RunUnit,
)
from dirac.systems.workload.states import NO_APPLICATION_STATUS, PILOT_LIFE, Line, line_event

_LOOK_AGAIN = 1.0
_RACES = 5
_CLAIMS = 4
_SPENT = "this request was answered before, and that run is over"
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
    """

    def __init__(
        self,
        units: Units[RunUnit],
        configuration: Configured,
        tokens: JobTokens,
        signals: Signals,
        clock: Clock,
        classes: Classes | None = None,
    ) -> None:
        self._units = units
        self._configuration = configuration
        self._tokens = tokens
        self._signals = signals
        self._clock = clock
        self._classes = classes or Classes(clock)
        self._waiting = WaitingJobs(units, self._classes, clock)
        # Many may be woken for one job: few of them ask the database, the others see that it is gone.
        self._claims = asyncio.Semaphore(_CLAIMS)

    async def match(self, identity: Identity, request: MatchRequest) -> MatchAnswer:
        """Return a job for a pilot, or why there is none.

        A repetition of a request gets the same job again, as long as its run has not begun.

        Raises:
            ConflictError: The pilot has ended; or the same request is being answered at this moment.
            NotAllowedError: The pilot is not one of this VO.
        """
        tree = (await self._configuration.current()).tree
        async with self._units.read() as unit:
            pilot = await self._pilot(unit, identity)
            repeated = await unit.runs.claimed(identity.stamp, request.request_id)
        if repeated is not None:
            return await self._again(repeated, identity, tree)
        resource = _registered(request.resource, pilot, tree)
        offer = offer_of(resource, frozenset({identity.vo}))
        since = self._clock.monotonic()
        deadline, races = since + request.wait, 0
        while True:
            wake = self._signals.subscribe()
            look = await self._waiting.look(identity.vo, since=since)
            unfit = self._classes.fit(identity.vo, offer)
            had = bool(look.left(unfit))
            claimed = await self._claim(identity, request.request_id, resource.site, look, unfit, pilot, tree)
            if claimed is not None:
                return MatchAnswer(job=await self._handed_out(claimed, identity, tree))
            left = deadline - self._clock.monotonic()
            if had and races < _RACES:
                races, pause = races + 1, 0.01  # others were faster; behind their jobs there may be more
            elif left > 0:
                pause = min(left, _LOOK_AGAIN)
            else:
                return MatchAnswer(reasons=_counted(look.fronts, unfit))
            await self._signals.wait(wake, pause)
            # Woken: what is new came after this. Not woken: a look that others have just had will do.
            since = self._clock.monotonic() - (0 if wake.is_set() or had else _LOOK_AGAIN / 2)

    async def _pilot(self, unit: RunUnit, identity: Identity) -> PilotRow | None:
        found = await unit.pilots.find(Visibility(), [identity.stamp], lock=False)
        pilot = found.get(identity.stamp)
        if pilot is None:
            return None
        if pilot.vo != identity.vo:
            raise NotAllowedError(f"pilot {identity.stamp!r} is not one of {identity.vo!r}")
        if not PILOT_LIFE.successors(PilotStatus(pilot.status)):
            raise ConflictError(f"pilot {identity.stamp!r} is {pilot.status}; it gets no more jobs")
        return pilot

    async def _again(self, repeated: Claimed, identity: Identity, tree: Tree) -> MatchAnswer:
        current = repeated.job.lease_until is not None and repeated.job.status == JobStatus.MATCHED
        if not current:
            return MatchAnswer(reasons={_SPENT: 1})
        return MatchAnswer(job=await self._handed_out(repeated, identity, tree))

    async def _claim(
        self,
        identity: Identity,
        request_id: str,
        site: str,
        look: Look,
        unfit: Container[int],
        pilot: PilotRow | None,
        tree: Tree,
    ) -> Claimed | None:
        if not look.left(unfit):
            return None
        async with self._claims:
            if not (fronts := look.left(unfit)):
                return None
            return await self._claim_one(identity, request_id, site, look, fronts, pilot, tree)

    async def _claim_one(
        self,
        identity: Identity,
        request_id: str,
        site: str,
        look: Look,
        fronts: Sequence[Front],
        pilot: PilotRow | None,
        tree: Tree,
    ) -> Claimed | None:
        async with self._units.write() as unit:
            lease = unit.now + timedelta(seconds=tree.workload.lease_seconds)
            for front in fronts:
                if await unit.runs.claim(front, identity.stamp, request_id, site, lease) is not None:
                    break
                look.exhausted.add(front)
            else:
                return None
            claimed = await unit.runs.claimed(identity.stamp, request_id)
            if claimed is None:
                raise ConflictError("the claim is gone", hint="Ask again", retry_after=1.0)
            job = claimed.job
            line = Line(
                time=unit.now,
                status=JobStatus.MATCHED,
                minor_status="Assigned",
                application_status=job.application_status or NO_APPLICATION_STATUS,
                source="Matcher",
            )
            event = line_event(
                line, vo=job.vo, job_id=job.job_id, attempt=job.attempt, actor=identity.subject
            )
            facts = event.data | {"Site": site, "PilotStamp": identity.stamp}
            unit.record(msgspec.structs.replace(event, data=facts))
            if pilot is not None and pilot.status != PilotStatus.RUNNING:
                unit.record(pilot_event(pilot, unit, identity.subject, Status=PilotStatus.RUNNING.value))
        return claimed

    async def _handed_out(self, claimed: Claimed, identity: Identity, tree: Tree) -> MatchedJob:
        job, rules = claimed.job, tree.workload
        # A run may last as long as its pilot: its token must not end before it.
        seconds = tree.pilot.token_seconds
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
    )


def _counted(fronts: Sequence[Front], unfit: dict[int, tuple[Dimension, ...]]) -> dict[str, int]:
    """Count, over the classes that have waiting jobs, why they do not fit."""
    return dict(Counter(str(dimension) for front in fronts for dimension in unfit.get(front.class_id, ())))
