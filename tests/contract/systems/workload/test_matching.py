"""Giving jobs to pilots: each job once, each request one job, and the reason when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
from collections import Counter
from datetime import timedelta

import msgspec
import pytest

from dirac.core.errors import (
    ConflictError,
    DiracError,
    InvalidInputError,
    NotAllowedError,
    UnavailableError,
)
from dirac.core.time import SystemClock
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Property
from dirac.systems.workload.logic.matching import Matching
from dirac.systems.workload.logic.waiting import Classes, Signals
from dirac.systems.workload.models import (
    JobStatus,
    MatchAnswer,
    MatchRequest,
    PilotMetadata,
    PilotRegistration,
    PilotStatus,
    Resource,
)
from dirac.systems.workload.store.tables import classes, jobs, pilots
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

from .support import person, pilot, run
from .support_running import SITE, TREE, Hall

ALICE = person()
OPERATOR = person("root", "astro", Property.GENERIC_PILOT)


def jdl(more: str = "", executable: str = "/bin/echo") -> str:
    return f'Executable = "{executable}"; {more}'


async def test_a_job_goes_to_a_pilot(hall: Hall, clock: FakeClock) -> None:
    (job_id,) = await hall.submitted(ALICE)
    job = await hall.matched("p1")
    assert (job.job_id, job.attempt, job.vo, job.owner, job.owner_group) == (
        job_id,
        1,
        "astro",
        "alice",
        "users",
    )
    assert f"job {job_id}" in job.jdl
    assert job.token == f"token of {job_id}:1 for {job.token_expires_in}"
    assert (job.lease_seconds, job.heartbeat_seconds) == (100, 60)
    row = await hall.row(job_id)
    assert (row.status, row.minor_status, row.site, row.attempt) == ("Matched", "Assigned", SITE, 1)
    (attempt,) = await hall.runs(job_id)
    assert attempt.lease_until == clock.now() + timedelta(seconds=100)
    assert attempt.pilot_stamp == "p1"
    assert await hall.log(job_id) == ["Waiting", "Matched"]
    assert (await hall.ask("p2")).job is None


async def test_the_highest_priority_comes_first_and_then_the_oldest(hall: Hall) -> None:
    ids = await hall.submitted(
        ALICE,
        jdl("Priority = 1;"),
        jdl("Priority = 5; CPUTime = 1000;"),
        jdl("Priority = 5;"),
        jdl("Priority = 9; CPUTime = 80000;"),
        jdl("Priority = 1; CPUTime = 1000;"),
    )
    served = [(await hall.matched()).job_id for _ in ids]
    assert served == [ids[3], ids[1], ids[2], ids[0], ids[4]]


async def test_a_repeated_request_gets_the_same_job(hall: Hall) -> None:
    await hall.submitted(ALICE, jdl(), jdl())
    first = await hall.matched("p1", request_id="r1")
    hall.restart()
    assert await hall.matched("p1", request_id="r1") == first
    assert (await hall.matched("p1", request_id="r2")).job_id != first.job_id
    assert len(await hall.runs(first.job_id)) == 1


async def test_a_request_whose_run_is_over_gets_nothing(hall: Hall) -> None:
    await hall.submitted(ALICE, jdl(), jdl())
    job = await hall.matched("p1", request_id="r1")
    await hall.report(run(job.job_id, 1), job.job_id, JobStatus.RUNNING)
    answer = await hall.ask("p1", request_id="r1")
    assert answer.job is None
    assert answer.reasons


async def test_twins_of_a_request_get_one_job(hall: Hall) -> None:
    await hall.submitted(ALICE, *[jdl()] * 5)

    async def twin() -> int | None:
        for _ in range(20):
            with contextlib.suppress(ConflictError, UnavailableError):
                answer = await hall.ask("p1", request_id="same")
                return answer.job.job_id if answer.job else None
        raise AssertionError("no answer in 20 tries")

    got = await asyncio.gather(*(twin() for _ in range(8)))
    assert len(set(got)) == 1
    assert got[0] is not None


async def test_every_job_is_given_out_exactly_once(hall: Hall) -> None:
    """32 pilots at a time, 200 jobs of several classes."""
    ids = await hall.submitted(ALICE, *[jdl(f"CPUTime = {cpu};") for cpu in (360, 1800, 3600, 21600)] * 50)
    got: list[int] = []

    async def serve(stamp: str) -> None:
        for number in itertools.count():
            try:
                answer = await hall.ask(stamp, request_id=f"{stamp}-{number // 3}-{number}")
            except UnavailableError:
                continue
            if answer.job is None:
                if not await waiting():
                    return
                continue
            got.append(answer.job.job_id)

    async def waiting() -> bool:
        async with hall.all_units.read() as unit:
            return bool(await unit.runs.waiting_counts("astro"))

    await asyncio.gather(*(serve(f"p{number}") for number in range(32)))
    assert Counter(got) == Counter(ids)
    for job_id in ids:
        assert len(await hall.runs(job_id)) == 1


async def test_a_pilot_gets_no_job_of_another_vo_and_hears_nothing_of_it(hall: Hall) -> None:
    await hall.submitted(person(vo="bio"), jdl())
    answer = await hall.ask("p1", vo="astro")
    assert answer.job is None
    assert answer.reasons == {}
    assert (await hall.ask("p2", vo="bio")).job is not None


async def test_the_reasons_are_counted(hall: Hall) -> None:
    await hall.submitted(
        ALICE,
        jdl('Site = "LCG.There.fr";'),
        jdl('Site = "LCG.There.fr"; Tags = {"GPU"};'),
        jdl("NumberOfProcessors = 4;"),
    )
    answer = await hall.ask()
    assert answer.reasons == {"Site": 2, "Tags": 1, "NumberOfProcessors": 1}


async def test_a_pilot_is_where_we_started_it(hall: Hall) -> None:
    await hall.submitted(ALICE, jdl('Site = "LCG.There.fr";'))
    where = {"grid_site": SITE, "destination_site": "ce"}
    await hall.pilots.register(OPERATOR, PilotRegistration(pilot_stamp="p1", vo="astro", **where))
    answer = await hall.ask("p1", site="LCG.There.fr")
    assert answer.job is None
    assert answer.reasons == {"Site": 1}
    assert (await hall.ask("p2", site="LCG.There.fr")).job is not None, "that one nobody knows"


async def test_a_pilot_of_another_vo_or_that_ended_gets_nothing(hall: Hall) -> None:
    await hall.submitted(ALICE)
    await hall.pilots.register(OPERATOR, PilotRegistration(pilot_stamp="p1", vo="astro"))
    with pytest.raises(NotAllowedError):
        await hall.ask("p1", vo="bio")
    await hall.pilots.set_metadata(pilot("p1"), {"p1": PilotMetadata(Status=PilotStatus.DONE)})
    with pytest.raises(ConflictError):
        await hall.ask("p1")


async def test_a_pilot_that_asks_runs(hall: Hall) -> None:
    await hall.submitted(ALICE)
    await hall.pilots.register(OPERATOR, PilotRegistration(pilot_stamp="p1", vo="astro"))
    job = await hall.matched("p1")
    (row,) = await hall.pilot_rows()
    assert (row.status, row.current_job_id) == ("Running", job.job_id)
    await hall.report(run(job.job_id, 1), job.job_id, JobStatus.RUNNING)
    await hall.report(run(job.job_id, 1), job.job_id, JobStatus.DONE)
    (row,) = await hall.pilot_rows()
    assert row.current_job_id is None


async def test_a_waiting_pilot_gets_a_job_at_once(hall: Hall) -> None:
    hall.clock = SystemClock()
    hall.restart()
    asking = [asyncio.create_task(hall.ask(f"p{number}", wait=20)) for number in range(5)]
    for _ in range(20):
        await asyncio.sleep(0)
    await hall.submitted(ALICE, jdl(), jdl())
    done: set[asyncio.Task[object]] = set()
    async with asyncio.timeout(10):
        while len(done) < 2:
            done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
    hall.signals.end()  # who is cancelled may just be opening a connection, which nobody closes then
    await asyncio.gather(*asking)


async def test_each_submission_wakes_the_pilots_that_wait(hall: Hall) -> None:
    for _ in range(4):  # not all of them ask for pilots
        wakes = hall.signals.wakes
        await hall.submitted(ALICE)
        assert hall.signals.wakes > wakes


async def test_a_waiting_pilot_gets_a_job_that_another_process_took_in(hall: Hall) -> None:
    hall.clock = SystemClock()
    hall.restart()
    hall.database.committed.clear()
    asking = asyncio.create_task(hall.ask(wait=20))
    for _ in range(20):
        await asyncio.sleep(0)
    (job_id,) = await hall.submitted(ALICE)
    async with asyncio.timeout(10):
        answer = await asking
    assert answer.job is not None
    assert answer.job.job_id == job_id


async def test_a_class_that_appears_late_is_found(hall: Hall, clock: FakeClock) -> None:
    """A transaction may commit a class after another one that has a greater identifier."""
    await hall.submitted(ALICE)
    async with hall.database.write() as tx:
        await tx.execute(classes.update().values(class_id=100))
        await tx.execute(jobs.update().values(class_id=100))
    job = await hall.matched()
    async with hall.database.write() as tx:
        late = {"class_id": 50, "digest": "d", "vo": "astro", "owner_group": "users"}
        await tx.execute(classes.insert().values(**late, requirements={"cpu_time": 10**6}))
        await tx.execute(jobs.update().values(class_id=50, status="Waiting"))
    clock.advance(59)
    assert (await hall.ask()).reasons == {"CPUTime": 1}
    assert (await hall.matched(cpu_time=10**6)).job_id == job.job_id


async def test_a_match_takes_a_constant_number_of_statements(hall: Hall) -> None:
    await hall.submitted(ALICE, *[jdl(f"CPUTime = {cpu};") for cpu in (360, 1800, 3600)] * 2)
    await hall.matched()
    with hall.counted() as few:
        await hall.matched()
    await hall.submitted(
        ALICE, *[jdl(f'CPUTime = {cpu}; Tags = {{"t{n}"}};') for n in range(50) for cpu in (360, 1800)]
    )
    assert (await hall.ask(cpu_time=1)).reasons
    with hall.counted() as many:
        await hall.matched()
    assert len(many) == len(few) <= 10
    with hall.counted() as nothing:
        await hall.ask(cpu_time=1)
    assert len(nothing) == 2, "the pilot and the request, nothing of what waits"
    assert not any(statement.startswith(("UPDATE", "INSERT")) for statement in nothing)


async def test_pilots_that_ask_together_share_a_transaction(hall: Hall) -> None:
    await hall.submitted(ALICE, *[jdl()] * 20)
    with hall.counted() as one:
        await hall.matched("p0")
    with hall.counted() as many:
        answers = await asyncio.gather(*(hall.ask(f"p{number}") for number in range(1, 17)))
    assert len({answer.job.job_id for answer in answers if answer.job}) == 16
    looks = sum(" workload_pilot" in statement for statement in many if statement.startswith("SELECT"))
    assert looks == 16, "each pilot's record, before"
    assert len(many) - looks <= 3 * len(one)


async def test_who_is_refused_does_not_keep_others_from_their_jobs(hall: Hall) -> None:
    ids = await hall.submitted(ALICE, *[jdl()] * 9)
    for stamp in ("p1", "p2"):
        await hall.pilots.register(OPERATOR, PilotRegistration(pilot_stamp=stamp, vo="astro"))
    known = [(await hall.matched(stamp)).job_id for stamp in ("p1", "p2")]
    async with hall.database.write() as tx:  # as another process does it
        await tx.execute(pilots.update().where(pilots.c.pilot_stamp == "p1").values(status="Done"))
    ended, *others = await asyncio.gather(
        *(hall.ask(stamp) for stamp in ("p1", "p2", "p3")), return_exceptions=True
    )
    assert isinstance(ended, ConflictError)
    got = [answer.job.job_id for answer in others if isinstance(answer, MatchAnswer) and answer.job]
    assert len({*known, *got}) == 4
    runs = {job_id: len(await hall.runs(job_id)) for job_id in ids}
    assert {job_id for job_id, number in runs.items() if number} == {*known, *got}
    assert max(runs.values()) == 1


async def test_several_jobs_in_one_answer(hall: Hall) -> None:
    ids = await hall.submitted(
        ALICE, jdl("NumberOfProcessors = 4;"), jdl("NumberOfProcessors = 3;"), *[jdl()] * 5
    )
    answer = await hall.ask("p1", "r1", jobs=4, processors=8)
    assert answer.job is not None
    got = [answer.job.job_id, *(job.job_id for job in answer.more)]
    assert got == [ids[0], ids[1], ids[2]], "four, three, and the last processor"
    hall.restart()
    assert await hall.ask("p1", "r1", jobs=4, processors=8) == answer
    rest = await hall.ask("p2", jobs=9, processors=99)
    assert [rest.job and rest.job.job_id, *(job.job_id for job in rest.more)] == ids[3:]
    assert [len(await hall.runs(job_id)) for job_id in ids] == [1] * 7
    with pytest.raises(InvalidInputError):
        await hall.ask("p1", "r" * 61, jobs=2)


async def test_what_another_process_claims_is_not_missed(hall: Hall) -> None:
    """What this process believes to be next is gone; there is more behind it."""
    ids = await hall.submitted(ALICE, *[jdl()] * 9, jdl("Priority = 0;"))
    assert (await hall.matched("p1")).job_id == ids[0]
    async with hall.database.write() as tx:
        await tx.execute(jobs.update().where(jobs.c.job_id.in_(ids[1:9])).values(status="Killed"))
    assert (await hall.matched("p2")).job_id == ids[9]
    assert (await hall.ask("p3")).job is None


async def test_a_claim_that_fails_anywhere_loses_and_doubles_nothing(hall: Hall) -> None:
    faults = FailNth(hall.database)
    for lost in (False, True):
        for n in itertools.count(1):
            (job_id,) = await hall.submitted(ALICE)
            request = f"{lost}-{n}"
            with faults.failing(n, lost=lost), contextlib.suppress(DiracError):
                await hall.ask("p1", request_id=request)
            fired = faults.fired
            job = await hall.matched("p1", request_id=request)
            assert job.job_id == job_id
            assert job.attempt == 1
            assert len(await hall.runs(job_id)) == 1
            assert (await hall.log(job_id)).count("Matched") == 1
            if not fired:
                break
        assert n > 5


async def test_who_waits_is_let_go_when_the_process_ends(hall: Hall) -> None:
    waiting = asyncio.create_task(hall.ask("p1", wait=30))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    hall.signals.end()
    assert (await asyncio.wait_for(waiting, 5)).job is None
    began = hall.clock.monotonic()
    assert (await hall.ask("p2", wait=30)).job is None
    assert hall.clock.monotonic() - began < 1, "nobody waits any more"
    await hall.submitted(ALICE)
    assert (await hall.ask("p3", wait=30)).job is not None, "what is there is given"


def limited(**limits: dict[str, object]) -> Tree:
    tree = copy.deepcopy(TREE)
    tree["sites"][SITE]["limits"] = limits
    return msgspec.convert(tree, Tree)


async def test_a_site_runs_no_more_jobs_of_a_kind_than_its_limit(hall: Hall, clock: FakeClock) -> None:
    hall.configuration.tree = limited(sim={"job_type": "Simulation", "max_running": 2})
    ids = await hall.submitted(ALICE, *[jdl('JobType = "Simulation";')] * 5, jdl())
    answers = await asyncio.gather(*(hall.ask(f"p{number}") for number in range(5)))
    got = sorted(answer.job.job_id for answer in answers if answer.job)
    assert got == [ids[0], ids[1], ids[5]], "two of the kind, and the other one"
    assert (await hall.ask("p9")).reasons == {"RunningLimit": 1}
    assert (await hall.ask("p8", site="LCG.There.fr")).job is not None, "another site has no such limit"
    who = run(ids[0], 1, stamp=(await hall.runs(ids[0]))[0].pilot_stamp)
    await hall.report(who, ids[0], JobStatus.RUNNING)
    await hall.report(who, ids[0], JobStatus.DONE)
    clock.advance(2)
    assert (await hall.matched("p9")).job_id in ids[2:5]


async def test_what_another_process_gave_out_counts_for_a_limit(hall: Hall, clock: FakeClock) -> None:
    hall.configuration.tree = limited(all={"max_running": 2})
    await hall.submitted(ALICE, *[jdl()] * 5)
    await hall.matched("p1")
    other = Matching(hall.all_units, hall.configuration, hall.words, Signals(), clock, Classes(clock))
    request = MatchRequest(resource=Resource(site=SITE), request_id="r")
    assert (await other.match(pilot("p2"), request)).job is not None
    clock.advance(2)
    assert (await hall.ask("p3")).reasons == {"RunningLimit": 1}


async def test_a_delay_lies_between_two_matches(hall: Hall, clock: FakeClock) -> None:
    hall.configuration.tree = limited(slow={"group": "users", "delay": 10})
    await hall.submitted(ALICE, *[jdl()] * 5)
    answers = await asyncio.gather(*(hall.ask(f"p{number}") for number in range(4)))
    assert sum(answer.job is not None for answer in answers) == 1
    clock.advance(9)
    assert (await hall.ask("p5")).reasons == {"MatchingDelay": 1}
    clock.advance(2)
    assert (await hall.ask("p6")).job is not None


async def test_a_queue_is_for_whom_it_is_for(hall: Hall) -> None:
    tree = copy.deepcopy(TREE)
    tree["sites"][SITE]["computing_elements"]["ce"]["queues"]["q"]["users"] = ["bob"]
    hall.configuration.tree = msgspec.convert(tree, Tree)
    await hall.submitted(ALICE)
    await hall.pilots.register(
        OPERATOR,
        PilotRegistration(pilot_stamp="p1", vo="astro", grid_site=SITE, destination_site="ce"),
    )
    await hall.pilots.set_metadata(OPERATOR, {"p1": PilotMetadata(Queue="q")})
    assert (await hall.ask("p1")).reasons == {"Owner": 1}
    (job_id,) = await hall.submitted(person("bob"))
    assert (await hall.matched("p1")).job_id == job_id


async def test_users_and_groups_get_their_shares(hall: Hall) -> None:
    tree = copy.deepcopy(TREE)
    tree["virtual_organisations"]["astro"] |= {
        "groups": {"users": {"job_share": 3000}, "prod": {"job_share": 1000}, "idle": {"background": True}},
        "users": {"alice": {"groups": ["users"], "job_share": 2000}, "bob": {"groups": ["users"]}},
    }
    hall.configuration.tree = msgspec.convert(tree, Tree)
    for who, group in (("alice", "users"), ("bob", "users"), ("carol", "prod"), ("dan", "idle")):
        identity = msgspec.structs.replace(person(who), group=group)
        await hall.submitted(identity, *[jdl()] * 24)
    owners = Counter([(await hall.matched(f"p{number}")).owner for number in range(24)])
    assert owners["dan"] == 0, "others have work"
    assert 5 <= owners["carol"] <= 7
    assert 11 <= owners["alice"] <= 13
    assert 5 <= owners["bob"] <= 7
