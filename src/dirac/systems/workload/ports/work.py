"""What the logic of jobs and sandboxes needs: its stores and the rules.

The object store is `dirac.resources.storage.base.ObjectStore`.

The values that go through these doors are here as well; what goes over the wire is in `models`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from dirac.core.search import Page, Paging, SearchParams, SummaryParams
from dirac.core.unit import Event, UnitOfWork
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.models import SandboxType
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.pipeline import PipelineRepository

JOB_ATTRIBUTES = {
    "JobID": "job_id",
    "JobType": "job_type",
    "JobGroup": "job_group",
    "Site": "site",
    "JobName": "job_name",
    "Owner": "owner",
    "OwnerGroup": "owner_group",
    "VO": "vo",
    "SubmissionTime": "submission_time",
    "RescheduleTime": "reschedule_time",
    "LastUpdateTime": "last_update_time",
    "StartExecTime": "start_exec_time",
    "HeartBeatTime": "heartbeat_time",
    "EndExecTime": "end_exec_time",
    "Status": "status",
    "MinorStatus": "minor_status",
    "ApplicationStatus": "application_status",
    "UserPriority": "user_priority",
    "RescheduleCounter": "reschedule_counter",
    "VerifiedFlag": "verified_flag",
    "AccountedFlag": "accounted_flag",
}
"""What every job has, by the names that DIRAC gives it, and what the store calls it; in the order of rows."""

COUNT_KINDS = ("place", "owner", "detail", "group")
"""The ways in which jobs are counted; what belongs to each, the store knows."""


class Owner(msgspec.Struct, frozen=True):
    """Whose a job or a sandbox is."""

    vo: str
    sub: str
    username: str
    group: str


class NewClass(msgspec.Struct, frozen=True):
    """A requirement class: all jobs of one VO and group with the same needs.

    Attributes:
        digest: Names it, SHA-256 in hexadecimal.
        requirements: `dirac.formats.description.Requirements` as plain values.
    """

    digest: str
    requirements: dict[str, Any]


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be inserted.

    Attributes:
        digest: Of its requirement class.
        jdl: Its description, with ``%j`` wherever its identifier belongs.
    """

    digest: str
    jdl: str
    status: str
    minor_status: str
    site: str
    job_name: str
    job_group: str
    job_type: str
    priority: int


class JobHead(msgspec.Struct, frozen=True):
    """What decides who may act on a job, and for which run.

    Attributes:
        attempt: Number of the present run, 0 before the first.
        pilot_stamp: The pilot that holds this run, None if there is none.
    """

    job_id: int
    owner: Owner
    status: str
    attempt: int
    pilot_stamp: str | None


class StoredPeek(msgspec.Struct, frozen=True):
    """The end of a run's standard output, as of its last heartbeat; None where there was none."""

    attempt: int
    text: str | None
    time: datetime | None
    offset: int | None


class JobRepository(Protocol):
    """Jobs, their descriptions and classes. All methods take and answer in bulk."""

    async def ensure_classes(self, owner: Owner, classes: Sequence[NewClass]) -> dict[str, int]:
        """Return the identifiers of classes by digest; those that are new are inserted."""
        ...

    async def insert(self, owner: Owner, jobs: Sequence[NewJob], classes: Mapping[str, int]) -> list[int]:
        """Insert jobs with their descriptions; return their identifiers in the same order."""
        ...

    async def count_waiting(self, vo: str, sub: str | None) -> int:
        """Count the jobs of a VO, or of one of its users, that have not begun."""
        ...

    async def search(self, visible: Visibility, params: SearchParams, paging: Paging) -> Page:
        """Return one page of the visible jobs that fit."""
        ...

    async def summary(self, visible: Visibility, params: SummaryParams) -> list[dict[str, Any]]:
        """Count the visible jobs that fit, by the values of some parameters."""
        ...

    async def fold_counts(self, most: int) -> int:
        """Add up changes of the numbers of jobs, at most so many; return how many."""
        ...

    async def repair_counts(self, kind: str) -> int:
        """Make the numbers of jobs of a kind right; return how many were wrong."""
        ...

    async def heads(self, visible: Visibility, job_ids: Sequence[int]) -> dict[int, JobHead]:
        """Return the heads of those jobs that are visible."""
        ...

    async def lock(self, job_ids: Sequence[int]) -> None:
        """Keep others from changing these jobs until the end of the transaction."""
        ...

    async def jdls(self, visible: Visibility, job_ids: Sequence[int]) -> dict[int, str]:
        """Return the descriptions of those jobs that are visible."""
        ...

    async def parameters(self, job_ids: Sequence[int]) -> dict[int, dict[str, str]]:
        """Return the free parameters of jobs, by name; jobs without any are absent."""
        ...

    async def peeks(self, visible: Visibility, job_ids: Sequence[int]) -> dict[int, StoredPeek]:
        """Return the last seen output of the present run of those jobs that are visible."""
        ...


