"""What the logic of runs needs: stores, tokens, computing elements; the other modules here have the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from dirac.core.errors import ConflictError
from dirac.core.unit import Event, UnitOfWork
from dirac.resources.computing.base import ComputingElement
from dirac.systems.configuration.models import Tree
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.control import ControlRepository
from dirac.systems.workload.ports.nodes import NodeRepository
from dirac.systems.workload.ports.pilots import PilotRepository, PilotSecretRepository
from dirac.systems.workload.ports.pipeline import PipelineRepository
from dirac.systems.workload.ports.usage import UsageRepository
from dirac.systems.workload.ports.work import JobRepository
from dirac.systems.workload.states import Standing


class Snapshot(Protocol):
    """The configuration as of one version."""

    @property
    def tree(self) -> Tree:
        """All of it."""
        ...


class Configured(Protocol):
    """Who knows the configuration in force."""

    async def current(self) -> Snapshot:
        """Return it."""
        ...


class JobTokens(Protocol):
    """Who issues the tokens of runs."""

    async def job_token(
        self,
        *,
        job_id: int,
        attempt: int,
        vo: str,
        owner_sub: str,
        owner: str,
        group: str,
        stamp: str,
        seconds: int,
        site: str = "",
    ) -> str:
        """Return a token for this one run of this one job."""
        ...


class ComputingElements(Protocol):
    """Who knows how to reach computing elements."""

    async def get(self, site: str, ce: str) -> ComputingElement:
        """Return a computing element of the configuration.

        Raises:
            NotFoundError: The configuration has none of that name.
            InvalidInputError: Its settings are wrong.
        """
        ...


class ClassRow(msgspec.Struct, frozen=True):
    """A stored requirement class; `requirements` are `dirac.formats.description.Requirements`."""

    class_id: int
    vo: str
    owner_group: str
    owner_sub: str
    requirements: dict[str, Any]


class RunningRow(msgspec.Struct, frozen=True):
    """Runs of one class at one site that are not over.

    Attributes:
        newest: When the newest of them was claimed.
    """

    class_id: int
    site: str
    number: int
    newest: datetime


class Front(msgspec.Struct, frozen=True):
    """Which job of a class would be next: the oldest one of the highest priority."""

    class_id: int
    priority: int
    job_id: int


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job with its present run, as far as deeds need it.

    Attributes:
        attempt: Number of the present run, 0 before the first.
        pilot_stamp: The pilot that has this run, None if there was none yet.
        claimed: When the pilot got it.
        lease_until: When it counts as lost, None if there is none or it is over.
        last_report: Time of the newest report that the run has made.
        handling: What has to be done for it and not for most others, `ports.pipeline.Handling`.
    """

    job_id: int
    vo: str
    owner_sub: str
    owner: str
    owner_group: str
    class_id: int
    status: str
    minor_status: str
    application_status: str
    site: str
    user_priority: int
    attempt: int
    reschedule_counter: int
    submission_time: datetime
    last_update_time: datetime
    start_exec_time: datetime | None
    end_exec_time: datetime | None
    pilot_stamp: str | None = None
    lease_until: datetime | None = None
    last_report: datetime | None = None
    claimed: datetime | None = None
    handling: int = 0


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a pilot has got, with its description."""

    job: JobRow
    jdl: str


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot's request, as far as a claim needs it.

    Attributes:
        registered: There is a record of this pilot.
        site: Where the pilot is.
        lease_until: When the run counts as lost.
    """

    stamp: str
    request_id: str
    registered: bool
    site: str
    lease_until: datetime


class Lot(msgspec.Struct, frozen=True):
    """Requests that are to get jobs of one class and priority, those at its front."""

    front: Front
    asks: tuple[Ask, ...]


class Won(msgspec.Struct, frozen=True):
    """What a claim got.

    Attributes:
        given: Jobs by the stamp and identifier of the request that got them; who got none is absent.
        fronts: By class what is at its front now; None if nothing of it waits any more. The job of a front
            may be one that does not wait: then it is smaller than the first one that does.
    """

    given: dict[tuple[str, str], Claimed]
    fronts: dict[int, Front | None]


class RequestAnsweredError(ConflictError):
    """A request has got a job before."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a job; what is None stays.

    Attributes:
        standing: Where it is now.
        outcome: What its present run ended with, if it did.
        reported: Time of the newest report of the run, if it has made one.
        lease_until: The run's new lease.
        rescheduled: The job waits again; these are its counter and where it may run.
    """

    job: JobRow
    standing: Standing
    outcome: str | None = None
    reported: datetime | None = None
    lease_until: datetime | None = None
    rescheduled: tuple[int, str] | None = None


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """A run's sign of life.

    Attributes:
        peek_offset: Bytes that the run had printed before `peek`.
        slot: The span of its series that it falls into, in seconds of the run; None if it is in none.
    """

    job_id: int
    attempt: int
    lease_until: datetime
    dynamic: dict[str, float]
    peek: str | None
    peek_offset: int | None = None
    slot: int | None = None


