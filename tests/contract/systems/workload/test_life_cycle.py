"""What is reported of jobs and done to them: fenced, per job, and written once."""

from __future__ import annotations

import contextlib
import itertools
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from dirac.core.errors import (
    ConflictError,
    DiracError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    TooLargeError,
)
from dirac.db.history import history
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.models import HeartbeatData, JobCommand, JobStatus, JobStatusUpdate
from dirac.systems.workload.states import HELD
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

from .support import person, pilot, run
from .support_running import SITE, Hall, moment

S = JobStatus
ALICE = person()
BOSS = person("boss", "astro", Property.JOB_ADMINISTRATOR)
STRANGERS = [person("bob"), person("alice", "bio"), person("boss", "bio", Property.JOB_ADMINISTRATOR)]


async def job_in(hall: Hall, status: JobStatus) -> tuple[int, Identity]:
    """Bring a new job to a state; return it with its run."""
    (job_id,) = await hall.submitted(ALICE)
    who = run(job_id, 0)
    if status in HELD | {S.DONE, S.COMPLETED, S.FAILED}:
        job = await hall.matched("p1")
        who = run(job_id, job.attempt)
        path = {
            S.RUNNING: [S.RUNNING],
            S.STALLED: [S.RUNNING, S.STALLED],
            S.COMPLETING: [S.RUNNING, S.COMPLETING],
            S.DONE: [S.RUNNING, S.DONE],
            S.COMPLETED: [S.RUNNING, S.COMPLETING, S.COMPLETED],
            S.FAILED: [S.RUNNING, S.FAILED],
        }.get(status, [])
        for step in path:
            assert not (await hall.report(who, job_id, step)).failed
    elif status != S.WAITING:
        update = JobStatusUpdate(Status=status, Source="Test")
        await hall.life.set_statuses(BOSS, {job_id: {hall.clock.now(): update}}, force=True)
    assert await hall.status(job_id) == status
    return job_id, who


