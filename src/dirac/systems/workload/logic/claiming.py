"""Claims of many pilots at once: those that ask at the same time share a transaction.

A transaction costs the same for one claim as for thirty, nearly. While one is under way, the requests that
come in wait for the next; alone, nobody waits. If one of them is refused, each of the others is tried by
itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import timedelta

import msgspec

from dirac.core.errors import ConflictError
from dirac.core.unit import Event, Units
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.fitting import Offer, less
from dirac.systems.workload.logic.limits import Running
from dirac.systems.workload.logic.looking import Look
from dirac.systems.workload.logic.pilots import pilot_event
from dirac.systems.workload.logic.shadow import ShadowPolicy
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import JobStatus, PilotStatus
from dirac.systems.workload.ports.pilots import PilotRow
from dirac.systems.workload.ports.running import Ask, Claimed, Front, JobRow, Lot, RunUnit, Won
from dirac.systems.workload.states import Line, line_event

_MOST = 32
_AT_A_TIME = 2
_RACES = 5


class Asking(msgspec.Struct, frozen=True):
    """One request of a pilot, with what was found out about it.

    Attributes:
        number: How many jobs it is for.
    """

    identity: Identity
    request_id: str
    number: int
    site: str
    offer: Offer
    pilot: PilotRow | None
    tree: Tree

    @property
    def request_ids(self) -> list[str]:
        """The identifiers under which each of its jobs is claimed."""
        return [self.request_id, *(f"{self.request_id}#{n}" for n in range(2, self.number + 1))]

    @property
    def starts(self) -> bool:
        """Whether the pilot begins to run with this request."""
        return self.pilot is not None and self.pilot.status != PilotStatus.RUNNING


class _Waiting(msgspec.Struct, eq=False):
    """A request that waits for its claim."""

    asking: Asking
    look: Look
    answer: asyncio.Future[list[Claimed]]
    left: list[str]
    got: list[Claimed] = []
    races: int = 0

    @property
    def taken(self) -> list[int]:
        """The classes of which it has got a job."""
        return [claimed.job.class_id for claimed in self.got]


_Lots = dict[int, tuple[Front, list[tuple[_Waiting, str]]]]


class Claiming:
    """Carries out claims.

    Args:
        units: Transactions of the workload system.
        classes: The classes in memory.
        running: What runs, for the limits of sites.
        started: Is told which pilots run now.
        shadow: Is told of each decision.
    """

    def __init__(
        self,
        units: Units[RunUnit],
        classes: Classes,
        running: Running,
        started: Callable[[PilotRow], None],
        shadow: ShadowPolicy,
    ) -> None:
        self._units = units
        self._classes = classes
        self._running = running
        self._started = started
        self._queue: deque[_Waiting] = deque()
        self._shadow = shadow
        self._busy: set[asyncio.Task[None]] = set()

    async def claim(self, asking: Asking, look: Look) -> list[Claimed]:
        """Claim jobs for a pilot; there are none if nothing fits, or others were faster.

        Raises:
            RequestAnsweredError: The same request has got a job already.
            ConflictError: The pilot has ended.
        """
        if self._next(asking, look, []) is None:
            return []
        answer: asyncio.Future[list[Claimed]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(asking, look, answer, asking.request_ids, []))
        if len(self._busy) < _AT_A_TIME:
            task = asyncio.create_task(self._work())
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)
        return await answer

    def _next(self, asking: Asking, look: Look, taken: Sequence[int]) -> Front | None:
        """Return what a pilot is to get, beside jobs of these classes."""
        unfit = self._unfit(asking, taken)
        return None if unfit is None else look.first(unfit, self._running.closed(asking.site))

    def _unfit(self, asking: Asking, taken: Sequence[int]) -> Container[int] | None:
        """Return the classes that do not fit beside jobs of these classes; None if nothing does."""
        offer: Offer | None = asking.offer
        for class_id in taken:
            has = self._classes.get(class_id)
            offer = less(offer, has.needs) if offer is not None and has is not None else None
        return None if offer is None else self._classes.fit(asking.identity.vo, offer)

    async def _work(self) -> None:
        while self._queue:
            group: list[_Waiting] = []
            try:
                await self._serve(group)
            except ConflictError:
                for one in group:
                    await self._serve_alone(one)
            except BaseException as error:
                for one in group or self._next_group():
                    _fail(one, error)
                if not isinstance(error, Exception):
                    raise

    async def _serve_alone(self, one: _Waiting) -> None:
        try:
            await self._serve([one])
        except Exception as error:
            _fail(one, error)

    def _next_group(self) -> list[_Waiting]:
        group = [self._queue.popleft() for _ in range(min(_MOST, len(self._queue)))]
        return [one for one in group if not one.answer.done()]  # for the others nobody waits any more

    async def _serve(self, group: list[_Waiting]) -> None:
        """Carry out one transaction; who has not got all that they want, and may, gets another try.

        Args:
            group: For whom; if empty, it becomes those who wait when the transaction has begun.
        """
        won = Won({}, {})
        lots: _Lots = {}
        try:
            async with self._units.write() as unit:
                group.extend([] if group else self._next_group())
                self._choose(group, lots)
                if lots:
                    won = await unit.runs.claim(
                        [
                            Lot(front, tuple(_ask(one, request_id, unit) for one, request_id in asks))
                            for front, asks in lots.values()
                        ]
                    )
                    self._record(group, won.given, unit)
        except BaseException:
            self._let_go(lots, {})
            raise
        self._let_go(lots, won.given)
        for class_id, (front, asks) in lots.items():
            asks[0][0].look.served(front, won.fronts[class_id])
        for one in group:
            self._settle(one, won.given)

    def _choose(self, group: Sequence[_Waiting], lots: _Lots) -> None:
        """Choose for everybody; limits and shares count at once what was chosen."""
        for one in group:
            taken = one.taken
            for request_id in one.left:
                front = self._next(one.asking, one.look, taken)
                if front is None:
                    break
                self.decided(one.asking, one.look, taken)
                lots.setdefault(front.class_id, (front, []))[1].append((one, request_id))
                taken.append(front.class_id)
                self._running.note(one.asking.site, front.class_id)
                one.look.chosen(front)

    def decided(self, asking: Asking, look: Look, taken: Sequence[int] = ()) -> None:
        """Tell of a decision: what a pilot gets now, beside jobs of these classes, or that it is nothing."""
        if self._shadow.is_on and (unfit := self._unfit(asking, taken)) is not None:
            self._shadow.compare(asking.identity.vo, asking.site, look, unfit)

    def _let_go(self, lots: _Lots, given: Mapping[tuple[str, str], Claimed]) -> None:
        """Tell the limits what was given and what was not."""
        for class_id, (_, asks) in lots.items():
            for one, request_id in asks:
                site = one.asking.site
                if (one.asking.identity.stamp, request_id) in given:
                    self._running.given(site, class_id)
                else:
                    self._running.forget(site, class_id)

    def _record(
        self, group: Sequence[_Waiting], given: dict[tuple[str, str], Claimed], unit: RunUnit
    ) -> None:
        begun = set()
        for one in group:
            asking = one.asking
            for request_id in one.left:
                claimed = given.get((asking.identity.stamp, request_id))
                if claimed is None:
                    continue
                unit.record(_event(claimed.job, asking, unit))
                if asking.pilot is not None and asking.starts and asking.identity.stamp not in begun:
                    begun.add(asking.identity.stamp)
                    running = PilotStatus.RUNNING.value
                    unit.record(pilot_event(asking.pilot, unit, asking.identity.subject, Status=running))

    def _settle(self, one: _Waiting, given: dict[tuple[str, str], Claimed]) -> None:
        """Answer a request, or queue it again."""
        asking, stamp = one.asking, one.asking.identity.stamp
        new = [request_id for request_id in one.left if (stamp, request_id) in given]
        for request_id in new:
            one.got.append(given[stamp, request_id])
            one.left.remove(request_id)
        if new and asking.starts and asking.pilot is not None:
            self._started(msgspec.structs.replace(asking.pilot, status=PilotStatus.RUNNING.value))
        one.races += not new
        if one.left and one.races < _RACES and self._next(asking, one.look, one.taken) is not None:
            self._queue.appendleft(one)
            return
        if one.races == _RACES:
            one.look.spoiled = True
        if not one.answer.done():
            one.answer.set_result(one.got)


def _fail(one: _Waiting, error: BaseException) -> None:
    if one.answer.done():
        return
    if isinstance(error, asyncio.CancelledError):
        one.answer.cancel()
    else:
        one.answer.set_exception(error)


def _ask(one: _Waiting, request_id: str, unit: RunUnit) -> Ask:
    asking = one.asking
    return Ask(
        stamp=asking.identity.stamp,
        request_id=request_id,
        registered=asking.pilot is not None,
        site=asking.site,
        lease_until=unit.now + timedelta(seconds=asking.tree.workload.lease_seconds),
    )


def _event(job: JobRow, asking: Asking, unit: RunUnit) -> Event:
    line = Line(
        time=unit.now,
        status=JobStatus.MATCHED,
        minor_status=job.minor_status,
        application_status=job.application_status,
        source="Matcher",
    )
    actor = asking.identity.subject
    event = line_event(line, vo=job.vo, job_id=job.job_id, attempt=job.attempt, actor=actor)
    event.data.update({"Site": asking.site, "PilotStamp": asking.identity.stamp})
    return event
