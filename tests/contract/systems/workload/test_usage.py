"""What ended runs have used: noted with their ends, added up beside, held against their owners' shares."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import math
from collections import Counter

import msgspec
import pytest

from dirac.core.errors import DiracError
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.logic.usage import UsageKeeping
from dirac.systems.workload.models import JobStatus, JobStatusUpdate
from dirac.systems.workload.ports.usage import Used
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

from .support import person, run
from .support_running import TREE, Hall

ALICE, BOB = person(), person("bob")
BOSS = person("boss", "astro", Property.JOB_ADMINISTRATOR)
PLAIN, WIDE = 'Executable = "x";', 'Executable = "x"; NumberOfProcessors = 4;'
HOUR = 3600.0
WEEK = 168 * HOUR


async def used(hall: Hall) -> list[Used]:
    async with hall.all_units.read() as unit:
        return await unit.usage.used()


def lasting(hall: Hall, half_life_hours: int) -> None:
    tree = copy.deepcopy(TREE)
    tree["workload"]["usage_half_life_hours"] = half_life_hours
    hall.configuration.tree = msgspec.convert(tree, Tree)


def keeping(hall: Hall) -> UsageKeeping:
    return hall.system.usage_keeping


async def ended(hall: Hall, clock: FakeClock, who: Identity, seconds: float, text: str = PLAIN) -> int:
    """Run a job for so long; returns its class."""
    (job_id,) = await hall.submitted(who, text)
    stamp = f"p{job_id}"
    job = await hall.matched(stamp, vo=who.vo, processors=4)
    assert job.job_id == job_id
    itself = run(job_id, 1, who.vo, stamp)
    assert not (await hall.report(itself, job_id, JobStatus.RUNNING)).failed
    clock.advance(seconds)
    assert not (await hall.report(itself, job_id, JobStatus.DONE)).failed
    return int((await hall.row(job_id)).class_id)


async def test_an_end_is_noted_once(hall: Hall, clock: FakeClock) -> None:
    who = await running(hall)
    clock.advance(50)
    job_id = who.job_id or 0
    await hall.report(who, job_id, JobStatus.FAILED)
    await hall.report(who, job_id, JobStatus.FAILED)
    forced = {job_id: {hall.clock.now(): JobStatusUpdate(Status=JobStatus.DONE)}}
    await hall.life.set_statuses(BOSS, forced, force=True)
    (found,) = await used(hall)
    assert (found.seconds, found.moment) == (50, clock.now())


async def running(hall: Hall) -> Identity:
    await hall.submitted(ALICE, PLAIN)
    return await hall.running()


async def test_a_run_that_is_lost_or_killed_has_used_its_slot(hall: Hall, clock: FakeClock) -> None:
    await running(hall)
    clock.advance(101)
    await hall.life.expire_leases()
    assert [each.seconds for each in await used(hall)] == [101]
    who = await hall.running("p2")
    clock.advance(9)
    await hall.life.kill(ALICE, [who.job_id or 0])
    assert [each.seconds for each in await used(hall)] == [110]


async def test_it_fades_the_same_added_up_or_not(hall: Hall, clock: FakeClock) -> None:
    first = await ended(hall, clock, ALICE, 1000)
    assert await keeping(hall).fold() == 1
    assert await used(hall) == [Used(first, 1000, clock.now())]
    clock.advance(WEEK)
    second = await ended(hall, clock, BOB, 40)
    assert await ended(hall, clock, ALICE, 100) == first
    assert len(await used(hall)) == 3, "alice's in two parts"
    assert await keeping(hall).fold() == 2
    assert await keeping(hall).fold() == 0
    found = {each.class_id: each.seconds for each in await used(hall)}
    assert found[first] == pytest.approx(100 + 1000 / 2, rel=0.01)
    assert found[second] == pytest.approx(40, rel=0.01)
    clock.advance(21 * WEEK)
    third = await ended(hall, clock, person("carol"), 10)
    await keeping(hall).fold()
    assert [each.class_id for each in await used(hall)] == [third], "what is nothing any more is forgotten"


async def test_who_used_less_gets_more_until_that_has_faded(hall: Hall, clock: FakeClock) -> None:
    lasting(hall, 10)
    await ended(hall, clock, ALICE, 100 * HOUR, WIDE)
    await keeping(hall).fold()
    hall.restart()  # another process knows it as well
    await hall.submitted(ALICE, *[PLAIN] * 60)
    await hall.submitted(BOB, *[PLAIN] * 60)

    async def got(times: int) -> Counter[str]:
        jobs = [await hall.matched(f"q{next(numbers)}") for _ in range(times)]
        taken.extend(job.job_id for job in jobs)
        return Counter(job.owner for job in jobs)

    numbers, taken = itertools.count(), list[int]()
    # All of what was used lately is hers: his share is raised and hers is lowered.
    assert (await got(1)) == {"bob": 1}
    first = await got(15)
    assert first["bob"] >= 2 * first["alice"]
    await hall.life.kill(BOSS, taken)
    clock.advance(20 * 10 * HOUR)
    hall.restart()
    later = await got(20)
    assert abs(later["alice"] - later["bob"]) <= 2


async def test_processors_count_and_a_steady_use_is_its_own_average(hall: Hall, clock: FakeClock) -> None:
    lasting(hall, 100)
    past = hall.matching.waiting.past
    for _ in range(30):
        await ended(hall, clock, ALICE, 20 * HOUR, WIDE)
        await keeping(hall).fold()
    clock.advance(61)
    await hall.ask("p9")
    ((owner, average),) = past.average("astro", 100).items()
    assert owner == ("users", "alice")
    # Each run counts at its end, as if all of it had been then: at most its length in half-lives too much.
    assert 4 * 0.98 <= average <= 4 * math.exp2(20 / 100)
    assert past.average("bio", 100) == past.average("astro", 0) == {}


async def test_ends_cost_one_statement_however_many_they_are(hall: Hall, clock: FakeClock) -> None:
    async def statements(jobs: int) -> list[str]:
        await hall.submitted(ALICE, *[PLAIN] * jobs)
        runs = [await hall.matched(f"n{next(numbers)}") for _ in range(jobs)]
        clock.advance(10)
        with hall.counted() as found:
            await hall.life.kill(ALICE, [job.job_id for job in runs])
        return found

    numbers = itertools.count()
    few, many = await statements(2), await statements(30)
    assert len(many) == len(few)
    assert sum("workload_usage" in statement for statement in many) == 1
    with hall.counted() as folding:
        await keeping(hall).fold()
    assert len(folding) <= 8


async def test_no_end_is_lost_or_counted_twice(hall: Hall, clock: FakeClock) -> None:
    faults = FailNth(hall.database)
    who = await running(hall)
    clock.advance(30)
    for n in itertools.count(1):
        with faults.failing(n), contextlib.suppress(DiracError):
            await hall.report(who, who.job_id or 0, JobStatus.DONE)
        if not faults.fired:
            break
    assert sum(each.seconds for each in await used(hall)) == 30
    for n in itertools.count(1):
        with faults.failing(n), contextlib.suppress(DiracError):
            await keeping(hall).fold()
        assert sum(each.seconds for each in await used(hall)) == 30
        if not faults.fired:
            break


async def test_adding_up_beside_ends(hall: Hall, clock: FakeClock) -> None:
    ids = await hall.submitted(ALICE, *[PLAIN] * 30)
    ids += await hall.submitted(BOB, *[PLAIN] * 30)
    runs = [await hall.matched(f"p{number}") for number in range(len(ids))]
    clock.advance(7)
    stop = asyncio.Event()

    async def fold() -> int:
        folded = 0
        while not stop.is_set():
            folded += await keeping(hall).fold()
            await asyncio.sleep(0.001)
        return folded

    beside = [asyncio.create_task(fold()) for _ in range(2)]
    try:
        await asyncio.gather(*(hall.life.kill(BOSS, [job.job_id]) for job in runs))
    finally:
        stop.set()
        folded = sum(await asyncio.gather(*beside))
    assert folded + await keeping(hall).fold() == len(ids)
    assert sorted(each.seconds for each in await used(hall)) == [210, 210]
