"""Pilots: their records, and what they and their administrators say about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dirac.core.errors import ConflictError, InvalidInputError, NotAllowedError, NotFoundError, TooLargeError
from dirac.core.search import Page, Paging, SearchParams, SummaryParams
from dirac.core.unit import Event, Units
from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.models import PilotMetadata, PilotRegistration, PilotStatus
from dirac.systems.workload.policy import Visibility, is_service_administrator, readable_pilots
from dirac.systems.workload.ports.pilots import PilotRow
from dirac.systems.workload.ports.running import Configured, RunUnit
from dirac.systems.workload.states import PILOT_LIFE

MOST_PILOTS = 1000
_NODE = "node://"
# Where a pilot is decides which jobs it may have: it is not the one to say so.
_BY_OTHERS_ONLY = ("DestinationSite", "Queue", "GridSite", "GridType", "AccountingSent")


class Pilots:
    """Keeps the records of pilots.

    Args:
        units: Transactions of the workload system.
        configuration: Tells which VOs there are.
    """

    def __init__(self, units: Units[RunUnit], configuration: Configured) -> None:
        self._units = units
        self._configuration = configuration

    async def register(self, identity: Identity, pilot: PilotRegistration) -> None:
        """Register a pilot that was started elsewhere.

        Raises:
            NotAllowedError: It is one of another VO.
            InvalidInputError: There is no such VO.
            ConflictError: There is a pilot of that stamp.
        """
        if pilot.vo != identity.vo and not is_service_administrator(identity):
            raise NotAllowedError(f"pilots of {pilot.vo!r} are not yours to register")
        if pilot.vo not in (await self._configuration.current()).tree.virtual_organisations:
            raise InvalidInputError(f"there is no virtual organisation {pilot.vo!r}", where="vo")
        async with self._units.write() as unit:
            row = PilotRow(
                pilot_stamp=pilot.pilot_stamp,
                vo=pilot.vo,
                status=pilot.pilot_status.value,
                status_reason="",
                grid_type=pilot.grid_type,
                grid_site=pilot.grid_site,
                destination_site=pilot.destination_site,
                queue="",
                pilot_reference=pilot.pilot_reference or pilot.pilot_stamp,
                submission_time=unit.now,
                last_update_time=unit.now,
            )
            if not await unit.pilots.add([row]):
                raise ConflictError(f"there is a pilot {pilot.pilot_stamp!r} already")
            unit.record(pilot_event(row, unit, identity.subject, Status=row.status))

    async def set_metadata(self, identity: Identity, updates: Mapping[str, PilotMetadata]) -> None:
        """Change pilots: all of them, or none.

        A pilot may change its own record, though not where it is. One that has ended gives its jobs up.

        Raises:
            NotFoundError: There is no such pilot among them.
            NotAllowedError: A pilot says where it is.
            ConflictError: A state cannot follow the present one.
        """
        if len(updates) > MOST_PILOTS:
            raise TooLargeError(f"{len(updates)} pilots; at most {MOST_PILOTS} are accepted at once")
        if identity.kind == "pilot":
            _check_own(identity, updates)
        visible = Visibility() if is_service_administrator(identity) else Visibility(vo=identity.vo)
        async with self._units.write() as unit:
            rows = await unit.pilots.find(visible, list(updates), lock=True)
            if missing := [stamp for stamp in updates if stamp not in rows]:
                raise no_such_pilot(missing)
            refusals = [
                f"{stamp}: {refusal.reason}"
                for stamp, metadata in updates.items()
                if metadata.Status is not None
                and (refusal := PILOT_LIFE.refusal(PilotStatus(rows[stamp].status), metadata.Status))
            ]
            if refusals:
                raise ConflictError("; ".join(refusals))
            await change_pilots(unit, rows, updates, identity.subject)

    async def search(self, identity: Identity, params: SearchParams, paging: Paging) -> Page:
        """Return one page of the pilots of the caller's VO that fit.

        Raises:
            InvalidInputError: The parameters cannot be understood.
        """
        async with self._units.read() as unit:
            return await unit.pilots.search(readable_pilots(identity), params, paging)

    async def summary(self, identity: Identity, params: SummaryParams) -> list[dict[str, Any]]:
        """Count the pilots of the caller's VO that fit, by the values of some parameters.

        Raises:
            InvalidInputError: The parameters cannot be understood.
        """
        async with self._units.read() as unit:
            return await unit.pilots.summary(readable_pilots(identity), params)


def no_such_pilot(stamps: Sequence[str]) -> NotFoundError:
    """Return the error for pilots that do not exist, or that are out of the caller's sight."""
    return NotFoundError(f"there is no pilot {', '.join(sorted(stamps)[:20])}")


def node_reference(node: str, stamp: str) -> str:
    """Return the reference of a pilot that a worker node starts itself."""
    return f"{_NODE}{node}/{stamp}"


def node_of(pilot: PilotRow) -> str | None:
    """Return the worker node that has started a pilot, None if it was started otherwise."""
    if not pilot.pilot_reference.startswith(_NODE):
        return None
    return pilot.pilot_reference.removeprefix(_NODE).rpartition("/")[0]


def longest_life(queue: Queue | None, tree: Tree) -> int:
    """Return how long a pilot of a queue may run, in seconds."""
    if queue is None:
        return tree.pilot.token_seconds
    return queue.wall_time or max(queue.cpu_time, tree.pilot.token_seconds)


def pilot_event(pilot: PilotRow, unit: RunUnit, actor: str, **facts: Any) -> Event:
    """Return an event of a pilot's history."""
    return Event(
        kind="workload.pilot.status",
        vo=pilot.vo,
        subject_kind="pilot",
        subject_id=pilot.pilot_stamp,
        time=unit.now,
        actor=actor,
        data=facts,
    )


async def change_pilots(
    unit: RunUnit, rows: Mapping[str, PilotRow], updates: Mapping[str, PilotMetadata], actor: str
) -> None:
    """Change pilots, by moves that are possible; the runs of those that end are lost now, not later."""
    await unit.pilots.update(updates)
    ended = []
    for stamp, metadata in updates.items():
        facts = {
            name: str(value) if isinstance(value, PilotStatus) else value
            for name in PilotMetadata.__struct_fields__
            if (value := getattr(metadata, name)) is not None
        }
        unit.record(pilot_event(rows[stamp], unit, actor, **facts))
        if metadata.Status is not None and not PILOT_LIFE.successors(metadata.Status):
            ended.append(stamp)
    if not ended:
        return
    if await unit.runs.expire(ended):
        unit.enqueue("workload.expire_leases", key="expire_leases")
    for vo in sorted({rows[stamp].vo for stamp in ended}):
        unit.enqueue("workload.start_pilots", {"vo": vo}, key=f"start_pilots:{vo}")


def _check_own(identity: Identity, updates: Mapping[str, PilotMetadata]) -> None:
    if others := [stamp for stamp in updates if stamp != identity.stamp]:
        raise no_such_pilot(others)
    for metadata in updates.values():
        for name in _BY_OTHERS_ONLY:
            if getattr(metadata, name) is not None:
                raise NotAllowedError(f"a pilot does not set its own {name}")
