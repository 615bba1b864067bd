"""The optimisation pipeline: from Received to Waiting, held, staging or failed; dependencies and retries."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from dirac.core import plugins
from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.logic.optimisation import Optimisation
from dirac.systems.workload.models import JobStatus, JobStatusUpdate
from dirac.systems.workload.ports.pipeline import Candidate, Go, Hold, Verdict, World
from dirac.systems.workload.store.tables import classes, dependencies, jobs, pipeline
from dirac.testing.catalog import MemoryCatalog
from dirac.testing.faults import FailNth

from .support import person, run
from .support_running import SITE, FixedConfiguration, Hall

ALICE = person("alice")
OTHER = "LCG.There.ch"
DATA: dict[str, Any] = {
    "storage_elements": {
        "HERE-DISK": {"sites": [SITE]},
        "THERE-DISK": {"sites": [OTHER]},
        "HERE-TAPE": {"sites": [SITE], "tape": True},
    }
}
READS = 'Executable = "/bin/cat"; InputData = "LFN:/astro/a, /astro/b";'


class Line:
    """The pipeline on a database, with a catalog that a test has in its hands."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self.catalog = MemoryCatalog()
        self.configure(data=DATA)
        self.reopen()

    def configure(self, **sections: Any) -> None:
        """Change sections of the configuration."""
        from .support_running import TREE

        sites = {OTHER: {"virtual_organisations": ["astro"]}} | TREE["sites"]
        tree = TREE | {"sites": sites, "data": DATA} | sections
        self.hall.configuration.tree = FixedConfiguration(tree).tree
        self.hall.rules.section = self.hall.configuration.tree.workload

    def reopen(self) -> None:
        """Begin with empty memories, as a new process does."""
        self.hall.restart()
        self.pipeline = Optimisation(
            self.hall.all_units, self.hall.configuration, self.hall.classes, self.catalog
        )

    async def submitted(self, *jdls: str) -> list[int]:
        return await self.hall.submitted(ALICE, *jdls)

    async def advance(self, seconds: float = 0) -> int:
        self.hall.clock.advance(seconds)  # type: ignore[attr-defined]
        return await self.pipeline.advance()

    async def seen(self, job_id: int) -> tuple[str, str, str]:
        row = await self.hall.row(job_id)
        return row.status, row.minor_status, row.application_status

    async def finish(self, job_id: int, status: JobStatus, application: str = "x") -> None:
        """Let a job that waits run to an end."""
        job = await self.hall.matched(f"p{job_id}")
        assert job.job_id == job_id
        who = run(job.job_id, job.attempt, stamp=f"p{job_id}")
        await self.hall.report(who, job_id, JobStatus.RUNNING)
        if status != JobStatus.FAILED:
            await self.hall.report(who, job_id, JobStatus.COMPLETING)
        self.hall.clock.advance(1)  # type: ignore[attr-defined]
        update = JobStatusUpdate(Status=status, MinorStatus="x", ApplicationStatus=application)
        await self.hall.life.set_statuses(who, {job_id: {self.hall.clock.now(): update}})

    async def follow(self, *job_ids: int) -> None:
        """Do what the ends of jobs asked for."""
        assert "workload.follow_jobs" in await self.hall.tasks()
        await self.pipeline.follow(job_ids)
        await self.pipeline.advance()

    async def count(self, table: Any) -> int:
        async with self.hall.database.read() as tx:
            return int((await tx.execute(select(func.count()).select_from(table))).scalar_one())


@pytest.fixture
def line(hall: Hall) -> Line:
    return Line(hall)


async def test_a_job_waits_where_its_data_are(line: Line) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK", "THERE-DISK"), "/astro/b": ("HERE-DISK", "HERE-TAPE")}
    [job_id] = await line.submitted(READS)
    assert await line.hall.status(job_id) == "Received"
    assert await line.advance() == 1
    assert await line.seen(job_id) == ("Waiting", "Pilot Agent Submission", "Unknown")
    assert (await line.hall.row(job_id)).site == SITE
    log = await line.hall.queries.logging(ALICE, job_id)
    assert [(each.Status, each.MinorStatus, each.Source) for each in log] == [
        ("Received", "Job accepted", "JobManager"),
        ("Checking", "Job Sanity", "JobSanity"),
        ("Checking", "Input Data Resolution", "InputData"),
        ("Checking", "Job Scheduling", "JobScheduling"),
        ("Waiting", "Pilot Agent Submission", "JobScheduling"),
    ]
    assert (await line.hall.ask("p1", site=OTHER)).job is None
    assert (await line.hall.matched("p2")).job_id == job_id
    assert await line.count(pipeline) == 0
    assert "workload.start_pilots" in await line.hall.tasks()


