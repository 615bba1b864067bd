"""Sandboxes: one copy of each content, one owner, and only the present run hands in results."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, insert, select, update

from dirac.core.errors import (
    ConflictError,
    DiracError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from dirac.db.tables import events, tasks
from dirac.resources.storage.directory import Grant
from dirac.systems.configuration.models import Workload
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.sandbox_names import SandboxName
from dirac.systems.workload.store.tables import attempts, jobs, sandboxes
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

from .support import Room, counting, info, person, pilot, run

ALICE = person("alice")
BOSS = person("boss", "astro", Property.JOB_ADMINISTRATOR)
OPERATOR = person("root", "", Property.SERVICE_ADMINISTRATOR)
STRANGERS = (person("bob"), person("alice", "bio"), person("chief", "bio", Property.JOB_ADMINISTRATOR))
DAY = 86_400


async def running(
    room: Room, job_id: int, attempt: int, status: str = "Running", stamp: str = "p1"
) -> Identity:
    """Make this the present run of a job."""
    async with room.database.write() as tx:
        await tx.execute(
            insert(attempts).values(
                job_id=job_id, attempt=attempt, pilot_stamp=stamp, request_id=f"r{attempt}", claimed=tx.now
            )
        )
        await tx.execute(update(jobs).where(jobs.c.job_id == job_id).values(attempt=attempt, status=status))
    return run(job_id, attempt, stamp=stamp)


async def set_status(room: Room, job_id: int, status: str) -> None:
    async with room.database.write() as tx:
        await tx.execute(update(jobs).where(jobs.c.job_id == job_id).values(status=status))


async def test_the_same_content_is_uploaded_once(room: Room) -> None:
    first = await room.sandboxes.initiate(ALICE, info(b"data"))
    assert first.url is not None
    assert first.pfn.startswith("SB:SandboxSE|/S3/sandboxes/astro/users/alice/sha256:")
    await room.upload(first, b"data")
    again = await room.sandboxes.initiate(ALICE, info(b"data"))
    assert (again.pfn, again.url, again.fields) == (first.pfn, None, {})
    assert await room.fetched(ALICE, first.pfn.removeprefix("SB:SandboxSE|")) == b"data"
    other = await room.sandboxes.initiate(person("bob"), info(b"data"))
    assert other.url is not None


async def test_announcements_at_the_same_moment_converge(room: Room) -> None:
    for n in range(5):
        described = info(f"content {n}".encode())
        for _ in ("new", "known"):
            tickets = await asyncio.gather(*(room.sandboxes.initiate(ALICE, described) for _ in range(8)))
            assert len({ticket.pfn for ticket in tickets}) == 1
    assert len(await names(room)) == 5


async def test_what_was_stored_and_is_lost_is_uploaded_again(room: Room) -> None:
    pfn = await room.stored_sandbox(ALICE)
    assert (await room.sandboxes.initiate(ALICE, info(b"archive"))).url is None
    await room.objects.delete([pfn.removeprefix("/S3/sandboxes/")])
    assert (await room.sandboxes.initiate(ALICE, info(b"archive"))).url is not None


async def test_what_is_too_large_is_refused(room: Room) -> None:
    room.rules.section = Workload(max_sandbox_bytes=3)
    with pytest.raises(TooLargeError, match="at most 3"):
        await room.sandboxes.initiate(ALICE, info(b"four"))


async def test_names_of_people_become_parts_of_names_of_archives(room: Room) -> None:
    strange = person("s", username="../ä/" + "x" * 60, group="a b")
    pfn = await room.stored_sandbox(strange)
    assert pfn.count("/") == 6
    assert ".." not in pfn.split("/")
    assert await room.fetched(strange, pfn) == b"archive"
    former = person("alice-2", username="alice")
    await room.stored_sandbox(ALICE, b"x")
    with pytest.raises(ConflictError, match="former user"):
        await room.sandboxes.initiate(former, info(b"x"))


async def test_downloads_are_for_the_owner_and_their_administrators(room: Room) -> None:
    pfn = await room.stored_sandbox(ALICE)
    for caller in (ALICE, BOSS, OPERATOR):
        assert await room.fetched(caller, pfn) == b"archive"
    for caller in (*STRANGERS, run(1, 1), pilot()):
        with pytest.raises(NotFoundError):
            await room.sandboxes.download(caller, pfn)
    announced = (await room.sandboxes.initiate(ALICE, info(b"never sent"))).pfn
    with pytest.raises(NotFoundError, match="never uploaded"):
        await room.sandboxes.download(ALICE, announced)
    for name in (
        "",
        "x",
        "/S3/other/a/b/c/sha256:" + "0" * 64 + ".tar.gz",
        pfn + "x",
        pfn.replace("alice", "../x"),
    ):
        with pytest.raises(InvalidInputError):
            await room.sandboxes.download(ALICE, name)


async def test_a_run_gets_the_inputs_of_its_job_and_nothing_else(room: Room) -> None:
    mine = await room.stored_sandbox(ALICE, b"mine")
    other = await room.stored_sandbox(ALICE, b"other")
    job_id, _ = await room.submitted(
        ALICE,
        f'Executable = "x"; InputSandbox = "SB:SandboxSE|{mine}";',
        f'Executable = "x"; InputSandbox = "SB:SandboxSE|{other}";',
    )
    present = await running(room, job_id, 2)
    assert await room.fetched(present, mine) == b"mine"
    with pytest.raises(NotFoundError):
        await room.sandboxes.download(present, other)
    with pytest.raises(ConflictError, match="stale attempt"):
        await room.sandboxes.download(run(job_id, 1), mine)
    assert (await room.sandboxes.assigned(present, job_id))["input"] == [mine]
    with pytest.raises(NotFoundError):
        await room.sandboxes.assigned(present, job_id + 1)


async def test_the_present_run_hands_in_results_for_the_owner(room: Room) -> None:
    (job_id,) = await room.submitted(ALICE)
    present = await running(room, job_id, 1)
    pfn = await room.stored_sandbox(present, b"results")
    assert "/alice/" in pfn
    for _ in range(2):
        await room.sandboxes.assign_output(present, job_id, pfn)
    await set_status(room, job_id, "Done")
    await room.sandboxes.assign_output(present, job_id, pfn)  # the answer was lost: asked again
    assert await room.sandboxes.assigned(ALICE, job_id) == {"input": [], "output": [pfn]}
    assert await room.fetched(ALICE, pfn) == b"results"
    async with room.database.read() as tx:
        found = (await tx.execute(select(events).where(events.c.kind == "workload.job.sandbox"))).all()
    assert [(row.attempt, row.data["Assigned"]) for row in found] == [(1, pfn)]


async def test_only_the_present_run_hands_in_results(room: Room) -> None:
    (job_id,) = await room.submitted(ALICE)
    old = await running(room, job_id, 1)
    pfn = await room.stored_sandbox(old, b"old results")
    await room.sandboxes.assign_output(old, job_id, pfn)
    present = await running(room, job_id, 2, stamp="p2")
    assert (await room.sandboxes.assigned(ALICE, job_id))["output"] == []
    other = await room.stored_sandbox(present, b"new results")
    for caller, error in (
        (old, ConflictError),
        (pilot("p1"), NotFoundError),
        (run(job_id + 1, 2), NotFoundError),
        (person("bob"), NotFoundError),
        (person("alice", "bio"), NotFoundError),
        (run(job_id, 2, vo="bio"), NotFoundError),
    ):
        with pytest.raises(error):
            await room.sandboxes.assign_output(caller, job_id, other)
    with pytest.raises(ConflictError, match="stale"):
        await room.sandboxes.initiate(old, info(b"late"))
    assert (await room.sandboxes.assigned(ALICE, job_id))["output"] == []
    await room.sandboxes.assign_output(present, job_id, pfn)  # the same bytes as the first run's
    await room.sandboxes.assign_output(pilot("p2"), job_id, other)
    assert sorted((await room.sandboxes.assigned(ALICE, job_id))["output"]) == sorted([pfn, other])


@pytest.mark.parametrize("status", ["Waiting", "Rescheduled", "Failed", "Killed", "Deleted", "Done"])
async def test_a_run_that_is_over_hands_in_nothing(room: Room, status: str) -> None:
    (job_id,) = await room.submitted(ALICE)
    present = await running(room, job_id, 1)
    pfn = await room.stored_sandbox(present)
    await set_status(room, job_id, status)
    with pytest.raises(ConflictError, match="not wanted"):
        await room.sandboxes.assign_output(present, job_id, pfn)
    assert (await room.sandboxes.assigned(ALICE, job_id))["output"] == []


async def test_only_stored_archives_of_the_owner_are_results(room: Room) -> None:
    (job_id,) = await room.submitted(ALICE)
    present = await running(room, job_id, 1)
    announced = (await room.sandboxes.initiate(present, info(b"not sent"))).pfn
    foreign = await room.stored_sandbox(person("bob"))
    for pfn in (announced, foreign, foreign.replace("bob", "nobody")):
        with pytest.raises(NotFoundError):
            await room.sandboxes.assign_output(present, job_id, pfn)


async def test_others_neither_see_nor_touch_a_jobs_archives(room: Room) -> None:
    pfn = await room.stored_sandbox(ALICE)
    (job_id,) = await room.submitted(ALICE, f'Executable = "x"; InputSandbox = "{pfn}";')
    for caller in STRANGERS:
        for call in (
            room.sandboxes.assigned(caller, job_id),
            room.sandboxes.unassign(caller, [job_id]),
            room.sandboxes.assign_output(caller, job_id, pfn),
        ):
            with pytest.raises(NotFoundError) as foreign:
                await call
        with pytest.raises(NotFoundError) as missing:
            await room.sandboxes.unassign(caller, [999_999])
        assert str(foreign.value).replace(str(job_id), "N") != ""
        assert str(missing.value).replace("999999", "N") == "there is no job N. See `dirac job list`"
    assert (await room.sandboxes.assigned(BOSS, job_id))["input"] == [pfn]
    assert (await room.sandboxes.assigned(OPERATOR, job_id))["input"] == [pfn]
    with pytest.raises(NotFoundError):
        await room.sandboxes.unassign(OPERATOR, [job_id])


async def test_unassigning_is_all_or_nothing(room: Room) -> None:
    pfn = await room.stored_sandbox(ALICE)
    ids = await room.submitted(ALICE, *[f'Executable = "x"; InputSandbox = "{pfn}";'] * 2)
    with pytest.raises(NotFoundError, match="999999"):
        await room.sandboxes.unassign(ALICE, [*ids, 999_999])
    assert (await room.sandboxes.assigned(ALICE, ids[0]))["input"] == [pfn]
    await room.sandboxes.unassign(BOSS, ids)
    for job_id in ids:
        assert await room.sandboxes.assigned(ALICE, job_id) == {"input": [], "output": []}


async def entry(room: Room) -> str:
    async with room.database.write() as tx:
        tx.enqueue("workload.clean_sandboxes")
    async with room.database.read() as tx:
        mine = (tasks.c.name == "workload.clean_sandboxes", tasks.c.state == "Pending")
        row = (await tx.execute(select(tasks.c.id).where(*mine))).first()
    assert row is not None
    return str(row.id)


async def names(room: Room) -> set[str]:
    async with room.database.read() as tx:
        return {row.pfn for row in await tx.execute(select(sandboxes.c.pfn))}


async def test_what_no_job_needs_is_deleted_after_a_while(room: Room, clock: FakeClock) -> None:
    used = await room.stored_sandbox(ALICE, b"used")
    unused = await room.stored_sandbox(ALICE, b"unused")
    announced = (await room.sandboxes.initiate(ALICE, info(b"announced"))).pfn.removeprefix("SB:SandboxSE|")
    await room.submitted(ALICE, f'Executable = "x"; InputSandbox = "{used}";')
    await room.sandboxes.initiate(ALICE, info(b"unused"))  # makes it known as stored
    clock.advance(2 * DAY)
    await room.sandboxes.clean(await entry(room))
    assert await names(room) == {used, unused}
    clock.advance(14 * DAY)
    fresh = await room.stored_sandbox(ALICE, b"fresh")
    await room.sandboxes.clean(await entry(room))
    assert await names(room) == {used, fresh}
    keys = [pfn.removeprefix("/S3/sandboxes/") for pfn in (used, unused, announced, fresh)]
    assert await room.objects.exists(keys) == {keys[0], keys[3]}
    async with room.database.read() as tx:
        open_tasks = select(func.count()).select_from(tasks).where(tasks.c.name == "workload.clean_sandboxes")
        assert (await tx.execute(open_tasks.where(tasks.c.state != "Done"))).scalar_one() == 0


async def test_what_jobs_need_is_looked_at_once_in_fifteen_days(
    room: Room, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dirac.systems.workload.logic.sandboxes._BATCH", 4)
    used = [await room.stored_sandbox(ALICE, f"used {n}".encode()) for n in range(10)]
    unused = [await room.stored_sandbox(ALICE, f"unused {n}".encode()) for n in range(10)]
    for pfn in unused:
        await room.sandboxes.initiate(ALICE, info(f"unused {pfn}".encode()))
    await room.submitted(ALICE, *[f'Executable = "x"; InputSandbox = "{pfn}";' for pfn in used])
    clock.advance(16 * DAY)
    with counting(room.database) as first:
        await room.sandboxes.clean(await entry(room))
    assert await names(room) == set(used)
    clock.advance(14 * DAY)
    with counting(room.database) as second:
        await room.sandboxes.clean(await entry(room))
    assert await names(room) == set(used)
    reads = [text for text in second if "workload_sandbox" in text]
    assert len(reads) == 2, reads  # nothing is due: one look for each of the two kinds
    assert len([text for text in first if "workload_sandbox" in text]) <= 9 * 6


async def test_cleaning_leaves_the_rest_to_another_task(
    room: Room, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dirac.systems.workload.logic.sandboxes._BATCH", 2)
    monkeypatch.setattr("dirac.systems.workload.logic.sandboxes._MOST_BATCHES", 3)
    for n in range(7):
        await room.stored_sandbox(ALICE, f"{n}".encode())
    clock.advance(16 * DAY)
    await room.sandboxes.clean(await entry(room))
    assert len(await names(room)) == 1
    async with room.database.read() as tx:
        mine = (tasks.c.name == "workload.clean_sandboxes", tasks.c.state == "Pending")
        (rest,) = (await tx.execute(select(tasks.c.id).where(*mine))).scalars()
    await room.sandboxes.clean(str(rest))
    assert await names(room) == set()


async def test_what_was_unassigned_is_kept_for_fifteen_days_more(room: Room, clock: FakeClock) -> None:
    pfn = await room.stored_sandbox(ALICE)
    ids = await room.submitted(ALICE, f'Executable = "x"; InputSandbox = "{pfn}";')
    clock.advance(40 * DAY)
    await room.sandboxes.unassign(ALICE, ids)
    clock.advance(14 * DAY)
    await room.sandboxes.clean(await entry(room))
    assert await room.fetched(ALICE, pfn) == b"archive"
    clock.advance(2 * DAY)
    await room.sandboxes.clean(await entry(room))
    assert await names(room) == set()


async def test_what_the_store_took_without_looking_is_not_believed(room: Room) -> None:
    ticket = await room.sandboxes.initiate(ALICE, info(b"right"))
    name = SandboxName.parse(ticket.pfn)

    async def put_something_else() -> None:
        grant = Grant(name.key, 5, hashlib.sha256(b"wrong").hexdigest())
        await room.objects.receive(grant, _pieces(b"wrong"))

    await put_something_else()
    with pytest.raises(NotFoundError, match="never uploaded"):
        await room.sandboxes.download(ALICE, name.pfn)
    await put_something_else()
    with pytest.raises(InvalidInputError, match="no sandbox"):
        await room.submitted(ALICE, f'Executable = "x"; InputSandbox = "{name.pfn}";')
    await put_something_else()
    again = await room.sandboxes.initiate(ALICE, info(b"right"))
    assert again.url is not None
    (job_id,) = await room.submitted(ALICE)
    await put_something_else()
    with pytest.raises(NotFoundError, match="no sandbox"):
        await room.sandboxes.assign_output(ALICE, job_id, name.pfn)
    await room.upload(again, b"right")
    await room.sandboxes.assign_output(ALICE, job_id, name.pfn)
    assert await room.fetched(ALICE, name.pfn) == b"right"


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.mark.parametrize("lost", [False, True])
async def test_cleaning_that_fails_anywhere_can_be_repeated(room: Room, clock: FakeClock, lost: bool) -> None:
    faults = FailNth(room.database)
    for n in range(1, 60):
        pfn = await room.stored_sandbox(ALICE, f"{n}".encode())
        await room.sandboxes.initiate(ALICE, info(f"{n}".encode()))
        task = await entry(room)
        clock.advance(20 * DAY)
        with faults.failing(n, lost=lost), contextlib.suppress(UnavailableError):
            await room.sandboxes.clean(task)
        # Whatever happened, what counts as stored is there, and can be uploaded again if it is not.
        ticket = await room.sandboxes.initiate(ALICE, info(f"{n}".encode()))
        key = pfn.removeprefix("/S3/sandboxes/")
        assert (ticket.url is None) == (await room.objects.exists([key]) == {key})
        clock.advance(20 * DAY)
        with contextlib.suppress(ConflictError):  # it came to its end before
            await room.sandboxes.clean(task)
        await room.sandboxes.clean(await entry(room))
        assert await names(room) == set()
        if not faults.fired:
            break
    assert n > 5


@pytest.mark.parametrize("lost", [False, True])
async def test_an_output_commit_that_fails_anywhere_is_made_once_when_it_is_repeated(
    room: Room, lost: bool
) -> None:
    faults = FailNth(room.database)
    for n in range(1, 60):
        (job_id,) = await room.submitted(ALICE)
        present = await running(room, job_id, 1, stamp=f"p{n}")
        content = f"results {n}".encode()

        async def hand_in(job_id: int = job_id, present: Identity = present, content: bytes = content) -> str:
            pfn = await room.stored_sandbox(present, content)
            await room.sandboxes.assign_output(present, job_id, pfn)
            return pfn

        with faults.failing(n, lost=lost), contextlib.suppress(UnavailableError):
            await hand_in()
        fired = faults.fired
        pfn = await hand_in()
        assert (await room.sandboxes.assigned(ALICE, job_id))["output"] == [pfn]
        assert await room.fetched(ALICE, pfn) == content
        async with room.database.read() as tx:
            told = (
                select(func.count())
                .select_from(events)
                .where(events.c.kind == "workload.job.sandbox", events.c.subject_id == str(job_id))
            )
            assert (await tx.execute(told)).scalar_one() == 1
        if not fired:
            break
    assert n > 5


async def test_a_job_submitted_during_cleaning_keeps_its_input(room: Room, clock: FakeClock) -> None:
    for n in range(10):
        content = f"content {n}".encode()
        pfn = await room.stored_sandbox(ALICE, content)
        await room.sandboxes.initiate(ALICE, info(content))
        clock.advance(20 * DAY)
        task = await entry(room)
        jdl = f'Executable = "x"; InputSandbox = "{pfn}";'
        _, submitted = await asyncio.gather(
            room.sandboxes.clean(task), room.submission.submit(ALICE, [jdl]), return_exceptions=True
        )
        if isinstance(submitted, BaseException):
            assert isinstance(submitted, DiracError)
        else:
            assert (await room.sandboxes.assigned(ALICE, submitted[0].JobID))["input"] == [pfn]
            assert await room.fetched(ALICE, pfn) == content