class SandboxRecord(msgspec.Struct, frozen=True):
    """An archive that is known, whether it was uploaded or only announced.

    Attributes:
        stored: When the object store was seen to have it; None if it never was.
    """

    sandbox_id: int
    pfn: str
    vo: str
    owner_sub: str
    owner_group: str
    size: int
    stored: datetime | None


class Review(msgspec.Struct, frozen=True):
    """What a look at the archives that were left alone longest has found.

    Attributes:
        unused: Those that belong to no job; they stay locked until the end of the transaction.
        seen: How many were looked at.
    """

    unused: list[SandboxRecord]
    seen: int


class Assignment(msgspec.Struct, frozen=True):
    """The link from a job to one of its archives.

    Attributes:
        attempt: The run that made it; None for inputs.
    """

    job_id: int
    type: SandboxType
    sandbox_id: int
    attempt: int | None = None


class SandboxRepository(Protocol):
    """Archives and the jobs they belong to."""

    async def announce(self, owner: Owner, pfn: str, size: int) -> SandboxRecord:
        """Return the record of an archive, making it if it is new, and count this as an access.

        The record may be somebody else's: the caller has to look.
        """
        ...

    async def find(self, pfns: Sequence[str], *, lock: bool = False) -> dict[str, SandboxRecord]:
        """Return the records of archives by name; locked ones are not cleaned away meanwhile."""
        ...

    async def mark_stored(self, sandbox_ids: Sequence[int]) -> None:
        """Note that the object store has these archives."""
        ...

    async def assign(self, assignments: Sequence[Assignment]) -> None:
        """Link archives to jobs; a link that exists stays, for the newest run that asked for it."""
        ...

    async def assigned(
        self, job_ids: Sequence[int], kind: SandboxType | None = None
    ) -> list[tuple[int, str, str]]:
        """Return (job, type, pfn) of the inputs and of the present runs' outputs of jobs."""
        ...

    async def unassign(self, job_ids: Sequence[int]) -> None:
        """Remove all links of jobs; the archives count as used now."""
        ...

    async def review(self, left_since: datetime, limit: int, *, missing: bool = False) -> Review:
        """Look at the archives that were left alone longest; those that belong to a job count as used now.

        So each is looked at once in the time for which it may be left alone, however many there are.

        Args:
            left_since: Only those that were left alone since then.
            limit: How many.
            missing: Only those that are not stored.
        """
        ...

    async def mark_missing(self, sandbox_ids: Sequence[int]) -> None:
        """Note that the object store may not have these archives any more."""
        ...

    async def delete(self, sandbox_ids: Sequence[int]) -> None:
        """Delete records."""
        ...


class WorkUnit(UnitOfWork, Protocol):
    """One transaction on jobs and sandboxes."""

    @property
    def jobs(self) -> JobRepository:
        """The jobs."""
        ...

    @property
    def sandboxes(self) -> SandboxRepository:
        """The archives."""
        ...

    @property
    def pipeline(self) -> PipelineRepository:
        """Jobs that may not wait for pilots yet."""
        ...

    async def recall(self, scope: str, key: str, digest: str) -> str | None:
        """Return the answer that was given for this idempotency key, None if it is new.

        Raises:
            ConflictError: The key was used before, for another request.
        """
        ...

    async def remember(self, scope: str, key: str, digest: str, answer: str) -> None:
        """Keep the answer to a request for its repetition.

        Raises:
            ConflictError: The same request is being carried out elsewhere; it has a `retry_after`.
        """
        ...

    async def history(self, subject_kind: str, subject_ids: Sequence[str]) -> list[Event]:
        """Return all events of these subjects, in the order in which they were recorded."""
        ...


class Rules(Protocol):
    """What the configuration says about jobs."""

    async def workload(self) -> Workload:
        """Return the section in force."""
        ...