async def test_jobs_of_two_users_stay_in_classes_of_their_own(line: Line) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK",), "/astro/b": ("HERE-DISK",)}
    await line.submitted(READS)
    await line.hall.submitted(person("amy"), READS)
    assert await line.advance() == 2
    async with line.hall.database.read() as tx:
        owners = select(jobs.c.owner_sub, classes.c.owner_sub).join(
            classes, classes.c.class_id == jobs.c.class_id
        )
        assert sorted(map(tuple, await tx.execute(owners))) == [("alice", "alice"), ("amy", "amy")]


async def test_unknown_files_fail_a_job_with_their_names(line: Line) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK",)}
    [job_id] = await line.submitted(READS)
    await line.advance()
    assert await line.seen(job_id) == (
        "Failed",
        "Input Data Not Available",
        "not in the catalog: 1 of 2: /astro/b",
    )
    assert (await line.hall.log(job_id))[-1] == "Failed"


async def test_no_site_with_all_files_fails_a_job_with_numbers(line: Line) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK",), "/astro/b": ("THERE-DISK",)}
    [job_id] = await line.submitted(READS)
    await line.advance()
    assert await line.seen(job_id) == (
        "Failed",
        "No candidate sites available",
        f"no site has all 2 files; {SITE} has 1",
    )


async def test_a_site_that_the_job_excludes_does_not_count(line: Line) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK",), "/astro/b": ("HERE-DISK",)}
    banned, elsewhere = await line.submitted(READS + f'BannedSites = "{SITE}";', READS + f'Site = "{OTHER}";')
    await line.advance()
    for job_id in (banned, elsewhere):
        assert (await line.seen(job_id))[:2] == ("Failed", "No candidate sites available")


async def test_files_on_tape_are_waited_for(line: Line) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK",), "/astro/b": ("HERE-TAPE",)}
    [job_id] = await line.submitted(READS)
    await line.advance()
    held = await line.seen(job_id)
    assert held[:2] == ("Staging", "On Hold: Files are on tape only")
    assert await line.advance(299) == 0
    assert await line.advance(1) == 1
    assert await line.seen(job_id) == held
    assert (await line.hall.log(job_id)).count("Staging") == 1
    line.catalog.files["/astro/b"] = ("HERE-TAPE", "HERE-DISK")
    await line.advance(300)
    assert (await line.seen(job_id))[0] == "Waiting"


async def test_a_catalog_that_does_not_answer_holds_jobs(line: Line) -> None:
    line.catalog.unavailable = True
    [job_id] = await line.submitted(READS)
    await line.advance()
    assert await line.seen(job_id) == (
        "Checking",
        "On Hold: Catalog not available",
        "the catalog does not answer",
    )
    line.catalog.unavailable = False
    line.catalog.files = {"/astro/a": ("HERE-DISK",), "/astro/b": ("HERE-DISK",)}
    await line.advance(300)
    assert await line.seen(job_id) == ("Waiting", "Pilot Agent Submission", "Unknown")


async def test_many_jobs_take_few_statements_and_one_question(line: Line) -> None:
    line.catalog.files = {f"/astro/{n}": ("HERE-DISK",) for n in range(100)}
    text = 'Executable = "x"; InputData = "/astro/%s"; Parameters = {count}; ParameterStart = 0;'

    async def statements(count: int) -> int:
        await line.submitted(text.replace("{count}", str(count)))
        with line.hall.counted() as seen:
            assert await line.advance() == count
        return len(seen)

    await statements(5)
    few = await statements(5)
    assert await statements(100) == few
    assert line.catalog.questions == [5, 5, 100]


async def test_a_killed_job_leaves_the_pipeline(line: Line) -> None:
    [job_id] = await line.submitted(READS)
    await line.hall.life.kill(ALICE, [job_id])
    await line.advance()
    assert await line.hall.status(job_id) == "Killed"
    assert await line.count(pipeline) == 0


