"""What people do to jobs: by number and by filter; answers to orders, delays, removal, series, the past."""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import func, select

from dirac.core.errors import ConflictError, DiracError, InvalidInputError, NotFoundError
from dirac.core.search import Condition
from dirac.db.history import history
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.models import (
    KILL_CONFIRMED,
    BulkFilter,
    BulkOutcome,
    BulkStep,
    HeartbeatData,
    JobCommand,
    JobStatus,
    JobStatusUpdate,
    JobVerb,
)
from dirac.systems.workload.states import KILL_UNCONFIRMED, ON_HOLD
from dirac.systems.workload.store.tables import metadata
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

from .support import ECHO, person, run
from .support_running import Hall, moment

S = JobStatus
ALICE = person()
BOSS = person("boss", "astro", Property.JOB_ADMINISTRATOR)
STRANGERS = [person("bob"), person("alice", "bio"), person("boss", "bio", Property.JOB_ADMINISTRATOR)]


async def confirm(hall: Hall, who: Identity) -> None:
    """Let a run say that it has ended as it was told."""
    update = JobStatusUpdate(MinorStatus=KILL_CONFIRMED, Source="JobWrapper")
    outcome = await hall.life.set_statuses(who, {who.job_id or 0: {hall.clock.now(): update}})
    assert not outcome.failed


async def forced(hall: Hall, job_id: int, status: JobStatus, minor: str = "x") -> None:
    update = JobStatusUpdate(Status=status, MinorStatus=minor, Source="Test")
    await hall.life.set_statuses(BOSS, {job_id: {hall.clock.now(): update}}, force=True)


async def carried_out(
    hall: Hall, who: Identity, verb: JobVerb, *search: Condition, limit: int = 500
) -> list[BulkOutcome]:
    """Do something to all that fit, step by step, as a client does."""
    preview = await hall.bulk_verbs.preview(who, verb, BulkFilter([*search]))
    steps: list[BulkOutcome] = []
    after = 0
    while preview.count and not (steps and steps[-1].finished):
        step = BulkStep(search=[*search], until=preview.last, after=after, limit=limit)
        steps.append(await hall.bulk_verbs.step(who, verb, step))
        after = steps[-1].after
    return steps


# Hold and release


async def test_what_is_on_hold_is_not_given_to_pilots_until_it_is_released(hall: Hall) -> None:
    (job_id,) = await hall.submitted(ALICE)
    for _ in range(2):
        assert (await hall.life.hold(ALICE, [job_id])).success[job_id].MinorStatus == ON_HOLD
    assert (await hall.ask("p1")).job is None
    hall.clock.advance(2)  # type: ignore[attr-defined]  # a FakeClock
    for _ in range(2):
        assert (await hall.life.release(ALICE, [job_id])).success[job_id].Status == "Waiting"
    assert await hall.log(job_id) == ["Waiting", "Checking", "Waiting"]
    assert (await hall.matched("p1")).job_id == job_id


@pytest.mark.parametrize("status", sorted(set(S) - {S.WAITING, S.RESCHEDULED}))
async def test_only_what_waits_can_be_held_or_released(hall: Hall, status: JobStatus) -> None:
    (job_id,) = await hall.submitted(ALICE)
    await forced(hall, job_id, status)
    before, log = await hall.row(job_id), await hall.log(job_id)
    for deed in (hall.life.hold, hall.life.release):
        outcome = await deed(ALICE, [job_id])
        assert str(status) in outcome.failed[job_id]["detail"]
        assert not outcome.success
    assert (await hall.row(job_id), await hall.log(job_id)) == (before, log)


async def test_nobody_declares_a_waiting_job_checked(hall: Hall) -> None:
    (job_id,) = await hall.submitted(ALICE)
    assert "holds jobs" in (await hall.report(ALICE, job_id, S.CHECKING)).failed[job_id]["detail"]


@pytest.mark.parametrize("stranger", STRANGERS, ids=["bob", "other VO", "other VO's boss"])
async def test_jobs_of_others_do_not_exist(hall: Hall, stranger: Identity) -> None:
    await hall.submitted(ALICE)
    job_id = (await hall.running()).job_id or 0
    for call in (
        lambda: hall.life.hold(stranger, [job_id]),
        lambda: hall.life.release(stranger, [job_id]),
        lambda: hall.watching.signs(stranger, job_id, None),
        lambda: hall.watching.follow(stranger, job_id),
    ):
        with pytest.raises(NotFoundError):
            await call()
    assert await hall.watching.at(stranger, [job_id], hall.clock.now()) == []
    assert (await hall.bulk_verbs.preview(stranger, JobVerb.KILL, BulkFilter())).count == 0
    step = BulkStep(until=job_id)
    assert (await hall.bulk_verbs.step(stranger, JobVerb.KILL, step)).done == 0
    assert await hall.status(job_id) == "Running"