class Order(msgspec.Struct, frozen=True):
    """A command for a run; `answer_until` is when it should have said that it has obeyed, if it should."""

    job_id: int
    attempt: int
    command: str
    arguments: str | None = None
    answer_until: datetime | None = None


class RunRepository(Protocol):
    """Jobs on their way through claims and runs. All methods take and answer in bulk."""

    async def classes(self, after: int) -> list[ClassRow]:
        """Return the classes with a greater identifier than this one."""
        ...

    async def class_count(self, after: int) -> int:
        """Count the classes with a greater identifier than this one."""
        ...

    async def fronts(self, vo: str) -> list[Front]:
        """Return, for each class of a VO with waiting jobs, which of them would be next."""
        ...

    async def claim(self, lots: Sequence[Lot]) -> Won:
        """Give waiting jobs to pilots; no job is given twice, whoever else does this at the same time.

        Each class is in one lot only.

        Raises:
            RequestAnsweredError: One of the requests has got a job already.
            ConflictError: One of the pilots has ended.
        """
        ...

    async def claimed(self, stamp: str, request_ids: Sequence[str]) -> list[Claimed]:
        """Return the jobs that these requests of this pilot got, in no order.

        `JobRow.attempt` is that of the request, and `lease_until` is None unless it is the present one.
        """
        ...

    async def running(self) -> list[RunningRow]:
        """Return the runs that are not over, counted by class and site."""
        ...

    async def waiting_counts(self, vo: str, most: int = 10_000) -> dict[int, int]:
        """Return the number of waiting jobs by class, of each no more than so many."""
        ...

    async def waiting_before(self, job: JobRow, classes: Sequence[int]) -> int:
        """Count the waiting jobs of these classes that have a higher priority, or the same and are older."""
        ...

    async def starts(self, job: JobRow, most: int) -> list[datetime]:
        """Return when the last jobs of a job's class and priority have started, at most so many."""
        ...

    async def jobs(self, visible: Visibility, job_ids: Sequence[int], *, lock: bool) -> dict[int, JobRow]:
        """Return those jobs that are visible; locked ones are not changed by others meanwhile."""
        ...

    async def overdue(self, limit: int) -> list[JobRow]:
        """Return and lock jobs whose present run has outlived its lease."""
        ...

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write what becomes of jobs."""
        ...

    async def beat(self, beats: Sequence[Beat]) -> None:
        """Write signs of life."""
        ...

    async def order(self, orders: Sequence[Order]) -> None:
        """Leave commands for runs."""
        ...

    async def deliver(self, runs: Mapping[int, int]) -> list[Order]:
        """Return the commands for these runs (attempt by job) that were not delivered; now they are."""
        ...

    async def set_site(self, sites: Mapping[int, str]) -> None:
        """Set the site of jobs."""
        ...

    async def set_parameters(self, values: Mapping[int, Mapping[str, str]]) -> None:
        """Set free parameters of jobs; others stay."""
        ...

    async def expire(self, stamps: Sequence[str]) -> int:
        """Let the leases of these pilots' runs end now; return how many there were."""
        ...


class RunUnit(UnitOfWork, Protocol):
    """One transaction on jobs, runs and pilots."""

    async def history(self, subject_kind: str, subject_ids: Sequence[str]) -> list[Event]:
        """Return all events of these subjects, in the order in which they were recorded."""
        ...

    async def forget(self, subject_kind: str, subject_ids: Sequence[str]) -> None:
        """Remove all events of these subjects."""
        ...

    @property
    def jobs(self) -> JobRepository:
        """The jobs, as `ports` has them."""
        ...

    @property
    def runs(self) -> RunRepository:
        """Jobs on their way through claims and runs."""
        ...

    @property
    def control(self) -> ControlRepository:
        """What people do to jobs, and look at."""
        ...

    @property
    def pilots(self) -> PilotRepository:
        """The pilots."""
        ...

    @property
    def pipeline(self) -> PipelineRepository:
        """Jobs that may not wait for pilots yet."""
        ...

    @property
    def nodes(self) -> NodeRepository:
        """Worker nodes that start pilots themselves."""
        ...

    @property
    def usage(self) -> UsageRepository:
        """What ended runs have used."""
        ...

    @property
    def pilot_secrets(self) -> PilotSecretRepository:
        """What pilots log in with."""
        ...
