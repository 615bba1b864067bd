"""The second half of the system put together, with a computing element that a test has in its hands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
from sqlalchemy import event, select

from dirac.core.errors import NotFoundError, UnavailableError
from dirac.core.time import Clock
from dirac.db.engine import Database, DatabaseUnits
from dirac.db.history import history
from dirac.db.tables import tasks
from dirac.resources.computing.base import (
    Capacity,
    ComputingElement,
    Output,
    PilotJob,
    PilotState,
    PilotStatus,
    Submitted,
)
from dirac.resources.computing.node import NodeComputingElement
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity
from dirac.systems.identity.store.pilots import PilotSecretStore
from dirac.systems.workload.logic.assembly import WorkloadSystem
from dirac.systems.workload.models import (
    JobStatus,
    JobStatusUpdate,
    MatchAnswer,
    MatchedJob,
    MatchRequest,
    Outcome,
    Resource,
)
from dirac.systems.workload.settings import PilotProgram
from dirac.systems.workload.store.tables import attempts, jobs, pilots
from dirac.systems.workload.store.unit import WorkloadUnit
from dirac.testing.time import FakeEntropy

from .support import Room, pilot, run

SITE = "LCG.Here.fr"

TREE: dict[str, Any] = {
    "virtual_organisations": {
        name: {"default_group": "users", "groups": {"users": {}}} for name in ("astro", "bio")
    },
    "sites": {
        SITE: {
            "virtual_organisations": ["astro", "bio"],
            "computing_elements": {
                "ce": {"type": "scripted", "queues": {"q": {"max_running": 4, "max_waiting": 3}}}
            },
        }
    },
    "workload": {"lease_seconds": 100, "max_reschedules": 2, "reschedule_delays": []},
}


class FixedConfiguration:
    """A configuration that a test sets."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self.version = 1
        self.tree = msgspec.convert(tree, Tree)

    async def current(self) -> Self:
        return self


class ScriptedElement(ComputingElement):
    """A computing element of which a test says what it does."""

    def __init__(self) -> None:
        self.jobs: dict[str, PilotJob] = {}
        self.states: dict[str, PilotState] = {}
        self.forgotten: list[str] = []
        self.submissions = 0
        self.refusal: str | None = None
        self.unavailable = False
        self.answer_is_lost = False

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> Self:
        return cls()

    async def submit(self, jobs: Sequence[PilotJob]) -> list[Submitted]:
        self.submissions += 1
        if self.unavailable:
            raise UnavailableError("the element does not answer")
        if self.refusal is not None:
            return [Submitted(job.stamp, error=self.refusal) for job in jobs]
        for job in jobs:
            assert job.fault() is None
            self.jobs.setdefault(job.stamp, job)
            self.states.setdefault(job.stamp, PilotState(PilotStatus.SUBMITTED))
        if self.answer_is_lost:
            raise UnavailableError("the answer was lost")
        return [Submitted(job.stamp, reference=f"scripted://ce/{job.stamp}") for job in jobs]

    async def status(self, references: Sequence[str]) -> dict[str, PilotState]:
        if self.unavailable:
            raise UnavailableError("the element does not answer")
        unknown = PilotState(PilotStatus.UNKNOWN)
        return {name: self.states.get(name.rpartition("/")[2], unknown) for name in references}

    def becomes(self, status: PilotStatus, exit_code: int | None = None) -> None:
        """Let all pilots be in a state."""
        self.states = {stamp: PilotState(status, exit_code) for stamp in self.jobs}

    async def cancel(self, references: Sequence[str]) -> dict[str, str]:
        return {}

    async def output(self, reference: str, limit: int = 0) -> Output:
        raise NotFoundError("there is none")

    async def cleanup(self, references: Sequence[str]) -> dict[str, str]:
        self.forgotten += references
        return {}

    async def capacity(self) -> Capacity:
        return Capacity(0, 0)


class Elements:
    """The computing elements: one to which pilots are submitted; "farm" of any site has nodes that ask."""

    def __init__(self) -> None:
        self.element = ScriptedElement()

    async def get(self, site: str, ce: str) -> ComputingElement:
        if ce == "farm":
            return NodeComputingElement(ce)
        if (site, ce) != (SITE, "ce"):
            raise NotFoundError(f"there is no computing element {ce} at {site}")
        return self.element


class Words:
    """Tokens and secrets in plain words."""

    async def job_token(self, *, job_id: int, attempt: int, seconds: int, **_who: str) -> str:
        return f"token of {job_id}:{attempt} for {seconds}"

    async def pilot_token(self, *, stamp: str, vo: str, seconds: int, site: str = "") -> str:
        return f"token of pilot {stamp} of {vo} for {seconds}"

    def secret(self, stamp: str) -> str:
        return f"secret-{stamp}"

    def digest(self, stamp: str) -> str:
        return hashlib.sha256(self.secret(stamp).encode()).hexdigest()