# By filter


async def test_a_filter_does_what_its_preview_has_counted_and_comes_to_an_end(hall: Hall) -> None:
    group = Condition("JobGroup", "eq", "g")
    ids = await hall.submitted(ALICE, *['Executable = "x"; JobGroup = "g";'] * 7)
    (other,) = await hall.submitted(ALICE)
    await hall.submitted(person("bob"), 'Executable = "x"; JobGroup = "g";')
    preview = await hall.bulk_verbs.preview(ALICE, JobVerb.HOLD, BulkFilter([group]))
    assert (preview.count, preview.last) == (7, ids[-1])
    (late,) = await hall.submitted(ALICE, 'Executable = "x"; JobGroup = "g";')
    steps: list[BulkOutcome] = []
    after = 0
    while not (steps and steps[-1].finished):
        step = BulkStep(search=[group], until=preview.last, after=after, limit=3)
        steps.append(await hall.bulk_verbs.step(ALICE, JobVerb.HOLD, step))
        after = steps[-1].after
    assert [step.done for step in steps] == [3, 3, 1]
    assert [await hall.status(job_id) for job_id in ids] == ["Checking"] * 7
    assert {await hall.status(other), await hall.status(late)} == {"Waiting"}
    again = BulkStep(search=[group], until=preview.last)
    assert await hall.bulk_verbs.step(ALICE, JobVerb.HOLD, again) == BulkOutcome(0, {}, 0, True)
    assert sum(step.done for step in await carried_out(hall, ALICE, JobVerb.RELEASE, group, limit=2)) == 7


@pytest.mark.parametrize("verb", sorted(JobVerb))
async def test_every_verb_by_filter_converges(hall: Hall, verb: JobVerb) -> None:
    """In the end, nothing is left that it could change; those that it cannot change are told, and stay."""
    ids = await hall.submitted(ALICE, *[ECHO] * len(S))
    for job_id, status in zip(ids, sorted(S), strict=True):
        if status != S.WAITING:
            await forced(hall, job_id, status, ON_HOLD if status == S.CHECKING else "x")
    hall.clock.advance(1)  # type: ignore[attr-defined]
    first = await hall.bulk_verbs.preview(ALICE, verb, BulkFilter())
    steps = await carried_out(hall, ALICE, verb, limit=4)
    assert sum(step.done + len(step.failed) for step in steps) == first.count > 0
    assert not any(step.failed for step in steps)
    rows = [await hall.row(job_id) for job_id in ids]
    assert sum(step.done for step in await carried_out(hall, ALICE, verb)) == 0
    assert [await hall.row(job_id) for job_id in ids] == rows


async def test_a_job_that_ceases_to_fit_is_left_alone(hall: Hall) -> None:
    """Between choosing jobs and locking them, a pilot takes one."""
    ids = await hall.submitted(ALICE, ECHO, ECHO)
    waiting = Condition("Status", "eq", "Waiting")
    rules = hall.configuration.tree.workload
    await hall.matched("p1")
    async with hall.all_units.write() as unit:
        deeds = await hall.bulk_verbs._do(unit, ALICE, JobVerb.KILL, ids, [waiting], rules)
    assert set(deeds.success) == {ids[1]}
    assert await hall.status(ids[0]) == "Matched"


async def test_a_wrong_condition_is_refused(hall: Hall) -> None:
    for search in ([Condition("Sky", "eq", "blue")], [Condition("JobID", "eq", "x")]):
        with pytest.raises(InvalidInputError):
            await hall.bulk_verbs.preview(ALICE, JobVerb.KILL, BulkFilter(search))
        with pytest.raises(InvalidInputError):
            await hall.bulk_verbs.step(ALICE, JobVerb.KILL, BulkStep(search=search, until=1))


async def test_a_step_takes_a_constant_number_of_statements(hall: Hall) -> None:
    await hall.submitted(ALICE, *[ECHO] * 300)
    for verb in (JobVerb.HOLD, JobVerb.RELEASE, JobVerb.KILL, JobVerb.DELETE):
        with hall.counted() as statements:
            (step,) = await carried_out(hall, ALICE, verb)
        assert step.done == 300
        assert len(statements) <= 14, statements


