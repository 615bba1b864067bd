"""What the optimisation pipeline needs: a store of jobs that may not wait yet, a catalog of files, and steps.

A step is a plugin of kind `dirac.optimiser`: a class without arguments that has a name and judges jobs. It
may look at the outside; it changes nothing. What becomes of the jobs is written by the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntFlag, StrEnum
from typing import Protocol

import msgspec

from dirac.formats.description import JobDescription
from dirac.systems.configuration.models import Tree


class Handling(IntFlag):
    """What has to be done for a job and not for most others.

    Attributes:
        PIPED: It goes through the pipeline whenever it is to wait for a pilot.
        NEEDED: Other jobs depend on it: they have to hear how it ended.
        RETRIED: If it fails it may run again by itself.
    """

    PIPED = 1
    NEEDED = 2
    RETRIED = 4


class Cause(StrEnum):
    """Why a job may not wait for a pilot; the values are minor statuses, those of DIRAC where it has one."""

    JOBS = "Waiting for other jobs"
    JOB_FAILED = "Other job not done"
    ILLEGAL = "Illegal Job JDL"
    NO_DATA = "Input Data Not Available"
    NO_SITE = "No candidate sites available"
    CATALOG = "Catalog not available"
    TAPE = "Files are on tape only"
    STEP = "Optimizer not available"


class Needed(msgspec.Struct, frozen=True):
    """A job that another one depends on.

    Attributes:
        status: Its state; None if it has been removed for good.
    """

    job_id: int
    name: str
    status: str | None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A job, as steps see it.

    Attributes:
        sites: Where it can run after what earlier steps found; None for anywhere.
        needed: The jobs that it depends on.
    """

    job_id: int
    vo: str
    owner: str
    owner_group: str
    description: JobDescription
    sites: frozenset[str] | None = None
    needed: tuple[Needed, ...] = ()


class Go(msgspec.Struct, frozen=True):
    """The job may go on.

    Attributes:
        sites: Where it can run; None if this step does not restrict it.
    """

    sites: frozenset[str] | None = None


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """The job is looked at again later.

    Attributes:
        cause: Why; one of `Cause`, or a plugin's own words.
        detail: With names and numbers.
        seconds: When to look again; None for what the configuration says.
        staging: Files are to be brought from tape meanwhile.
    """

    cause: str
    detail: str = ""
    seconds: float | None = None
    staging: bool = False


class Fail(msgspec.Struct, frozen=True, kw_only=True):
    """The job cannot run; `cause` and `detail` as for `Hold`."""

    cause: str
    detail: str = ""


Verdict = Go | Hold | Fail


class Catalog(Protocol):
    """Who knows where files are."""

    async def locations(self, vo: str, lfns: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the storage elements that have each file; files that are not known are absent.

        Args:
            vo: Whose catalog is asked.
            lfns: Logical file names without prefix.

        Raises:
            UnavailableError: The catalog does not answer.
        """
        ...


class World(msgspec.Struct, frozen=True):
    """What steps may look at.

    Attributes:
        tree: The configuration in force.
        catalog: Where files are.
        now: The time.
    """

    tree: Tree
    catalog: Catalog
    now: datetime


class Step(Protocol):
    """One step of the pipeline."""

    @property
    def name(self) -> str:
        """What logs call it; its name as a plugin."""
        ...

    @property
    def minor_status(self) -> str:
        """What a job shows while the step works on it."""
        ...

    async def judge(self, jobs: Sequence[Candidate], world: World) -> Sequence[Verdict]:
        """Return a verdict for each job, in their order.

        Raises:
            UnavailableError: Something that is needed does not answer: all of them are held.
        """
        ...


class Entry(msgspec.Struct, frozen=True):
    """A job in the pipeline; `turn` tells whether anybody has decided about it meanwhile."""

    job_id: int
    turn: int


class PipelineRepository(Protocol):
    """Jobs that may not wait for pilots yet. All methods take and answer in bulk."""

    async def handle(self, handling: Mapping[int, Handling]) -> None:
        """Set what has to be done for jobs."""
        ...

    async def depend(self, edges: Sequence[tuple[int, int]]) -> None:
        """Let jobs depend on others: pairs of a job and one that it needs."""
        ...

    async def admit(self, job_ids: Sequence[int]) -> None:
        """Let jobs into the pipeline, or have those in it looked at, now."""
        ...

    async def due(self, limit: int) -> list[Entry]:
        """Return entries that are to be looked at, those that have waited longest first."""
        ...

    async def turns(self, job_ids: Sequence[int]) -> dict[int, int]:
        """Return the turns of jobs that are in the pipeline."""
        ...

    async def postpone(self, due: Mapping[int, datetime]) -> None:
        """Look at jobs again at these moments; counts as a decision."""
        ...

    async def leave(self, job_ids: Sequence[int]) -> None:
        """Take jobs out of the pipeline."""
        ...

    async def place(self, places: Mapping[int, tuple[int, str]]) -> None:
        """Give jobs their class, and say where they may run."""
        ...

    async def needed(self, job_ids: Sequence[int]) -> dict[int, list[Needed]]:
        """Return what jobs depend on; those that depend on nothing are absent."""
        ...

    async def dependents(self, job_ids: Sequence[int]) -> list[int]:
        """Return the jobs in the pipeline that depend on any of these."""
        ...
