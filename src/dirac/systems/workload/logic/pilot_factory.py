"""Starting pilots where there is work for them, and following them until they end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from dirac.core.entropy import Entropy
from dirac.core.errors import DiracError, NotFoundError
from dirac.core.unit import Units
from dirac.resources.computing.base import PilotState
from dirac.systems.configuration.models import Tree
from dirac.systems.workload.logic.life_cycle import SYSTEM
from dirac.systems.workload.logic.pilot_making import PilotMaker
from dirac.systems.workload.logic.pilots import change_pilots, node_of, pilot_event
from dirac.systems.workload.logic.planning import QueueState, places, plan, state_of, useful
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import PilotMetadata, PilotStatus
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.pilots import PilotRow, PilotSecrets
from dirac.systems.workload.ports.running import ComputingElements, Configured, RunUnit
from dirac.systems.workload.settings import PilotProgram
from dirac.systems.workload.states import PILOT_LIFE

log = logging.getLogger(__name__)

ABORTED_WITHIN = timedelta(seconds=60)
"""How long pilots that never ran keep a queue from getting more."""

# A node that starts pilots itself gives a sign of life every minute.
_SILENT_FOR = timedelta(minutes=10)
_UNKNOWN_FOR = timedelta(hours=1)
_CLEAN_SINCE = timedelta(days=15)
_REASON_LENGTH = 255


class PilotFactory:
    """Starts pilots and follows them.

    Args:
        units: Transactions of the workload system, with the pilots' secrets.
        configuration: Tells which queues there are.
        elements: Reaches the computing elements.
        secrets: Makes the pilots' secrets.
        classes: The classes in memory.
        entropy: Source of stamps.
        program: How a pilot is started.
    """

    def __init__(
        self,
        units: Units[RunUnit],
        configuration: Configured,
        elements: ComputingElements,
        secrets: PilotSecrets,
        classes: Classes,
        entropy: Entropy,
        program: PilotProgram,
    ) -> None:
        self._units = units
        self._configuration = configuration
        self._elements = elements
        self._classes = classes
        self._entropy = entropy
        self._program = program
        self._maker = PilotMaker(secrets, program)

    async def start(self, vo: str, entry: str | None = None) -> int:
        """Start the pilots that a VO's waiting jobs need; return how many there were.

        They are on record before they are handed over: after a crash in between, `check` hands them over.

        Args:
            vo: The virtual organisation.
            entry: The background task's outbox entry.
        """
        tree = (await self._configuration.current()).tree
        queues = places(tree, vo)
        async with self._units.read() as unit:
            counts = await unit.runs.waiting_counts(vo, useful(queues))
            await self._classes.refresh(unit)
        demand = [
            (job_class, count)
            for class_id, count in sorted(counts.items())
            if (job_class := self._classes.get(class_id)) is not None
        ]
        pulling = await self._pulling({(place.site, place.ce) for place in queues})
        async with self._units.write() as unit:
            new: list[PilotRow] = []
            if demand and queues:
                await unit.pilots.plan_lock()
                loads = await unit.pilots.loads()
                aborted = await unit.pilots.aborted(unit.now - ABORTED_WITHIN)
                states = [state_of(place, vo, loads, aborted) for place in queues]
                states = [_closed(state, pulling) for state in states]
                new = [
                    self._maker.row(place, vo, self._entropy.bytes(16).hex(), unit.now)
                    for place, number in zip(queues, plan(demand, states), strict=True)
                    for _ in range(number)
                ]
                await self._maker.register(unit, new, SYSTEM)
            if entry is not None:
                unit.complete(entry)
        if new:
            await self._hand_over(new, tree)
        return len(new)

    async def start_all(self) -> int:
        """Start the pilots that any VO's waiting jobs need; return how many there were.

        The VO that has fewest pilots for its share comes first.
        """
        tree = (await self._configuration.current()).tree
        async with self._units.read() as unit:
            loads = await unit.pilots.loads()
        has = Counter[str]()
        for (vo, *_), load in loads.items():
            has[vo] += load.waiting + load.idle + load.busy
        shares = {name: vo.job_share for name, vo in tree.virtual_organisations.items()}
        return sum([await self.start(vo) for vo in sorted(shares, key=lambda vo: (has[vo] / shares[vo], vo))])

    async def check(self) -> None:
        """Ask the computing elements about all pilots that have not ended, and act on what they say."""
        tree = (await self._configuration.current()).tree
        async with self._units.read() as unit:
            alive = [pilot for pilot in await unit.pilots.alive() if _is_ours(pilot)]
        pulling = await self._pulling({_element(pilot) for pilot in alive})
        await self._give_up([pilot for pilot in alive if _element(pilot) in pulling])
        alive = [pilot for pilot in alive if _element(pilot) not in pulling]
        await self._hand_over([pilot for pilot in alive if not pilot.pilot_reference], tree)
        known: dict[str, PilotState] = {}
        for (site, ce), pilots in _by_element(alive).items():
            references = {pilot.pilot_reference: pilot for pilot in pilots if pilot.pilot_reference}
            if not references:
                continue
            try:
                element = await self._elements.get(site, ce)
                states = await element.status(list(references))
            except DiracError as error:
                log.warning("no news of pilots: %s", error, extra={"site": site, "ce": ce})
                continue
            for reference, state in states.items():
                if (pilot := references.get(reference)) is not None:
                    known[pilot.pilot_stamp] = state
        if any(_news(pilot, known) for pilot in alive):
            async with self._units.write() as unit:
                rows = await unit.pilots.find(Visibility(), list(known), lock=True)
                news = {
                    stamp: found for stamp, row in rows.items() if (found := _verdict(row, known, unit.now))
                }
                if news:
                    await change_pilots(unit, rows, news, SYSTEM)

    async def _pulling(self, elements: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those elements whose nodes ask for pilots themselves."""
        found = set()
        for site, ce in elements:
            try:
                if (await self._elements.get(site, ce)).capabilities.pull:
                    found.add((site, ce))
            except DiracError:  # said, with its consequences, by whoever wants something of it
                continue
        return found

    async def _give_up(self, pilots: Sequence[PilotRow]) -> None:
        """Give up the pilots of worker nodes that have been silent for long."""
        if not pilots:
            return
        async with self._units.read() as unit:
            heard = await unit.nodes.heard(unit.now - _SILENT_FOR)
            since = unit.now - _SILENT_FOR
        silent = [
            pilot.pilot_stamp
            for pilot in pilots
            if pilot.submission_time < since and (*_element(pilot), node_of(pilot)) not in heard
        ]
        if not silent:
            return
        reason = "its worker node has not been heard of for ten minutes"
        async with self._units.write() as unit:
            rows = await unit.pilots.find(Visibility(), silent, lock=True)
            news = {
                stamp: PilotMetadata(Status=PilotStatus.FAILED, StatusReason=reason)
                for stamp, row in rows.items()
                if PILOT_LIFE.successors(PilotStatus(row.status))
            }
            await change_pilots(unit, rows, news, SYSTEM)

    async def clean(self) -> None:
        """Let computing elements forget the pilots that ended some time ago; may be repeated."""
        keep = timedelta(days=self._program.keep_days)
        async with self._units.read() as unit:
            ended = await unit.pilots.ended(unit.now - _CLEAN_SINCE - keep, unit.now - keep)
        for (site, ce), pilots in _by_element([pilot for pilot in ended if _is_ours(pilot)]).items():
            try:
                element = await self._elements.get(site, ce)
                kept = await element.cleanup([row.pilot_reference for row in pilots if row.pilot_reference])
            except DiracError as error:
                log.warning("pilots are not cleaned up: %s", error, extra={"site": site, "ce": ce})
                continue
            for reference, reason in kept.items():
                log.warning("a pilot is not cleaned up: %s", reason, extra={"pilot": reference})

    async def _hand_over(self, pilots: Sequence[PilotRow], tree: Tree) -> None:
        """Give pilots to their computing elements; one that was given before is not started again."""
        for (site, ce), group in _by_element(pilots).items():
            references: dict[str, str] = {}
            refused: dict[str, str] = {}
            try:
                element = await self._elements.get(site, ce)
                for answer in await element.submit([self._maker.job(pilot, tree) for pilot in group]):
                    if answer.reference is not None:
                        references[answer.stamp] = answer.reference
                    else:
                        refused[answer.stamp] = answer.error or "refused without a reason"
            except NotFoundError as error:
                refused = {pilot.pilot_stamp: str(error) for pilot in group}
            except DiracError as error:
                log.warning("pilots could not be handed over: %s", error, extra={"site": site, "ce": ce})
                continue  # `check` tries again
            await self._note(group, references, refused)

    async def _note(
        self, group: Sequence[PilotRow], references: Mapping[str, str], refused: Mapping[str, str]
    ) -> None:
        async with self._units.write() as unit:
            rows = await unit.pilots.find(Visibility(), [row.pilot_stamp for row in group], lock=True)
            await unit.pilots.submitted(references)
            for stamp, reference in references.items():
                unit.record(pilot_event(rows[stamp], unit, SYSTEM, PilotJobReference=reference))
            gone = {
                stamp: PilotMetadata(Status=PilotStatus.ABORTED, StatusReason=reason[:_REASON_LENGTH])
                for stamp, reason in refused.items()
                if PILOT_LIFE.successors(PilotStatus(rows[stamp].status))
            }
            if gone:
                await change_pilots(unit, rows, gone, SYSTEM)


