"""Worker nodes that start pilots themselves."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from dirac.systems.workload.models.values import Stamp

NodeName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)")]


Slots: TypeAlias = Annotated[int, Meta(ge=0, le=1024)]


Amount: TypeAlias = Annotated[int, Meta(ge=0, le=2**40)]


class NodeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A worker node asks for pilots to start.

    Attributes:
        node: Name of the node, unique within the computing element.
        request_id: The same for all tries of one request: it gets the same pilots again.
        slots: Pilots that could be started now.
        processors: Processors that are free.
        memory_mb: Memory that is free; 0 if that is not known.
        disk_mb: Free disk space for each pilot.
        running: Stamps of all pilots that the node has at this moment. What the server believes to be there
            and is not among them, is lost.
        wait: Seconds to wait for pilots if there is nothing to start now.
    """

    node: NodeName
    request_id: Annotated[str, Meta(min_length=1, max_length=64)]
    slots: Slots = 0
    processors: Slots = 0
    memory_mb: Amount = 0
    disk_mb: Amount = 0
    running: Annotated[list[Stamp], Meta(max_length=1024)] = []
    wait: Annotated[float, Meta(ge=0, le=30)] = 0


class NodePilot(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot that a node is to start.

    Attributes:
        secret: For the file `pilot.secret`, mode 0600.
        arguments: For the pilot's program.
        settings: For the file `pilot.json`.
        processors: What it may use.
        max_ram_mb: Memory that it may use, 0 for no limit.
        wall_seconds: How long it may run.
    """

    stamp: str
    vo: str
    queue: str
    secret: str
    arguments: list[str]
    settings: dict[str, Any]
    processors: int
    max_ram_mb: int
    wall_seconds: int


class NodeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is to do.

    Attributes:
        pilots: To be started now.
        stop: Stamps of pilots that have no record any more which would let them work.
        ask_again: Seconds until the next request, unless something changes on the node before.
    """

    pilots: list[NodePilot]
    stop: list[str]
    ask_again: float


class NodePilotEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a pilot has ended; the exit code is 128 + n after signal n."""

    exit_code: Annotated[int, Meta(ge=0, le=255)]
    reason: Annotated[str, Meta(max_length=200)] = ""


class NodeReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What became of pilots, by stamp."""

    node: NodeName
    ended: Annotated[dict[Stamp, NodePilotEnd], Meta(max_length=1024)]


class NodeReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """Which reports are taken care of, and which stamps are no pilots of this node; none need be repeated."""

    noted: list[str]
    unknown: list[str]


class NodeQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What one pilot of a queue gets, 0 for no limit."""

    name: str
    processors: int
    max_ram_mb: int
    max_running: int


class NodePlace(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's credential is good for."""

    site: str
    ce: str
    queues: list[NodeQueue]
    virtual_organisations: list[str]
    min_disk_mb: int
