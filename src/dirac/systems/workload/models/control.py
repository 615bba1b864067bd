"""What people do to jobs, many at a time, and look at."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from dirac.core.search import Condition
from dirac.systems.workload.models.values import JobID


class JobIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs that something is to be done with."""

    job_ids: Annotated[list[JobID], Meta(min_length=1, max_length=10_000)]


Conditions: TypeAlias = Annotated[list[Condition], Meta(max_length=90)]


class BulkFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which jobs something is to be done with: those that fit all of the conditions."""

    search: Conditions = []


class BulkPreview(msgspec.Struct, frozen=True):
    """What a verb would change at this moment.

    Attributes:
        count: How many jobs.
        last: The greatest of their numbers, 0 if there are none; a bound for what is done then.
    """

    count: int
    last: int


class BulkStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One bounded step of what is to be done with all jobs that fit, in the order of their numbers.

    Attributes:
        search: Conditions, all of which must hold.
        until: Jobs with greater numbers are left alone: those that came after the preview.
        after: Jobs up to this number have been dealt with.
        limit: Jobs in this step.
    """

    until: JobID
    search: Conditions = []
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500


class BulkOutcome(msgspec.Struct, frozen=True):
    """What became of one step.

    Attributes:
        done: How many jobs were changed.
        failed: Why others were not; values are ``{"detail": text}``.
        after: Where the next step begins.
        finished: There is nothing more to do.
    """

    done: int
    failed: dict[int, dict[str, str]]
    after: int
    finished: bool


class Moment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs, and the time at which they are to be shown."""

    job_ids: Annotated[list[JobID], Meta(min_length=1, max_length=1000)]
    time: datetime


class JobAt(msgspec.Struct, frozen=True):
    """What a job was at some time, from its history.

    Attributes:
        StatusTime: Since when; None if there was no such job yet, and then the statuses are empty.
        Attempt: Its run, None before the first.
    """

    JobID: int
    Status: str
    MinorStatus: str
    ApplicationStatus: str
    StatusTime: datetime | None
    Attempt: int | None = None


class VitalSign(msgspec.Struct, frozen=True):
    """What a run used at some time; names and units are those of `HeartbeatData`."""

    Attempt: int
    time: datetime
    data: dict[str, float]


class Following(msgspec.Struct, frozen=True):
    """The present run was asked to send its output often.

    Attributes:
        seconds: For how long it does.
        within: When the next sign of life is due that hears of it, in seconds.
    """

    seconds: int
    within: int
