"""Starting pilots where there is work for them, and following them until they end."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from dirac.core.entropy import Entropy
from dirac.core.errors import DiracError, NotFoundError
from dirac.core.unit import Units
from dirac.resources.computing.base import PilotJob, PilotState
from dirac.systems.configuration.models import Tree
from dirac.systems.workload.logic.life_cycle import SYSTEM
from dirac.systems.workload.logic.matching import find_queue
from dirac.systems.workload.logic.pilots import change_pilots, pilot_event
from dirac.systems.workload.logic.planning import Place, QueueState, places, plan
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import PilotMetadata, PilotStatus
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.running import (
    ComputingElements,
    Configured,
    PilotRow,
    PilotSecrets,
    QueueLoad,
    RunUnit,
)
from dirac.systems.workload.settings import PilotProgram
from dirac.systems.workload.states import PILOT_LIFE

log = logging.getLogger(__name__)

# After so many pilots that never ran, a queue is left alone until these are so old.
_ABORTED = 3
_ABORTED_WITHIN = timedelta(seconds=60)
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
        self._secrets = secrets
        self._classes = classes
        self._entropy = entropy
        self._program = program

    async def start(self, vo: str, entry: str | None = None) -> int:
        """Start the pilots that a VO's waiting jobs need; return how many there were.

        They are on record before they are handed over: after a crash in between, `check` hands them over.

        Args:
            vo: The virtual organisation.
            entry: The background task's outbox entry.
        """
        tree = (await self._configuration.current()).tree
        async with self._units.read() as unit:
            counts = await unit.runs.waiting_counts(vo)
            await self._classes.refresh(unit)
        demand = [
            (job_class, count)
            for class_id, count in sorted(counts.items())
            if (job_class := self._classes.get(class_id)) is not None
        ]
        queues = places(tree, vo)
        async with self._units.write() as unit:
            new: list[PilotRow] = []
            if demand and queues:
                await unit.pilots.plan_lock()
                loads = await unit.pilots.loads()
                aborted = await unit.pilots.aborted(unit.now - _ABORTED_WITHIN)
                states = [_state(place, vo, loads, aborted) for place in queues]
                new = self._rows(unit.now, vo, zip(queues, plan(demand, states), strict=True))
                await self._register(unit, new)
            if entry is not None:
                unit.complete(entry)
        if new:
            await self._hand_over(new, tree)
        return len(new)

    async def start_all(self) -> int:
        """Start the pilots that any VO's waiting jobs need; return how many there were."""
        tree = (await self._configuration.current()).tree
        return sum([await self.start(vo) for vo in sorted(tree.virtual_organisations)])

    async def check(self) -> None:
        """Ask the computing elements about all pilots that have not ended, and act on what they say."""
        tree = (await self._configuration.current()).tree
        async with self._units.read() as unit:
            alive = [pilot for pilot in await unit.pilots.alive() if _is_ours(pilot)]
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

    def _rows(self, now: datetime, vo: str, wanted: Iterable[tuple[Place, int]]) -> list[PilotRow]:
        return [
            PilotRow(
                pilot_stamp=self._entropy.bytes(16).hex(),
                vo=vo,
                status=PilotStatus.SUBMITTED.value,
                status_reason="",
                grid_type=place.ce_type,
                grid_site=place.site,
                destination_site=place.ce,
                queue=place.name,
                pilot_reference="",
                submission_time=now,
                last_update_time=now,
            )
            for place, number in wanted
            for _ in range(number)
        ]

    async def _register(self, unit: RunUnit, new: Sequence[PilotRow]) -> None:
        if not new:
            return
        await unit.pilots.add(new)
        expires = unit.now + timedelta(days=self._program.secret_days)
        for pilot in new:
            await unit.pilot_secrets.add(
                pilot.pilot_stamp, pilot.vo, self._secrets.digest(pilot.pilot_stamp), expires
            )
            place = {"GridSite": pilot.grid_site, "DestinationSite": pilot.destination_site}
            unit.record(pilot_event(pilot, unit, SYSTEM, Status=pilot.status, Queue=pilot.queue, **place))

    async def _hand_over(self, pilots: Sequence[PilotRow], tree: Tree) -> None:
        """Give pilots to their computing elements; one that was given before is not started again."""
        for (site, ce), group in _by_element(pilots).items():
            references: dict[str, str] = {}
            refused: dict[str, str] = {}
            try:
                element = await self._elements.get(site, ce)
                for answer in await element.submit([self._job(pilot, tree) for pilot in group]):
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

    def _job(self, pilot: PilotRow, tree: Tree) -> PilotJob:
        queue = find_queue(tree, pilot.grid_site, pilot.destination_site, pilot.queue)
        settings: dict[str, object] = {
            "cvmfs_locations": tree.pilot.locations,
            "release": tree.pilot.release,
            "idle_limit_seconds": tree.pilot.idle_seconds,
            "max_cycles": tree.pilot.max_jobs,
            "min_disk_mb": tree.pilot.min_disk,
        }
        if self._program.url.startswith("http://"):
            settings["allow_http"] = True
        if queue is not None:
            settings |= {"tags": queue.tags, "cpu_time_left": queue.cpu_time, "processors": queue.processors}
            if queue.max_ram:
                settings["max_ram_mb"] = queue.max_ram
        return PilotJob(
            stamp=pilot.pilot_stamp,
            executable=self._program.python,
            arguments=(
                self._program.program,
                *("-n", pilot.grid_site, "-N", pilot.destination_site, "-Q", pilot.queue),
                *("--wnVO", pilot.vo, "--pilotUUID", pilot.pilot_stamp, "-u", self._program.url),
            ),
            files={
                "pilot.json": json.dumps(settings, indent=1, sort_keys=True).encode(),
                "pilot.secret": self._secrets.secret(pilot.pilot_stamp).encode(),
            },
            processors=queue.processors if queue is not None else 1,
        )


def _state(
    place: Place,
    vo: str,
    loads: Mapping[tuple[str, str, str, str], QueueLoad],
    aborted: Mapping[tuple[str, str, str], int],
) -> QueueState:
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


def _is_ours(pilot: PilotRow) -> bool:
    """Tell whether a pilot was started here; those that were registered have their stamp as reference."""
    return pilot.pilot_reference != pilot.pilot_stamp and bool(pilot.queue)


def _by_element(pilots: Iterable[PilotRow]) -> dict[tuple[str, str], list[PilotRow]]:
    groups: dict[tuple[str, str], list[PilotRow]] = {}
    for pilot in pilots:
        groups.setdefault((pilot.grid_site, pilot.destination_site), []).append(pilot)
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