async def test_what_changed_meanwhile_is_not_decided_upon(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK",), "/astro/b": ("HERE-DISK",)}
    [job_id] = await line.submitted(READS)
    ask = line.catalog.locations

    async def slow(vo: str, lfns: Sequence[str]) -> dict[str, tuple[str, ...]]:
        found = await ask(vo, lfns)
        await line.hall.life.kill(ALICE, [job_id])
        return found

    monkeypatch.setattr(line.catalog, "locations", slow)
    await line.advance()
    assert await line.hall.status(job_id) == "Killed"


async def test_a_rescheduled_job_is_resolved_again(line: Line) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK",)}
    [job_id] = await line.submitted(READS)
    await line.advance()
    assert await line.hall.status(job_id) == "Failed"
    line.catalog.files = {"/astro/a": ("THERE-DISK",), "/astro/b": ("THERE-DISK",)}
    await line.hall.life.reschedule(ALICE, [job_id])
    assert (await line.seen(job_id))[:2] == ("Received", "Job Rescheduled")
    await line.advance()
    assert (await line.hall.row(job_id)).site == OTHER
    assert await line.hall.status(job_id) == "Waiting"


@pytest.mark.parametrize("lost", [False, True])
async def test_every_failure_of_the_database_leaves_the_pipeline_whole(line: Line, lost: bool) -> None:
    line.catalog.files = {"/astro/a": ("HERE-DISK",), "/astro/b": ("HERE-DISK",)}
    faults = FailNth(line.hall.database)
    for number in itertools.count(1):
        [job_id] = await line.submitted(READS)
        with faults.failing(number, lost=lost), contextlib.suppress(UnavailableError):
            await line.pipeline.advance()
        assert await line.hall.status(job_id) in ("Received", "Waiting")
        line.reopen()
        await line.advance()
        assert await line.hall.status(job_id) == "Waiting"
        assert (await line.hall.log(job_id)).count("Waiting") == 1
        assert await line.count(pipeline) == 0
        if not faults.fired:
            break
    assert number > 5


STORY = 'Executable = "x"; JobName = "{}"; DependsOn = {{{}}};'


async def test_a_job_waits_for_those_it_depends_on(line: Line) -> None:
    first, second, last = await line.submitted(
        STORY.format("a", ""), STORY.format("b", ""), STORY.format("end", '"a", "b"')
    )
    await line.advance()
    assert await line.seen(last) == (
        "Checking",
        "On Hold: Waiting for other jobs",
        f"2 of 2: job {first} (a) is Waiting, job {second} (b) is Waiting",
    )
    await line.finish(first, JobStatus.DONE)
    await line.follow(first)
    assert (await line.seen(last))[2] == f"1 of 2: job {second} (b) is Waiting"
    await line.finish(second, JobStatus.DONE)
    await line.follow(second)
    assert await line.hall.status(last) == "Waiting"


async def test_a_failed_job_fails_those_that_depend_on_it_one_after_the_other(line: Line) -> None:
    first, middle, last = await line.submitted(
        STORY.format("a", ""), STORY.format("b", '"a"'), STORY.format("c", '"b"')
    )
    await line.advance()
    await line.hall.life.kill(ALICE, [first])
    await line.follow(first)
    assert await line.seen(middle) == ("Failed", "Other job not done", f"1 of 1: job {first} (a) is Killed")
    await line.follow(middle)
    assert await line.seen(last) == ("Failed", "Other job not done", f"1 of 1: job {middle} (b) is Failed")


async def test_news_that_was_lost_is_found_by_looking(line: Line) -> None:
    first, last = await line.submitted(STORY.format("a", ""), STORY.format("b", '"a"'))
    await line.advance()
    await line.finish(first, JobStatus.DONE)
    await line.advance(300)
    assert await line.hall.status(last) == "Waiting"


@pytest.mark.parametrize(
    ("jdls", "what", "where"),
    [
        (
            [STORY.format("a", '"nobody"')],
            "no job of this submission has the name 'nobody'",
            "jdl[0] DependsOn",
        ),
        (
            [STORY.format("a", '"b"'), STORY.format("b", '"c"'), STORY.format("c", '"a"')],
            "these jobs wait for each other",
            "DependsOn",
        ),
        ([STORY.format("a", '"a"')], "these jobs wait for each other: a -> a", "jdl[0] DependsOn"),
    ],
)
async def test_dependencies_that_cannot_be_are_refused(
    line: Line, jdls: list[str], what: str, where: str
) -> None:
    with pytest.raises(InvalidInputError, match=what) as caught:
        await line.submitted(*jdls)
    assert where in (caught.value.where or "")
    assert await line.count(dependencies) == 0


RETRIES = 'Executable = "x"; MaxRetries = 1; RetryExitCodes = {75};'


async def test_a_failed_job_runs_again_as_often_as_it_asked_for(line: Line) -> None:
    first, last = await line.submitted(
        RETRIES + 'JobName = "a";', 'Executable = "x"; JobName = "b"; DependsOn = "a";'
    )
    await line.advance()
    await line.finish(first, JobStatus.FAILED, "Failed (exit code 75)")
    await line.advance(300)
    assert (await line.seen(last))[0] == "Checking"  # it may yet be done
    # Nobody takes it for ended before it is known whether it runs again.
    assert await line.seen(first) == ("Rescheduled", "Failed: x", "Failed (exit code 75)")
    assert [run.outcome for run in await line.hall.runs(first)] == ["Failed"]
    await line.follow(first)
    assert await line.seen(first) == ("Waiting", "Pilot Agent Submission", "Unknown")
    assert (await line.hall.row(first)).reschedule_counter == 1
    await line.finish(first, JobStatus.FAILED, "Failed (exit code 75)")
    await line.follow(first)
    assert await line.seen(first) == ("Failed", "x", "Failed (exit code 75)")
    await line.follow(first)
    assert (await line.hall.log(first))[-4:] == ["Running", "Failed", "Rescheduled", "Failed"]
    assert (await line.seen(last))[:2] == ("Failed", "Other job not done")


async def test_a_failure_that_was_not_named_is_not_tried_again(line: Line) -> None:
    [job_id] = await line.submitted(RETRIES)
    await line.finish(job_id, JobStatus.FAILED, "Failed (exit code 7)")
    await line.follow(job_id)
    assert await line.hall.status(job_id) == "Failed"


async def test_a_job_that_was_killed_meanwhile_stays_so(line: Line) -> None:
    [job_id] = await line.submitted(RETRIES)
    await line.finish(job_id, JobStatus.FAILED, "Failed (exit code 75)")
    await line.hall.life.kill(ALICE, [job_id])
    await line.follow(job_id)
    assert await line.hall.status(job_id) == "Killed"


async def test_jobs_without_needs_cost_nothing(line: Line) -> None:
    [job_id] = await line.submitted('Executable = "x";')
    assert await line.count(pipeline) == 0
    await line.finish(job_id, JobStatus.DONE)
    assert "workload.follow_jobs" not in await line.hall.tasks()


class Patience:
    """A step of somebody else: the jobs of a group wait until their name is allowed."""

    name = "Patience"
    minor_status = "Being patient"
    allowed = False

    async def judge(self, jobs: Sequence[Candidate], world: World) -> Sequence[Verdict]:
        held = Hold(cause="not yet", detail="ask again", seconds=10)
        return [Go(sites=frozenset({SITE})) if Patience.allowed else held for _ in jobs]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the step."""
    load, names = plugins.load, plugins.names

    def found(kind: str, name: str) -> Any:
        return Patience if (kind, name) == ("dirac.optimiser", "Patience") else load(kind, name)

    monkeypatch.setattr(plugins, "load", found)
    monkeypatch.setattr(
        plugins, "names", lambda kind: [*names(kind), *(["Patience"] if kind == "dirac.optimiser" else [])]
    )
    monkeypatch.setattr(Patience, "allowed", False)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("by", ["configuration", "job"])
async def test_a_plugin_adds_a_step(line: Line, by: str) -> None:
    path = ["JobSanity", "Patience", "JobScheduling"]
    if by == "configuration":
        line.configure(workload={"job_path": path})
    [job_id] = await line.submitted(
        'Executable = "x";'
        + ("" if by == "configuration" else 'JobPath = "JobSanity,Patience,JobScheduling";')
    )
    await line.advance()
    assert await line.seen(job_id) == ("Checking", "On Hold: not yet", "ask again")
    Patience.allowed = True
    assert await line.advance(9) == 0
    await line.advance(1)
    assert await line.hall.status(job_id) == "Waiting"
    assert (await line.hall.row(job_id)).site == SITE


async def test_a_step_that_is_not_installed_is_refused_or_waited_for(line: Line) -> None:
    with pytest.raises(InvalidInputError, match="JobPath = 'Nobody': accepted is one of"):
        await line.submitted('Executable = "x"; JobPath = Nobody;')
    line.configure(workload={"job_path": ["Nobody"]})
    [job_id] = await line.submitted('Executable = "x";')
    await line.advance()
    assert (await line.seen(job_id))[:2] == ("Checking", "On Hold: Optimizer not available")


async def test_rules_that_became_stricter_fail_a_job(line: Line) -> None:
    [job_id] = await line.submitted(READS)
    line.hall.configuration.tree = FixedConfiguration(
        {"workload": {"job_types": ["Test"], "max_input_data": 1}}
    ).tree
    await line.advance()
    assert (await line.seen(job_id))[:2] == ("Failed", "Illegal Job JDL")
    assert Workload().job_path == ["JobSanity", "InputData", "JobScheduling"]
