"""Pilots, and what is reported of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from dirac.systems.workload.models.values import JobID, Place, Short, Stamp


class PilotStatus(StrEnum):
    """The states of a pilot."""

    SUBMITTED = "Submitted"
    WAITING = "Waiting"
    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    DELETED = "Deleted"
    ABORTED = "Aborted"
    UNKNOWN = "Unknown"


class PilotRegistration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pilot to be registered."""

    pilot_stamp: Stamp
    vo: Annotated[str, Meta(max_length=64)]
    grid_type: Annotated[str, Meta(max_length=32)] = "DIRAC"
    grid_site: Place = "Unknown"
    destination_site: Place = "NotAssigned"
    pilot_reference: Short | None = None
    pilot_status: PilotStatus = PilotStatus.SUBMITTED


class PilotMetadata(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What may change of a pilot; absent fields stay as they are."""

    Status: PilotStatus | None = None
    StatusReason: Short | None = None
    BenchMark: float | None = None
    DestinationSite: Place | None = None
    Queue: Place | None = None
    GridSite: Place | None = None
    GridType: Annotated[str, Meta(max_length=32)] | None = None
    AccountingSent: bool | None = None
    CurrentJobID: JobID | None = None