async def test_a_step_that_fails_anywhere_is_done_once(hall: Hall) -> None:
    faults = FailNth(hall.database)
    for lost in (False, True):
        for n in itertools.count(1):
            ids = await hall.submitted(ALICE, ECHO, ECHO)
            for job_id in ids:
                await forced(hall, job_id, S.FAILED)
            hall.clock.advance(1)  # type: ignore[attr-defined]
            step = BulkStep(search=[Condition("JobID", "in", values=[*ids])], until=ids[-1])
            with faults.failing(n, lost=lost), contextlib.suppress(DiracError):
                await hall.bulk_verbs.step(ALICE, JobVerb.RESCHEDULE, step)
            fired = faults.fired
            await hall.bulk_verbs.step(ALICE, JobVerb.RESCHEDULE, step)
            for job_id in ids:
                row = await hall.row(job_id)
                assert (row.status, row.reschedule_counter) == ("Waiting", 1)
                assert (await hall.log(job_id)).count("Rescheduled") == 1
            if not fired:
                break
        assert n > 5


# Kill, and what the run says to it


@pytest.mark.parametrize("verb", [JobVerb.KILL, JobVerb.DELETE])
async def test_a_run_confirms_that_it_was_killed(hall: Hall, clock: FakeClock, verb: JobVerb) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    await (hall.life.kill if verb == JobVerb.KILL else hall.life.delete)(ALICE, [job_id])
    clock.advance(1)
    assert await hall.life.heartbeat(who, {job_id: HeartbeatData()}) == [JobCommand(job_id, "Kill")]
    await confirm(hall, who)
    clock.advance(1000)
    assert await hall.upkeep.settle_kills() == 0
    row = await hall.row(job_id)
    assert (row.status, row.minor_status) == (
        "Killed" if verb == JobVerb.KILL else "Deleted",
        KILL_CONFIRMED,
    )