async def test_a_run_reports_its_way(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    clock.advance(10)
    outcome = await hall.report(who, job_id, S.COMPLETING, "Uploading Output Sandbox")
    assert outcome.success[job_id].Status == "Completing"
    clock.advance(5)
    outcome = await hall.report(who, job_id, S.DONE, "Execution Complete")
    told = outcome.success[job_id]
    assert (told.Status, told.MinorStatus, told.EndExecTime) == ("Done", "Execution Complete", clock.now())
    row = await hall.row(job_id)
    assert row.start_exec_time == clock.now() - timedelta(seconds=15)
    assert row.end_exec_time == row.last_update_time == clock.now()
    (attempt,) = await hall.runs(job_id)
    assert (attempt.outcome, attempt.ended, attempt.lease_until) == ("Done", clock.now(), None)
    assert await hall.log(job_id) == ["Waiting", "Matched", "Running", "Completing", "Done"]


async def test_a_refused_report_is_told_and_changes_nothing(hall: Hall) -> None:
    job_id, who = await job_in(hall, S.DONE)
    before = await hall.row(job_id)
    outcome = await hall.report(who, job_id, S.RUNNING)
    assert "Done cannot become Running" in outcome.failed[job_id]["detail"]
    assert outcome.success == {}
    assert (await hall.row(job_id)) == before
    entry = (await hall.queries.logging(ALICE, job_id))[-1]
    assert (entry.Status, entry.Source, entry.Attempt) == ("Done", "Test(SM)", 1)
    assert entry.Note is not None


async def test_a_run_with_a_slow_clock_is_believed(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE)
    job = await hall.matched()
    who, slow = run(job.job_id, 1), moment(clock, -500)
    for number, status in enumerate((S.RUNNING, S.COMPLETING, S.DONE)):
        update = JobStatusUpdate(Status=status, Source="JobWrapper")
        outcome = await hall.life.set_statuses(who, {job.job_id: {slow + timedelta(seconds=number): update}})
        assert outcome.success[job.job_id].Status == status


async def test_what_comes_late_is_only_logged(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    late = JobStatusUpdate(Status=S.FAILED, MinorStatus="late", Source="Test")
    outcome = await hall.life.set_statuses(who, {job_id: {moment(clock, -50): late}})
    assert outcome.failed == {}
    assert outcome.success[job_id].Status == "Running"
    assert await hall.status(job_id) == "Running"
    assert any(entry.MinorStatus == "late" for entry in await hall.queries.logging(ALICE, job_id))


async def test_stale_runs_are_refused_everywhere(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE)
    old = await hall.running("p1")
    job_id = old.job_id or 0
    clock.advance(101)
    assert await hall.life.expire_leases() == 1
    new = await hall.running("p2")
    assert (new.job_id, new.attempt) == (job_id, 2)
    before = await hall.row(job_id)
    deeds = [
        lambda: hall.report(old, job_id, S.DONE),
        lambda: hall.life.heartbeat(old, {job_id: HeartbeatData(CPUConsumed=1)}),
        lambda: hall.life.set_metadata(old, {job_id: {"HostName": "h"}}),
    ]
    for deed in deeds:
        with pytest.raises(ConflictError, match="stale attempt"):
            await deed()
    with pytest.raises(NotFoundError):
        await hall.report(pilot("p1"), job_id, S.DONE)
    with pytest.raises(NotFoundError):
        await hall.life.set_metadata(pilot("p1"), {job_id: {"HostName": "h"}})
    assert await hall.life.heartbeat(pilot("p1"), {job_id: HeartbeatData()}) == [JobCommand(job_id, "Kill")]
    assert await hall.row(job_id) == before
    assert await hall.life.heartbeat(pilot("p2"), {job_id: HeartbeatData()}) == []


async def test_run_that_a_restored_database_has_forgotten_cannot_pass_for_another(hall: Hall) -> None:
    """It has the same job and the same number of run, as numbers are given again; only the pilot differs."""
    await hall.submitted(ALICE)
    new = await hall.running("p2")
    job_id = new.job_id or 0
    forgotten = run(job_id, 1, stamp="p1")
    for deed in (
        lambda: hall.report(forgotten, job_id, S.DONE),
        lambda: hall.life.heartbeat(forgotten, {job_id: HeartbeatData(CPUConsumed=1)}),
        lambda: hall.life.set_metadata(forgotten, {job_id: {"HostName": "h"}}),
    ):
        with pytest.raises(ConflictError, match="another pilot"):
            await deed()
    assert await hall.status(job_id) == "Running"


@pytest.mark.parametrize("again", ["lease", "reschedule"])
async def test_a_run_that_was_given_up_is_refused_before_the_next_one_begins(hall: Hall, again: str) -> None:
    await hall.submitted(ALICE)
    who = await hall.running("p1")
    job_id = who.job_id or 0
    if again == "lease":
        hall.clock.advance(100)  # type: ignore[attr-defined]
        await hall.life.expire_leases()
    else:
        await hall.life.reschedule(ALICE, [job_id])
    for deed in (
        lambda: hall.report(who, job_id, S.KILLED),
        lambda: hall.life.heartbeat(who, {job_id: HeartbeatData()}),
        lambda: hall.life.set_metadata(who, {job_id: {"HostName": "h"}}),
    ):
        with pytest.raises(ConflictError, match="is Waiting again"):
            await deed()
    with pytest.raises(NotFoundError):
        await hall.report(pilot("p1"), job_id, S.KILLED)
    assert await hall.status(job_id) == "Waiting"


async def test_a_run_reaches_no_other_job(hall: Hall) -> None:
    await hall.submitted(ALICE, 'Executable = "x";', 'Executable = "x";')
    mine, other = await hall.running("p1"), await hall.running("p2")
    with pytest.raises(NotFoundError):
        await hall.report(mine, other.job_id or 0, S.FAILED)
    mixed = {job.job_id or 0: {hall.clock.now(): JobStatusUpdate(Status=S.DONE)} for job in (mine, other)}
    outcome = await hall.life.set_statuses(mine, mixed)
    assert set(outcome.success) == {mine.job_id}
    assert set(outcome.failed) == {other.job_id}
    assert await hall.status(other.job_id or 0) == "Running"


@pytest.mark.parametrize("stranger", STRANGERS, ids=["bob", "other VO", "other VO's boss"])
async def test_jobs_of_others_do_not_exist(hall: Hall, stranger: Identity) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    before = await hall.row(job_id)
    deeds = [
        lambda: hall.report(stranger, job_id, S.FAILED),
        lambda: hall.life.heartbeat(stranger, {job_id: HeartbeatData()}),
        lambda: hall.life.set_metadata(stranger, {job_id: {"x": "y"}}),
        lambda: hall.life.kill(stranger, [job_id]),
        lambda: hall.life.delete(stranger, [job_id]),
        lambda: hall.life.reschedule(stranger, [job_id]),
        lambda: hall.explain.explain(stranger, job_id),
    ]
    messages = []
    for deed in deeds:
        with pytest.raises(NotFoundError) as caught:
            await deed()
        messages.append(str(caught.value))
    with pytest.raises(NotFoundError) as missing:
        await hall.life.kill(stranger, [job_id + 1000])
    assert messages[3] == str(missing.value).replace(str(job_id + 1000), str(job_id))
    assert await hall.row(job_id) == before


async def test_what_can_be_done_is_done_and_the_rest_is_told(hall: Hall) -> None:
    (theirs,) = await hall.submitted(person("bob"))
    (mine,) = await hall.submitted(ALICE)
    outcome = await hall.life.kill(ALICE, [mine, theirs, 10**9])
    assert set(outcome.success) == {mine}
    assert set(outcome.failed) == {theirs, 10**9}
    assert outcome.failed[theirs]["detail"].startswith(f"there is no job {theirs}")
    assert await hall.status(theirs) == "Waiting"


async def test_only_an_administrator_forces(hall: Hall) -> None:
    job_id, who = await job_in(hall, S.DONE)
    update = {job_id: {hall.clock.now(): JobStatusUpdate(Status=S.WAITING)}}
    for caller in (ALICE, who, pilot("p1")):
        with pytest.raises(NotAllowedError):
            await hall.life.set_statuses(caller, update, force=True)
    assert (await hall.life.set_statuses(BOSS, update, force=True)).success[job_id].Status == "Waiting"


async def test_nobody_declares_a_job_matched(hall: Hall) -> None:
    job_id, _ = await job_in(hall, S.WAITING)
    outcome = await hall.report(ALICE, job_id, S.MATCHED)
    assert "only a pilot's request" in outcome.failed[job_id]["detail"]


@pytest.mark.parametrize(
    "update", [{}, {1: {}}, {1: {datetime(2026, 1, 1): JobStatusUpdate()}}], ids=["none", "empty", "naive"]
)
async def test_updates_that_say_nothing(hall: Hall, update: dict[int, Any]) -> None:
    with pytest.raises(InvalidInputError):
        await hall.life.set_statuses(ALICE, update)


# Heartbeats


async def test_a_heartbeat_extends_the_lease_and_keeps_what_it_says(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    clock.advance(90)
    data = HeartbeatData(CPUConsumed=12.5, MemoryUsed=2048, StandardOutput="the end\n")
    assert await hall.life.heartbeat(who, {job_id: data}) == []
    (attempt,) = await hall.runs(job_id)
    assert attempt.lease_until == clock.now() + timedelta(seconds=100)
    assert attempt.dynamic == {"CPUConsumed": 12.5, "MemoryUsed": 2048}
    assert (await hall.row(job_id)).heartbeat_time == clock.now()
    assert (await hall.queries.peek(ALICE, job_id)).text == "the end\n"
    await hall.life.heartbeat(who, {job_id: HeartbeatData(CPUConsumed=13)})
    assert (await hall.queries.peek(ALICE, job_id)).text == "the end\n", "no news is no new text"
    clock.advance(90)
    assert await hall.life.expire_leases() == 0


@pytest.mark.parametrize("status", [S.MATCHED, S.STALLED])
async def test_a_job_that_shows_life_runs(hall: Hall, status: JobStatus) -> None:
    job_id, who = await job_in(hall, status)
    assert await hall.life.heartbeat(who, {job_id: HeartbeatData()}) == []
    assert await hall.status(job_id) == "Running"
    assert (await hall.log(job_id))[-1] == "Running"
    assert (await hall.row(job_id)).start_exec_time is not None


async def test_heartbeats_in_the_same_second(hall: Hall) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    for cpu in (1, 2, 3):
        await hall.life.heartbeat(who, {who.job_id or 0: HeartbeatData(CPUConsumed=cpu)})


async def test_a_pilot_gives_signs_of_life_of_all_its_jobs(hall: Hall, clock: FakeClock) -> None:
    ids = await hall.submitted(ALICE, *['Executable = "x";'] * 3)
    for job_id in ids:
        await hall.running("p1" if job_id != ids[2] else "p2")
    clock.advance(60)
    orders = await hall.life.heartbeat(
        pilot("p1"), {job_id: HeartbeatData(StandardOutput="x") for job_id in ids}
    )
    assert orders == [JobCommand(ids[2], "Kill")], "it has not that one"
    clock.advance(60)
    assert await hall.life.expire_leases() == 1
    assert await hall.status(ids[2]) == "Waiting"


# Kill


@pytest.mark.parametrize("status", sorted(JobStatus))
async def test_kill_at_every_state(hall: Hall, status: JobStatus) -> None:
    job_id, who = await job_in(hall, status)
    outcome = await hall.life.kill(ALICE, [job_id])
    if status in (S.DONE, S.COMPLETED, S.FAILED, S.DELETED):
        assert set(outcome.failed) == {job_id}
        assert await hall.status(job_id) == status
        return
    assert outcome.success[job_id].Status == "Killed"
    assert (await hall.row(job_id)).end_exec_time is not None or status == S.KILLED
    assert (await hall.ask("p9")).job is None
    if status in HELD:
        for _ in range(2):  # however often it asks: the first answer may have been lost
            assert await hall.life.heartbeat(who, {job_id: HeartbeatData()}) == [JobCommand(job_id, "Kill")]
        assert (await hall.report(who, job_id, S.DONE)).failed
        (attempt,) = await hall.runs(job_id)
        assert (attempt.outcome, attempt.lease_until) == ("Killed", None)
    hall.clock.advance(10**6)  # type: ignore[attr-defined]  # a FakeClock
    assert await hall.life.expire_leases() == 0
    again = await hall.life.kill(ALICE, [job_id])
    assert again.success[job_id].Status == "Killed"
    refused = 1 if status in HELD else 0
    assert (await hall.log(job_id)).count("Killed") == 1 + refused


async def test_killing_by_status_is_killing(hall: Hall) -> None:
    job_id, who = await job_in(hall, S.RUNNING)
    hall.clock.advance(1)  # type: ignore[attr-defined]
    assert not (await hall.report(ALICE, job_id, S.KILLED, "Marked for termination")).failed
    assert await hall.life.heartbeat(who, {job_id: HeartbeatData()}) == [JobCommand(job_id, "Kill")]


@pytest.mark.parametrize("status", sorted(JobStatus))
async def test_delete_at_every_state(hall: Hall, status: JobStatus) -> None:
    job_id, who = await job_in(hall, status)
    outcome = await hall.life.delete(ALICE, [job_id])
    if status == S.COMPLETED:
        assert set(outcome.failed) == {job_id}
        return
    assert await hall.status(job_id) == "Deleted"
    if status in HELD:
        assert await hall.life.heartbeat(who, {job_id: HeartbeatData()}) == [JobCommand(job_id, "Kill")]
        assert "Killed" in await hall.log(job_id)


# Reschedule


@pytest.mark.parametrize("status", [S.FAILED, S.RUNNING, S.MATCHED, S.WAITING, S.STALLED, S.CHECKING])
async def test_a_rescheduled_job_really_runs_again(hall: Hall, status: JobStatus) -> None:
    job_id, who = await job_in(hall, status)
    if status in HELD:
        await hall.life.set_metadata(who, {job_id: {"HostName": "old", "Site": SITE}})
    outcome = await hall.life.reschedule(ALICE, [job_id])
    assert outcome.success[job_id].Status == "Waiting"
    row = await hall.row(job_id)
    assert (row.reschedule_counter, row.site, row.application_status) == (1, "ANY", "Unknown")
    assert (row.start_exec_time, row.end_exec_time) == (None, None)
    assert row.reschedule_time is not None
    assert await hall.queries.parameters(ALICE, job_id) == {}
    assert "workload.start_pilots" in await hall.tasks()
    again = await hall.running("p2")
    assert again.job_id == job_id
    assert again.attempt == (who.attempt or 0) + 1
    assert not (await hall.report(again, job_id, S.DONE)).failed
    if who.attempt:
        with pytest.raises(ConflictError):
            await hall.report(who, job_id, S.FAILED)


async def test_a_job_is_rescheduled_only_so_often(hall: Hall) -> None:
    job_id, _ = await job_in(hall, S.WAITING)
    for _ in range(2):
        assert not (await hall.life.reschedule(ALICE, [job_id])).failed
    outcome = await hall.life.reschedule(ALICE, [job_id])
    assert "at most 2" in outcome.failed[job_id]["detail"]
    assert not (await hall.life.reschedule(ALICE, [job_id], reset=True)).failed
    assert (await hall.row(job_id)).reschedule_counter == 0


async def test_what_ended_well_is_not_rescheduled(hall: Hall) -> None:
    job_id, _ = await job_in(hall, S.DONE)
    outcome = await hall.life.reschedule(ALICE, [job_id])
    assert "Done cannot become Rescheduled" in outcome.failed[job_id]["detail"]
    assert (await hall.row(job_id)).reschedule_counter == 0


# Leases


async def test_a_run_without_a_sign_of_life_is_given_up(hall: Hall, clock: FakeClock) -> None:
    (job_id,) = await hall.submitted(ALICE)
    for attempt in (1, 2, 3):
        who = await hall.running(f"p{attempt}")
        assert who.attempt == attempt
        clock.advance(99)
        assert await hall.life.expire_leases() == 0
        clock.advance(1)
        assert await hall.life.expire_leases() == 1
        assert await hall.life.expire_leases() == 0
    row = await hall.row(job_id)
    assert (row.status, row.minor_status) == ("Failed", "Job stalled: pilot not running")
    assert row.reschedule_counter == 2
    lost = ["Matched", "Running", "Stalled", "Failed"]
    waits = ["Rescheduled", "Waiting"]
    assert await hall.log(job_id) == ["Waiting", *lost, *waits, *lost, *waits, *lost]
    assert [each.outcome for each in await hall.runs(job_id)] == ["Lost"] * 3
    assert not (await hall.life.reschedule(ALICE, [job_id], reset=True)).failed
    assert (await hall.running("p4")).attempt == 4


async def test_a_matched_job_that_never_began_waits_again(hall: Hall, clock: FakeClock) -> None:
    (job_id,) = await hall.submitted(ALICE)
    await hall.matched("p1")
    clock.advance(100)
    await hall.life.expire_leases()
    assert (await hall.log(job_id))[-3:] == ["Matched", "Rescheduled", "Waiting"]


async def test_many_lost_runs_at_once(hall: Hall, clock: FakeClock) -> None:
    ids = await hall.submitted(ALICE, *['Executable = "x";'] * 250)
    for number in range(250):
        await hall.matched(f"p{number}")
    clock.advance(100)
    with hall.counted() as statements:
        assert await hall.life.expire_leases() == 250
    assert len(statements) < 40
    async with hall.all_units.read() as unit:
        assert sum((await unit.runs.waiting_counts("astro")).values()) == len(ids)


# Metadata


async def test_metadata(hall: Hall) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    await hall.life.set_metadata(who, {job_id: {"HostName": "a", "Memory(kB)": 5, "Site": "LCG.Other.fr"}})
    await hall.life.set_metadata(who, {job_id: {"HostName": "b", "Ok": True, "Any": {"a": [1]}}})
    found = await hall.queries.parameters(ALICE, job_id)
    assert found == {"HostName": "b", "Memory(kB)": "5", "Ok": "true", "Any": '{"a":[1]}'}
    assert (await hall.row(job_id)).site == "LCG.Other.fr"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"Owner": "bob"}, InvalidInputError),
        ({"Status": "Done"}, InvalidInputError),
        ({"": "x"}, InvalidInputError),
        ({"x": None}, InvalidInputError),
        ({"Site": ["a"]}, InvalidInputError),
        ({"x": "y" * 70_000}, TooLargeError),
        ({"Site": "y" * 200}, TooLargeError),
        ({f"x{n}": 1 for n in range(101)}, TooLargeError),
    ],
)
async def test_metadata_that_is_wrong_changes_nothing(
    hall: Hall, given: dict[str, Any], error: type[DiracError]
) -> None:
    job_id, who = await job_in(hall, S.RUNNING)
    with pytest.raises(error):
        await hall.life.set_metadata(who, {job_id: {"Good": "x"} | given})
    assert await hall.queries.parameters(ALICE, job_id) == {}


