"""The pilots of worker nodes that start them themselves: server and node have to agree on which there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.pilots import change_pilots, node_of
from dirac.systems.workload.models import (
    NodePilotEnd,
    NodeReceipt,
    NodeReport,
    NodeRequest,
    PilotMetadata,
    PilotStatus,
)
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.nodes import NodeRow
from dirac.systems.workload.ports.pilots import PilotRow
from dirac.systems.workload.ports.running import RunUnit
from dirac.systems.workload.states import PILOT_LIFE

# What is known of a node is written so seldom that thousands of them are no load.
_REMEMBER = 60.0
# A pilot says itself that it is done, and is gone a moment later: no reason to stop it.
_FAREWELL = timedelta(minutes=2)
_MOST_NODES = 100_000


class NodeId(msgspec.Struct, frozen=True):
    """A worker node."""

    site: str
    ce: str
    name: str


class NodePilots:
    """Makes the records of a node's pilots follow what the node says.

    Args:
        units: Transactions of the workload system.
        clock: The time.
    """

    def __init__(self, units: Units[RunUnit], clock: Clock) -> None:
        self._units = units
        self._clock = clock
        self._kept: dict[NodeId, float] = {}

    async def settle(
        self, identity: Identity, node: NodeId, request: NodeRequest, asked: Sequence[str]
    ) -> list[str]:
        """Give up the pilots that a node should have and has not; return those that it should not have.

        Args:
            identity: The node's.
            node: The node.
            request: What it said.
            asked: Stamps of pilots that this very request may have got before.
        """
        async with self._units.read() as unit:
            alive = await unit.pilots.of_element(node.site, node.ce)
            own = await unit.pilots.find(Visibility(), request.running, lock=False)
            stop = [
                stamp
                for stamp in request.running
                if (row := own.get(stamp)) is None or not _may_run(row, node, unit)
            ]
        there = {*request.running, *asked}
        lost = [
            pilot.pilot_stamp
            for pilot in alive
            if node_of(pilot) == node.name and pilot.pilot_stamp not in there
        ]
        now = self._clock.monotonic()
        due = now - self._kept.get(node, -_REMEMBER) >= _REMEMBER
        if lost or due:
            async with self._units.write() as unit:
                if lost:
                    rows = await unit.pilots.find(Visibility(), lost, lock=True)
                    news = {stamp: _lost(row) for stamp, row in rows.items() if _is_alive(row)}
                    await change_pilots(unit, rows, news, identity.subject)
                await unit.nodes.put(_row(node, request, unit))
            if len(self._kept) >= _MOST_NODES:
                self._kept.clear()
            self._kept[node] = now
        return stop

    async def ended(self, identity: Identity, report: NodeReport) -> NodeReceipt:
        """Note how pilots have ended; one that has said more itself keeps that."""
        async with self._units.write() as unit:
            found = await unit.pilots.find(Visibility(), list(report.ended), lock=True)
            node = NodeId(identity.site, identity.ce, report.node)
            rows = {stamp: row for stamp, row in found.items() if _is_of(row, node)}
            news = {stamp: _end(report.ended[stamp]) for stamp, row in rows.items() if _is_alive(row)}
            await change_pilots(unit, rows, news, identity.subject)
        return NodeReceipt(
            noted=sorted(rows), unknown=sorted(stamp for stamp in report.ended if stamp not in rows)
        )


def _is_of(pilot: PilotRow, node: NodeId) -> bool:
    return (pilot.grid_site, pilot.destination_site, node_of(pilot)) == (node.site, node.ce, node.name)


def _is_alive(pilot: PilotRow) -> bool:
    return bool(PILOT_LIFE.successors(PilotStatus(pilot.status)))


def _may_run(pilot: PilotRow, node: NodeId, unit: RunUnit) -> bool:
    return _is_of(pilot, node) and (_is_alive(pilot) or unit.now - pilot.last_update_time < _FAREWELL)


def _lost(pilot: PilotRow) -> PilotMetadata:
    # "Aborted" would keep the queue from its other nodes for a while, which have nothing to do with it.
    if pilot.status == PilotStatus.SUBMITTED:
        return PilotMetadata(Status=PilotStatus.DELETED, StatusReason="its worker node has not started it")
    return PilotMetadata(Status=PilotStatus.FAILED, StatusReason="its worker node does not have it any more")


def _end(end: NodePilotEnd) -> PilotMetadata:
    status = PilotStatus.DONE if end.exit_code == 0 else PilotStatus.FAILED
    reason = f"exit code {end.exit_code}" + (f": {end.reason}" if end.reason else "")
    return PilotMetadata(Status=status, StatusReason=reason)


def _row(node: NodeId, request: NodeRequest, unit: RunUnit) -> NodeRow:
    facts = {
        "slots": request.slots,
        "processors": request.processors,
        "memory_mb": request.memory_mb,
        "disk_mb": request.disk_mb,
        "pilots": len(request.running),
    }
    return NodeRow(site=node.site, ce=node.ce, node=node.name, facts=facts, heard=unit.now)
