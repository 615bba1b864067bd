"""Submission: what is stored, what is refused, and that nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select

from dirac.core.errors import (
    ConflictError,
    InvalidInputError,
    TooLargeError,
    TooManyRequestsError,
    UnavailableError,
)
from dirac.db.engine import Database
from dirac.db.tables import events, tasks
from dirac.systems.configuration.models import Workload
from dirac.systems.identity.models import Property
from dirac.systems.workload.logic import gathering
from dirac.systems.workload.store.tables import classes, descriptions, jobs
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

from .support import ECHO, Room, counting, info, person

ALICE = person("alice")


async def count(database: Database, table: object) -> int:
    async with database.read() as tx:
        return (await tx.execute(select(func.count()).select_from(table))).scalar_one()  # type: ignore[arg-type]


async def test_a_job_waits_and_its_history_says_how_it_came_to_that(room: Room, clock: FakeClock) -> None:
    (job,) = await room.submission.submit(ALICE, [ECHO])
    assert (job.Status, job.MinorStatus) == ("Waiting", "Pilot Agent Submission")
    assert job.TimeStamp == clock.now()
    log = await room.queries.logging(ALICE, job.JobID)
    assert [(e.Status, e.MinorStatus, e.ApplicationStatus, e.Source) for e in log] == [
        ("Waiting", "Pilot Agent Submission", "Unknown", "JobManager")
    ]
    async with room.database.read() as tx:
        (task,) = (await tx.execute(select(tasks.c.name, tasks.c.args, tasks.c.pending_key))).all()
    assert tuple(task) == ("workload.start_pilots", {"vo": "astro"}, "start_pilots:astro")


async def test_the_stored_description_has_its_identifier_and_its_true_owner(room: Room) -> None:
    jdl = ECHO + 'Owner = "root"; vo = "other"; JobID = 7; JobRequirements = [ CPUTime = 1 ];'
    (job_id,) = await room.submitted(ALICE, jdl)
    text = (await room.queries.jdl(ALICE, job_id)).jdl
    assert f"job {job_id}" in text
    assert f"JobID = {job_id};" in text
    assert "root" not in text
    assert "other" not in text
    assert "JobRequirements" not in text
    assert "alice" in text


async def test_identifiers_are_in_the_order_of_the_descriptions(room: Room) -> None:
    texts = [f'Executable = "run"; JobName = "n{i}";' for i in range(1500)]
    ids = await room.submitted(ALICE, *texts)
    assert ids == sorted(ids)
    async with room.database.read() as tx:
        names = {row.job_id: row.job_name for row in await tx.execute(select(jobs.c.job_id, jobs.c.job_name))}
        stored = {row.job_id: row.jdl for row in await tx.execute(select(descriptions))}
    assert [names[job_id] for job_id in ids] == [f"n{i}" for i in range(1500)]
    assert all(f"n{i}" in stored[job_id] for i, job_id in enumerate(ids))


async def test_a_parametric_description_stands_for_many_jobs(room: Room) -> None:
    jdl = 'Executable = "run"; Arguments = "%s %n %j"; Parameters = { "a", "b", "c" };'
    ids = await room.submitted(ALICE, jdl, ECHO)
    assert len(ids) == 4
    text = (await room.queries.jdl(ALICE, ids[1])).jdl
    assert f'"b 1 {ids[1]}"' in text


async def test_jobs_with_the_same_needs_are_of_one_class(room: Room) -> None:
    other = 'Executable = "else"; CPUTime = 86000;'
    await room.submitted(ALICE, ECHO, other, 'Executable = "x"; Tags = { "GPU" };')
    await room.submitted(person("bob"), ECHO)
    await room.submitted(person("bob", "bio"), ECHO)
    async with room.database.read() as tx:
        rows = (await tx.execute(select(classes.c.vo, classes.c.requirements))).all()
    assert sorted((row.vo, row.requirements.get("tags", [])) for row in rows) == [
        ("astro", []),
        ("astro", []),
        ("astro", ["GPU"]),
        ("bio", []),
    ], "alice and bob have classes of their own: shares are per user"


async def test_jobs_with_input_data_go_through_the_pipeline_first(room: Room) -> None:
    (job,) = await room.submission.submit(ALICE, ['Executable = "x"; InputData = "LFN:/astro/a/b";'])
    assert (job.Status, job.MinorStatus) == ("Received", "Job accepted")
    async with room.database.read() as tx:
        assert [row.name for row in await tx.execute(select(tasks.c.name))] == ["workload.advance_jobs"]


async def test_hundred_descriptions_cost_as_many_statements_as_one(room: Room) -> None:
    pfn = await room.stored_sandbox(ALICE)
    jdl = f'Executable = "x"; InputSandbox = {{ "SB:SandboxSE|{pfn}" }};'
    for _ in range(2):  # asks for pilots at once, and at the next second; others come before that
        await room.submitted(ALICE, jdl)
    with counting(room.database) as one:
        await room.submission.submit(ALICE, [jdl], "key-1")
    with counting(room.database) as hundred:
        await room.submission.submit(ALICE, [jdl] * 100, "key-100")
    mariadb = room.database.dialect == "mariadb"
    reserved = 0 if mariadb else 1  # numbers for rows, in advance
    assert len(hundred) == len(one) + reserved
    await room.submitted(ALICE, ECHO)
    for jobs_at_once, statements in ((1, 3), (100, 3 + reserved)):
        with counting(room.database) as plain:
            await room.submitted(ALICE, *[ECHO] * jobs_at_once)
        assert len(plain) == statements, plain


FAULTS = {
    "empty": ([], "no job description"),
    "unterminated string": ([ECHO, 'Executable = "x'], r"jdl\[1\] line 1 column"),
    "no executable": ([ECHO, ECHO, 'Arguments = "x";'], r"jdl\[2\].*Executable"),
    "unknown type": (["Executable = { 1, 2 };"], r"jdl\[0\].*Executable"),
    "third line": (["Executable = x;\n\n  = 3;"], r"jdl\[0\] line 3 column 3"),
    "one of many": (['Executable = "x"; CPUTime = %s; Parameters = { 1000, 5, 2000 };'], r"jdl\[0\] job 1"),
    "too many parameters": (['Executable = "x"; Parameters = 999999999;'], r"jdl\[0\].*999999999"),
    "long type": ([f'Executable = "x"; JobType = "{"t" * 65}";'], "JobType"),
    "long name": ([f'Executable = "x"; JobName = "{"t" * 300}";'], "JobName"),
    "strange sandbox": (['Executable = "x"; InputSandbox = "SB:Other";'], r"jdl\[0\].*sandbox"),
    "no such sandbox": (
        [f'Executable = "x"; InputSandbox = "SB:SandboxSE|/S3/sandboxes/a/b/c/sha256:{"0" * 64}.tar.gz";'],
        "there is no sandbox",
    ),
    "infinite number": (['Executable = "x"; CPUTime = 1e999;'], r"jdl\[0\]"),
    "control character": (['Executable = "\x01";'], r"jdl\[0\] line 1"),
}


@pytest.mark.parametrize("case", FAULTS)
async def test_a_fault_anywhere_stores_nothing(room: Room, case: str) -> None:
    texts, message = FAULTS[case]
    with pytest.raises(InvalidInputError, match=f"(?s){message}"):
        await room.submission.submit(ALICE, texts, "key")
    for table in (jobs, descriptions, events, tasks, classes):
        assert await count(room.database, table) == 0


async def test_what_is_too_large_is_refused(room: Room) -> None:
    with pytest.raises(TooLargeError, match=r"jdl\[0\]"):
        await room.submission.submit(ALICE, [f'Executable = "{"x" * 10_000_000}";'])
    room.rules.section = Workload(max_jobs_per_submission=3)
    with pytest.raises(TooLargeError, match="4 job descriptions"):
        await room.submission.submit(ALICE, [ECHO] * 4)
    with pytest.raises(InvalidInputError, match=r"jdl\[2\]"):
        await room.submission.submit(ALICE, [ECHO, ECHO, 'Executable = "x"; Parameters = 2;'])
    with pytest.raises(InvalidInputError, match=r"jdl\[1\].*more than the 3 jobs"):
        await room.submission.submit(ALICE, ['Executable = "x"; Parameters = 3;', ECHO])
    assert await count(room.database, jobs) == 0


async def test_a_repetition_gets_the_same_answer(room: Room) -> None:
    first = await room.submission.submit(ALICE, [ECHO, ECHO], "a key")
    assert await room.submission.submit(ALICE, [ECHO, ECHO], "a key") == first
    assert await room.submission.submit(person("bob"), [ECHO, ECHO], "a key") != first
    with pytest.raises(ConflictError, match="another request"):
        await room.submission.submit(ALICE, [ECHO], "a key")
    assert await count(room.database, jobs) == 4
    for key in ("", "x" * 129, "käse", "a\nb"):
        with pytest.raises(InvalidInputError, match="key"):
            await room.submission.submit(ALICE, [ECHO], key)


async def test_duplicates_at_the_same_moment_converge(room: Room) -> None:
    answers = await asyncio.gather(*(room.submission.submit(ALICE, [ECHO], "one") for _ in range(5)))
    assert len({answer[0].JobID for answer in answers}) == 1
    assert await count(room.database, jobs) == 1


async def test_submissions_at_the_same_moment_share_their_new_classes(room: Room) -> None:
    texts = [f'Executable = "x"; Tags = {{ "t{i}" }};' for i in range(20)]
    orders = (texts, texts[::-1], texts[10:] + texts[:10], texts)
    await asyncio.gather(*(room.submission.submit(ALICE, order) for order in orders))
    assert await count(room.database, jobs) == 80
    assert await count(room.database, classes) == 20


@pytest.mark.parametrize("lost", [False, True])
async def test_a_failure_at_any_operation_loses_and_doubles_nothing(room: Room, lost: bool) -> None:
    pfn = await room.stored_sandbox(ALICE)
    jdl = f'Executable = "x"; InputSandbox = {{ "SB:SandboxSE|{pfn}" }};'
    faults = FailNth(room.database)
    done = 0
    for n in range(1, 100):
        answer = None
        with faults.failing(n, lost=lost), contextlib.suppress(UnavailableError):
            answer = await room.submission.submit(ALICE, [jdl, ECHO], f"key-{n}")
        again = await room.submission.submit(ALICE, [jdl, ECHO], f"key-{n}")
        assert answer in (None, again)
        done += 1
        assert await count(room.database, jobs) == await count(room.database, descriptions) == 2 * done
        assert await count(room.database, events) == 2 * done
        assert len((await room.sandboxes.assigned(ALICE, again[0].JobID))["input"]) == 1
        if not faults.fired:
            break
    assert done > 8


async def test_only_ones_own_stored_sandboxes_can_be_used(room: Room) -> None:
    pfn = await room.stored_sandbox(ALICE, b"mine")
    jdl = f'Executable = "x"; InputSandbox = {{ "SB:SandboxSE|{pfn}", "{pfn}", "LFN:/astro/x/y" }};'
    for caller in (person("bob"), person("alice", "bio"), person("bob", "astro", Property.JOB_ADMINISTRATOR)):
        with pytest.raises(InvalidInputError, match="there is no sandbox"):
            await room.submission.submit(caller, [jdl])
    (job_id,) = await room.submitted(ALICE, jdl)
    assert (await room.sandboxes.assigned(ALICE, job_id))["input"] == [pfn]
    sharing = person("bob", "astro", Property.NORMAL_USER, Property.JOB_SHARING)
    assert await room.submitted(sharing, jdl)

    ticket = await room.sandboxes.initiate(ALICE, info(b"later"))
    later = f'Executable = "x"; InputSandbox = "{ticket.pfn}";'
    with pytest.raises(InvalidInputError, match="Upload it"):
        await room.submission.submit(ALICE, [later])
    await room.upload(ticket, b"later")
    assert await room.submitted(ALICE, later)


async def in_batches(texts: list[str], size: int) -> AsyncIterator[list[str]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


async def test_descriptions_that_come_piece_by_piece_are_one_submission(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_IN_MEMORY", 1000)  # the others are on disk
    pfn = await room.stored_sandbox(ALICE)
    texts = [f'Executable = "run"; JobName = "n{i}";' for i in range(40)]
    texts.append(f'Executable = "x"; InputSandbox = {{ "SB:SandboxSE|{pfn}" }};')
    answer = await room.submission.submit(ALICE, in_batches(texts, 7), "key")
    assert await room.submission.submit(ALICE, texts, "key") == answer, "the same request, at once"
    ids = [job.JobID for job in answer]
    assert ids == sorted(set(ids))
    assert await count(room.database, jobs) == len(texts)
    assert await count(room.database, events) == len(texts)
    async with room.database.read() as tx:
        names = {row.job_id: row.job_name for row in await tx.execute(select(jobs.c.job_id, jobs.c.job_name))}
    assert [names[job_id] for job_id in ids[:40]] == [f"n{i}" for i in range(40)]


async def test_a_fault_in_a_late_piece_has_its_place_and_stores_nothing(room: Room) -> None:
    texts = [ECHO] * 20 + ['Executable = "x"; CPUTime = "soon";'] + [ECHO] * 20
    with pytest.raises(InvalidInputError) as caught:
        await room.submission.submit(ALICE, in_batches(texts, 6))
    assert caught.value.where is not None
    assert caught.value.where.startswith("jdl[20]")
    room.rules.section = Workload(max_jobs_per_submission=30)
    with pytest.raises(TooLargeError):
        await room.submission.submit(ALICE, in_batches([ECHO] * 40, 6))
    with pytest.raises(InvalidInputError, match="no job description"):
        await room.submission.submit(ALICE, in_batches([], 6))
    assert await count(room.database, jobs) == 0


async def test_more_large_submissions_than_there_is_room_for_are_asked_to_come_back(room: Room) -> None:
    come = asyncio.Event()

    inside: asyncio.Queue[None] = asyncio.Queue()

    async def slowly() -> AsyncIterator[list[str]]:
        yield [ECHO]
        yield [ECHO]
        inside.put_nowait(None)
        await come.wait()

    coming = [asyncio.create_task(room.submission.submit(ALICE, slowly())) for _ in range(4)]
    for _ in coming:
        await inside.get()
    with pytest.raises(TooManyRequestsError) as caught:
        await room.submission.submit(ALICE, slowly())
    assert caught.value.retry_after
    assert await room.submitted(ALICE, ECHO), "small ones are not in the way"
    come.set()
    assert [len(jobs) for jobs in await asyncio.gather(*coming)] == [2] * 4
    await room.submission.submit(ALICE, slowly())


async def test_a_vo_and_a_user_may_have_so_many_jobs_waiting(room: Room) -> None:
    room.rules.section = Workload(max_waiting_jobs_of_vo=5, max_waiting_jobs_of_user=3)
    await room.submitted(ALICE, *[ECHO] * 3)
    with pytest.raises(TooManyRequestsError, match="you may have 3 waiting, and 3 are") as caught:
        await room.submitted(ALICE, ECHO)
    assert caught.value.retry_after
    await room.submitted(person("bob"), ECHO)
    with pytest.raises(TooManyRequestsError, match="the VO astro may have 5 waiting, and 4 are"):
        await room.submitted(person("bob"), ECHO, ECHO)
    await room.submitted(person("eve", "bio"), *[ECHO] * 3)
    assert await count(room.database, jobs) == 7


async def test_pilots_are_planned_at_once_and_then_once_a_second(room: Room, clock: FakeClock) -> None:
    async def due() -> list[float]:
        async with room.database.read() as tx:
            found = await tx.execute(select(tasks.c.due).where(tasks.c.state == "Pending"))
            return [(row.due - clock.now()).total_seconds() for row in found]

    async def planned() -> None:
        async with room.database.write() as tx:
            await tx.execute(tasks.update().values(state="Done", pending_key=None))

    await room.submitted(ALICE, ECHO)
    assert await due() == [0.0]
    await planned()
    clock.advance(0.25)
    await room.submitted(ALICE, ECHO)
    await room.submitted(ALICE, ECHO)
    assert await due() == [0.75]
    clock.advance(0.5)
    await room.submitted(ALICE, ECHO)
    assert await due() == [0.25, 1.25], "it may commit after the first of them has begun"
    clock.advance(2.5)
    await planned()
    await room.submitted(ALICE, ECHO)
    assert await due() == [0.0]


async def test_many_jobs_ask_for_pilots_after_they_are_there(room: Room, clock: FakeClock) -> None:
    for _ in range(2):
        await room.submitted(ALICE, ECHO)
    before = await count(room.database, tasks)
    await room.submitted(ALICE, *[ECHO] * 1001)
    assert await count(room.database, tasks) == before, "the same moment, by the same key"
    clock.advance(0.3)
    async with room.database.write() as tx:
        await tx.execute(tasks.update().values(state="Done", pending_key=None))
    await room.submitted(ALICE, *[ECHO] * 1001)
    assert await count(room.database, tasks) == before + 1


async def test_nobody_relies_on_what_a_failed_submission_asked_for(room: Room) -> None:
    faults = FailNth(room.database)
    for n in range(1, 100):
        with faults.failing(n, lost=False), contextlib.suppress(UnavailableError):
            await room.submitted(ALICE, ECHO)
        if not faults.fired:
            break
        assert await count(room.database, tasks) == 0
    assert n > 4
    assert await count(room.database, tasks) == 1