async def test_metadata_of_a_job_that_is_not_there_changes_nothing(hall: Hall) -> None:
    job_id, _ = await job_in(hall, S.WAITING)
    with pytest.raises(NotFoundError):
        await hall.life.set_metadata(ALICE, {job_id: {"x": "y"}, 10**9: {"x": "y"}})
    assert await hall.queries.parameters(ALICE, job_id) == {}


# Bulk and faults


async def test_bulk_takes_a_constant_number_of_statements(hall: Hall) -> None:
    ids = await hall.submitted(ALICE, *['Executable = "x";'] * 100)
    for number, _ in enumerate(ids):
        await hall.matched(f"p{number % 7}")
    times = {job_id: moment(hall.clock, -number / 1000) for number, job_id in enumerate(ids)}
    who = msgspec.structs.replace(BOSS)
    with hall.counted() as statements:
        outcome = await hall.life.set_statuses(
            who,
            {
                job_id: {times[job_id]: JobStatusUpdate(Status=S.RUNNING, MinorStatus=f"m{job_id}")}
                for job_id in ids
            },
        )
    assert len(outcome.success) == 100
    assert len(statements) <= 6
    with hall.counted() as statements:
        await hall.life.heartbeat(BOSS, {job_id: HeartbeatData(CPUConsumed=job_id) for job_id in ids})
    assert len(statements) <= 8
    hall.clock.advance(1)  # type: ignore[attr-defined]
    with hall.counted() as statements:
        await hall.life.kill(ALICE, ids)
    assert len(statements) <= 10


