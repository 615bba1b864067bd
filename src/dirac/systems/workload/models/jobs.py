"""States of jobs, reports on them, and what is told of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from dirac.systems.workload.models.values import Short

FOLLOW = "Follow"
"""The order for a run to send its output every few seconds, for as many seconds as its argument says."""


KILL_CONFIRMED = "Ended as ordered"
"""Minor status with which a run confirms that it has ended because it was told to."""


class JobStatus(StrEnum):
    """The states of a job."""

    SUBMITTING = "Submitting"
    RECEIVED = "Received"
    CHECKING = "Checking"
    SCOUTING = "Scouting"
    STAGING = "Staging"
    WAITING = "Waiting"
    MATCHED = "Matched"
    RUNNING = "Running"
    STALLED = "Stalled"
    COMPLETING = "Completing"
    DONE = "Done"
    COMPLETED = "Completed"
    FAILED = "Failed"
    DELETED = "Deleted"
    KILLED = "Killed"
    RESCHEDULED = "Rescheduled"


class JobVerb(StrEnum):
    """What people do to jobs, one by one or by a filter."""

    KILL = "kill"
    HOLD = "hold"
    RELEASE = "release"
    RESCHEDULE = "reschedule"
    RESET = "reset"
    DELETE = "delete"


class InsertedJob(msgspec.Struct, frozen=True):
    """A job that was accepted."""

    JobID: int
    Status: str
    MinorStatus: str
    TimeStamp: datetime


class JobStatusUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happened to a job at one moment; absent fields stay as they are."""

    Status: JobStatus | None = None
    MinorStatus: Short | None = None
    ApplicationStatus: Short | None = None
    Source: Annotated[str, Meta(max_length=32)] = "Unknown"


class StatusChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a status update left of a job."""

    Status: str | None = None
    MinorStatus: str | None = None
    ApplicationStatus: str | None = None
    HeartBeatTime: datetime | None = None
    StartExecTime: datetime | None = None
    EndExecTime: datetime | None = None
    LastUpdateTime: datetime | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The answer to a bulk operation: per job what became of it, or why nothing did.

    Values of `failed` are ``{"detail": text}``.
    """

    success: dict[int, StatusChange]
    failed: dict[int, dict[str, str]]


class HeartbeatData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A sign of life of a job: what it uses, and the end of its standard output.

    Units: memory in kB, disk in MB, times in seconds. `StandardOutputOffset` is the number of bytes that the
    job has printed before that end.
    """

    LoadAverage: float | None = None
    MemoryUsed: float | None = None
    Vsize: float | None = None
    AvailableDiskSpace: float | None = None
    CPUConsumed: float | None = None
    WallClockTime: float | None = None
    StandardOutput: Annotated[str, Meta(max_length=65536)] | None = None
    StandardOutputOffset: Annotated[int, Meta(ge=0, le=2**62)] | None = None


class JobCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order for a running job."""

    job_id: int
    command: str
    arguments: str | None = None


class LogEntry(msgspec.Struct, frozen=True):
    """One line of a job's life-cycle log."""

    Status: str
    MinorStatus: str
    ApplicationStatus: str
    StatusTime: datetime
    Source: str
    Attempt: int | None = None
    Note: str | None = None


class JobJdl(msgspec.Struct, frozen=True):
    """The description of a job as it is run, with what the server added."""

    JobID: int
    jdl: str


class Peek(msgspec.Struct, frozen=True):
    """The end of a running job's standard output.

    Attributes:
        attempt: The run it comes from, 0 if there was none.
        time: When the run was heard of last.
        offset: Bytes that the run had printed before `text`, None if it did not say.
    """

    JobID: int
    attempt: int
    text: str
    time: datetime | None
    offset: int | None = None