async def test_a_kill_that_nobody_confirms_is_told_once(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    await hall.life.kill(ALICE, [job_id])
    clock.advance(99)
    assert await hall.upkeep.settle_kills() == 0
    clock.advance(1)
    assert [await hall.upkeep.settle_kills() for _ in range(2)] == [1, 0]
    row = await hall.row(job_id)
    assert (row.status, row.minor_status) == ("Killed", KILL_UNCONFIRMED)
    clock.advance(1)
    await confirm(hall, who)
    assert (await hall.row(job_id)).minor_status == KILL_CONFIRMED, "better late than never"


async def test_what_waits_needs_no_confirmation_and_what_runs_again_gives_none(
    hall: Hall, clock: FakeClock
) -> None:
    (waiting,) = await hall.submitted(ALICE)
    await hall.life.kill(ALICE, [waiting])
    await hall.submitted(ALICE)
    again = (await hall.running()).job_id or 0
    await hall.life.reschedule(ALICE, [again])
    clock.advance(1000)
    assert await hall.upkeep.settle_kills() == 0
    assert await hall.life.heartbeat(await hall.running("p2"), {again: HeartbeatData()}) == []


# Delays


async def test_what_is_lost_again_waits_ever_longer(hall: Hall, clock: FakeClock) -> None:
    hall.configuration.tree.workload.reschedule_delays[:] = [0, 60]
    try:
        (job_id,) = await hall.submitted(ALICE)
        await hall.running("p1")
        clock.advance(100)
        await hall.life.expire_leases()
        assert await hall.status(job_id) == "Waiting"
        await hall.running("p2")
        clock.advance(100)
        await hall.life.expire_leases()
        assert await hall.status(job_id) == "Rescheduled"
        assert (await hall.ask("p3")).job is None
        clock.advance(59)
        assert await hall.upkeep.end_delays() == 0
        clock.advance(1)
        assert [await hall.upkeep.end_delays() for _ in range(2)] == [1, 0]
        assert (await hall.row(job_id)).reschedule_counter == 2
        assert (await hall.running("p3")).attempt == 3
    finally:
        hall.configuration.tree.workload.reschedule_delays.clear()


@pytest.mark.parametrize("verb", ["release", "hold", "kill", "delete", "reschedule"])
async def test_people_can_act_before_a_delay_is_over(hall: Hall, clock: FakeClock, verb: str) -> None:
    hall.configuration.tree.workload.reschedule_delays[:] = [60]
    try:
        (job_id,) = await hall.submitted(ALICE)
        await hall.running("p1")
        clock.advance(100)
        await hall.life.expire_leases()
        assert not (await getattr(hall.life, verb)(ALICE, [job_id])).failed
        status = await hall.status(job_id)
        assert status != "Rescheduled"
        clock.advance(1000)
        assert await hall.upkeep.end_delays() == 0
        assert await hall.status(job_id) == status
    finally:
        hall.configuration.tree.workload.reschedule_delays.clear()


@pytest.mark.parametrize("work", ["end_delays", "settle_kills"])
async def test_upkeep_that_fails_anywhere_is_done_once(hall: Hall, clock: FakeClock, work: str) -> None:
    hall.configuration.tree = _with(hall, max_reschedules=1000)
    hall.configuration.tree.workload.reschedule_delays[:] = [60]
    faults = FailNth(hall.database)
    try:
        for n in itertools.count(1):
            await hall.submitted(ALICE)
            job_id = (await hall.running(f"p{n}")).job_id or 0
            if work == "settle_kills":
                await hall.life.kill(ALICE, [job_id])
            clock.advance(100)
            await hall.life.expire_leases()
            clock.advance(100)
            with faults.failing(n), contextlib.suppress(DiracError):
                await getattr(hall.upkeep, work)()
            fired = faults.fired
            assert await getattr(hall.upkeep, work)() == (1 if fired else 0)
            status = "Waiting" if work == "end_delays" else "Killed"
            assert (await hall.log(job_id)).count(status) == 2
            assert await hall.status(job_id) == status
            await hall.life.kill(ALICE, [job_id])
            if not fired:
                break
        assert n > 5
    finally:
        hall.configuration.tree.workload.reschedule_delays.clear()


# Removal


async def count_rows(hall: Hall) -> dict[str, int]:
    """Count the rows of jobs, by table."""
    async with hall.database.read() as tx:
        return {
            table.name: (await tx.execute(select(func.count()).select_from(table))).scalar_one()
            for table in metadata.tables.values()
            if "job_id" in table.c
        }


async def test_what_was_deleted_or_ended_long_ago_is_removed(hall: Hall, clock: FakeClock) -> None:
    archive = await hall.stored_sandbox(ALICE)
    jdl = f'Executable = "x"; InputSandbox = "SB:SandboxSE|{archive}";'
    (done,) = await hall.submitted(ALICE, jdl)
    who = await hall.running()
    await hall.life.heartbeat(who, {done: HeartbeatData(CPUConsumed=1)})
    await hall.life.set_metadata(who, {done: {"HostName": "h"}})
    await hall.report(who, done, S.DONE)
    (waits,) = await hall.submitted(ALICE)
    (gone,) = await hall.submitted(person("bob", "bio"))
    await hall.life.delete(person("bob", "bio"), [gone])
    clock.advance(7 * 86400)
    (young,) = await hall.submitted(ALICE)
    await hall.life.delete(ALICE, [young])
    assert await hall.upkeep.purge() == 0
    clock.advance(1)
    assert [await hall.upkeep.purge() for _ in range(2)] == [1, 0]
    with pytest.raises(NotFoundError):
        await hall.queries.jdl(person("bob", "bio"), gone)
    clock.advance(83 * 86400)
    assert await hall.upkeep.purge() == 2
    assert await hall.status(waits) == "Waiting"
    left = await count_rows(hall)
    assert left == dict.fromkeys(left, 0) | {"workload_job": 1, "workload_description": 1}
    async with hall.database.read() as tx:
        assert [event.kind for event in await history(tx, "job", [str(done)])] == ["workload.job.removed"]


async def test_installations_may_keep_what_has_ended(hall: Hall, clock: FakeClock) -> None:
    (done, gone) = await hall.submitted(ALICE, ECHO, ECHO)
    await forced(hall, done, S.DONE)
    await hall.life.delete(ALICE, [gone])
    rules = hall.configuration.tree.workload
    hall.configuration.tree = _with(hall, keep_ended_days=0, keep_deleted_days=0)
    assert rules.keep_ended_days == 90
    clock.advance(10**8)
    assert await hall.upkeep.purge() == 1
    assert await hall.status(done) == "Done"


def _with(hall: Hall, **rules: int) -> Tree:
    tree = hall.configuration.tree
    return msgspec.structs.replace(tree, workload=msgspec.structs.replace(tree.workload, **rules))


async def test_many_are_removed_in_bounded_transactions_with_few_statements(
    hall: Hall, clock: FakeClock
) -> None:
    ids = await hall.submitted(ALICE, *[ECHO] * 1100)
    await hall.life.delete(ALICE, ids)
    clock.advance(8 * 86400)
    with hall.counted() as statements:
        assert await hall.upkeep.purge() == 1100
    assert len(statements) < 80


async def test_a_removal_that_fails_anywhere_is_done_once(hall: Hall, clock: FakeClock) -> None:
    faults = FailNth(hall.database)
    for n in itertools.count(1):
        (job_id,) = await hall.submitted(ALICE)
        await hall.life.delete(ALICE, [job_id])
        clock.advance(8 * 86400)
        with faults.failing(n), contextlib.suppress(DiracError):
            await hall.upkeep.purge()
        fired = faults.fired
        await hall.upkeep.purge()
        async with hall.database.read() as tx:
            assert len(await history(tx, "job", [str(job_id)])) == 1
        if not fired:
            break
    assert n > 10


# The past and the present of one job


async def test_a_job_as_it_was(hall: Hall, clock: FakeClock) -> None:
    begin = clock.now()
    (job_id,) = await hall.submitted(ALICE)
    clock.advance(10)
    who = await hall.running()
    clock.advance(10)
    late = JobStatusUpdate(Status=S.FAILED, MinorStatus="late", Source="Test")
    await hall.life.set_statuses(who, {job_id: {moment(clock, -15): late}})
    await hall.report(who, job_id, S.DONE, "good")
    seen = {}
    for seconds in (-1, 0, 9, 10, 19, 20, 100):
        (then,) = await hall.watching.at(ALICE, [job_id, 10**9], begin + timedelta(seconds=seconds))
        seen[seconds] = (then.Status, then.Attempt)
        assert then.StatusTime is None or then.StatusTime <= begin + timedelta(seconds=seconds)
    assert seen == {
        -1: ("", None),
        0: ("Waiting", None),
        9: ("Waiting", None),
        10: ("Running", 1),
        19: ("Running", 1),
        20: ("Done", 1),
        100: ("Done", 1),
    }


async def test_the_series_of_a_run_is_bounded(hall: Hall, clock: FakeClock) -> None:
    hall.configuration.tree = _with(hall, lease_seconds=10**6, heartbeat_seconds=60)
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    for minute in range(140):
        await hall.life.heartbeat(who, {job_id: HeartbeatData(CPUConsumed=minute)})
        clock.advance(60)
    signs = await hall.watching.signs(ALICE, job_id, 1)
    assert len(signs) == 128 + 6
    times = [sign.time for sign in signs]
    assert times == sorted(times)
    assert signs[-1].data == {"CPUConsumed": 139}
    assert signs == await hall.watching.signs(ALICE, job_id, None)
    assert await hall.watching.signs(ALICE, job_id, 2) == []


async def test_a_run_is_asked_once_to_send_its_output_often(hall: Hall, clock: FakeClock) -> None:
    (job_id,) = await hall.submitted(ALICE)
    with pytest.raises(ConflictError, match="Waiting"):
        await hall.watching.follow(ALICE, job_id)
    who = await hall.running()
    for _ in range(3):
        assert (await hall.watching.follow(ALICE, job_id)).seconds == 120
    data = HeartbeatData(StandardOutput="the end", StandardOutputOffset=77)
    assert await hall.life.heartbeat(who, {job_id: data}) == [JobCommand(job_id, "Follow", "120")]
    assert await hall.life.heartbeat(who, {job_id: HeartbeatData()}) == []
    peek = await hall.queries.peek(ALICE, job_id)
    assert (peek.text, peek.offset) == ("the end", 77)
    clock.advance(61)
    await hall.watching.follow(ALICE, job_id)
    assert len(await hall.life.heartbeat(who, {job_id: HeartbeatData()})) == 1
    await hall.life.kill(ALICE, [job_id])
    with pytest.raises(ConflictError, match="Killed"):
        await hall.watching.follow(ALICE, job_id)


async def test_a_killed_run_that_is_followed_hears_of_both(hall: Hall) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    await hall.watching.follow(ALICE, who.job_id or 0)
    await hall.life.kill(ALICE, [who.job_id or 0])
    orders = await hall.life.heartbeat(run(who.job_id or 0, 1), {who.job_id or 0: HeartbeatData()})
    assert [order.command for order in orders] == ["Follow", "Kill"]