async def test_a_report_that_fails_anywhere_is_made_once_when_it_is_repeated(hall: Hall) -> None:
    faults = FailNth(hall.database)
    for lost in (False, True):
        for n in itertools.count(1):
            await hall.submitted(ALICE)
            who = await hall.running(f"p{n}{lost}")
            job_id, time = who.job_id or 0, hall.clock.now()
            update = {job_id: {time: JobStatusUpdate(Status=S.DONE, Source="Test")}}
            with faults.failing(n, lost=lost), contextlib.suppress(DiracError):
                await hall.life.set_statuses(who, update)
            fired = faults.fired
            assert await hall.status(job_id) in ("Running", "Done")
            assert not (await hall.life.set_statuses(who, update)).failed
            assert await hall.status(job_id) == "Done"
            (attempt,) = await hall.runs(job_id)
            assert attempt.outcome == "Done"
            assert set(await hall.log(job_id)) == {"Waiting", "Matched", "Running", "Done"}
            if not fired:
                break
        assert n > 4


@pytest.mark.parametrize("deed", ["kill", "reschedule", "expire"])
async def test_a_deed_that_fails_anywhere_is_done_once(hall: Hall, deed: str) -> None:
    faults = FailNth(hall.database)
    for n in itertools.count(1):
        await hall.submitted(ALICE)
        who = await hall.running(f"p{n}")
        job_id = who.job_id or 0
        hall.clock.advance(100 if deed == "expire" else 1)  # type: ignore[attr-defined]
        act = {
            "kill": lambda: hall.life.kill(ALICE, [job_id]),  # noqa: B023 - called at once
            "reschedule": lambda: hall.life.reschedule(ALICE, [job_id]),  # noqa: B023
            "expire": lambda: hall.life.expire_leases(),
        }[deed]
        with faults.failing(n), contextlib.suppress(DiracError):
            await act()
        fired = faults.fired
        states = ("Running", "Killed" if deed == "kill" else "Waiting")
        state = await hall.status(job_id)
        assert state in states
        if fired:
            assert state == "Running", "nothing or everything"
            await act()
        assert await hall.status(job_id) == states[1]
        row = await hall.row(job_id)
        assert row.reschedule_counter == (0 if deed == "kill" else 1)
        await hall.life.kill(ALICE, [job_id])
        if not fired:
            break
    assert n > 4


async def test_every_change_is_in_the_history_with_who_did_it(hall: Hall) -> None:
    job_id, _ = await job_in(hall, S.RUNNING)
    hall.clock.advance(1)  # type: ignore[attr-defined]
    await hall.life.kill(ALICE, [job_id])
    async with hall.database.read() as tx:
        events = await history(tx, "job", [str(job_id)])
    assert [event.actor for event in events] == [
        "astro:alice",
        "astro:pilot:p1",
        f"astro:job:{job_id}:1",
        "astro:alice",
    ]
    assert [event.attempt for event in events] == [None, 1, 1, 1]