class Hall(Room):
    """Both halves of the workload system on a database.

    Args:
        database: Where everything is.
        directory: Where archives are.
        clock: The time.
        seed: Of the bytes that nobody foresees; processes of one installation have different ones.
    """

    def __init__(self, database: Database, directory: Path, clock: Clock, seed: int = 0) -> None:
        super().__init__(database, directory, clock)
        self.clock = clock
        self._seed = seed
        self.configuration = FixedConfiguration(TREE)
        self.all_units = DatabaseUnits(database, lambda tx: WorkloadUnit(tx, PilotSecretStore(tx)))
        self.words = Words()
        self.elements = Elements()
        self.element = self.elements.element
        self._requests = 0
        database.committed.append(lambda told: self.signals.committed(told))
        self.restart()

    def restart(self) -> None:
        """Begin with empty memories, as a new process does."""
        self.system = WorkloadSystem(
            work=self.units,
            runs=self.all_units,
            configuration=self.configuration,
            tokens=self.words,
            secrets=self.words,
            elements=self.elements,
            objects=self.objects,
            clock=self.clock,
            entropy=FakeEntropy(self._seed),
            program=PilotProgram(url="http://server", program="/opt/dirac-pilot.py"),
        )
        self.submission = self.system.submission
        self.signals = self.system.signals
        self.classes = self.system.classes
        self.matching = self.system.matching
        self.life = self.system.life_cycle
        self.explain = self.system.explain
        self.bulk_verbs = self.system.bulk_verbs
        self.upkeep = self.system.upkeep
        self.watching = self.system.watching
        self.pilots = self.system.pilots
        self.factory = self.system.pilot_factory
        self.nodes = self.system.nodes
        self.renewal = self.system.renewal

    def provided(self) -> dict[type, Any]:
        """Return what the routes ask for."""
        return self.system.provided()

    async def ask(
        self,
        stamp: str = "p1",
        request_id: str | None = None,
        *,
        vo: str = "astro",
        wait: float = 0,
        jobs: int = 1,
        **has: Any,
    ) -> MatchAnswer:
        """Ask for a job as a pilot does."""
        self._requests += 1
        resource = Resource(**({"site": SITE} | has))
        request = MatchRequest(
            resource=resource, request_id=request_id or f"{stamp}-{self._requests}", wait=wait, jobs=jobs
        )
        return await self.matching.match(pilot(stamp, vo), request)

    async def matched(self, stamp: str = "p1", **has: Any) -> MatchedJob:
        """Get a job as a pilot does."""
        answer = await self.ask(stamp, **has)
        assert answer.job is not None, answer.reasons
        return answer.job

    async def report(self, caller: Identity, job_id: int, status: JobStatus, minor: str = "x") -> Outcome:
        """Report a state, at this moment."""
        update = JobStatusUpdate(Status=status, MinorStatus=minor, Source="Test")
        return await self.life.set_statuses(caller, {job_id: {self.clock.now(): update}})

    async def running(self, stamp: str = "p1") -> Identity:
        """Get a job and start it; returns its run."""
        job = await self.matched(stamp)
        who = run(job.job_id, job.attempt, stamp=stamp)
        outcome = await self.report(who, job.job_id, JobStatus.RUNNING, "Job Initialization")
        assert not outcome.failed
        return who

    async def row(self, job_id: int) -> Any:
        """Return a job's row."""
        async with self.database.read() as tx:
            return (await tx.execute(select(jobs).where(jobs.c.job_id == job_id))).one()

    async def status(self, job_id: int) -> str:
        """Return a job's state."""
        return str((await self.row(job_id)).status)

    async def runs(self, job_id: int) -> list[Any]:
        """Return a job's runs, first one first."""
        async with self.database.read() as tx:
            statement = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt)
            return list(await tx.execute(statement))

    async def log(self, job_id: int) -> list[str]:
        """Return the states in a job's log."""
        async with self.database.read() as tx:
            found = await history(tx, "job", [str(job_id)])
        return [each.data["Status"] for each in found if each.kind == "workload.job.status"]

    async def pilot_rows(self) -> list[Any]:
        """Return all pilots, oldest first."""
        async with self.database.read() as tx:
            return list(await tx.execute(select(pilots).order_by(pilots.c.pilot_id)))

    async def tasks(self) -> list[str]:
        """Return the names of the background work that waits."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(tasks.c.name).where(tasks.c.state == "Pending"))
            return sorted(row.name for row in rows)

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """Collect the statements of a block."""
        statements: list[str] = []

        def before(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if not statement.startswith("SELECT 1"):
                statements.append(statement)

        engine = self.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", before)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", before)


def moment(clock: Clock, seconds: float = 0) -> datetime:
    """Return the clock's time, moved by so much."""
    return datetime.fromtimestamp(clock.now().timestamp() + seconds, UTC)