def _closed(state: QueueState, pulling: Container[tuple[str, str]]) -> QueueState:
    """Return a queue as one to which nothing is submitted, if its nodes ask for pilots themselves."""
    pulls = (state.place.site, state.place.ce) in pulling
    return msgspec.structs.replace(state, blocked=True) if pulls else state


def _element(pilot: PilotRow) -> tuple[str, str]:
    return pilot.grid_site, pilot.destination_site


def _is_ours(pilot: PilotRow) -> bool:
    """Tell whether a pilot was started here; those that were registered have their stamp as reference."""
    return pilot.pilot_reference != pilot.pilot_stamp and bool(pilot.queue)


def _by_element(pilots: Iterable[PilotRow]) -> dict[tuple[str, str], list[PilotRow]]:
    groups: dict[tuple[str, str], list[PilotRow]] = {}
    for pilot in pilots:
        groups.setdefault(_element(pilot), []).append(pilot)
    return groups


def _news(pilot: PilotRow, known: Mapping[str, PilotState]) -> bool:
    state = known.get(pilot.pilot_stamp)
    return state is not None and (state.status.value != pilot.status or state.status.value == "Unknown")


def _verdict(pilot: PilotRow, known: Mapping[str, PilotState], now: datetime) -> PilotMetadata | None:
    """Return what is new about a pilot, None if nothing is."""
    state, old = known[pilot.pilot_stamp], PilotStatus(pilot.status)
    new = PilotStatus(state.status.value)
    reason = state.reason or ""
    if new == PilotStatus.UNKNOWN == old and now - pilot.last_update_time > _UNKNOWN_FOR:
        new, reason = PilotStatus.ABORTED, "the computing element has not known it for an hour"
    if new == old or PILOT_LIFE.refusal(old, new):
        return None  # it has told us more itself
    if state.exit_code is not None and not reason:
        reason = f"exit code {state.exit_code}"
    return PilotMetadata(Status=new, StatusReason=reason[:_REASON_LENGTH])
