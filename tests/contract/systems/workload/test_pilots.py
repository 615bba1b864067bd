"""Pilots: their records, and the factory that starts and follows them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json

import pytest

from dirac.core.errors import ConflictError, DiracError, InvalidInputError, NotAllowedError, NotFoundError
from dirac.core.search import Condition, Paging, SearchParams, SummaryParams
from dirac.db.history import history
from dirac.resources.computing.base import PilotStatus as Seen
from dirac.systems.identity.models import Property
from dirac.systems.identity.store.pilots import PilotSecretStore
from dirac.systems.workload.models import (
    HeartbeatData,
    JobStatus,
    PilotMetadata,
    PilotRegistration,
    PilotStatus,
)
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

from .support import person, pilot
from .support_running import SITE, Hall

ALICE = person()
FACTORY = person("factory", "astro", Property.GENERIC_PILOT)
ROOT = person("root", "admin", Property.SERVICE_ADMINISTRATOR)
JOB = 'Executable = "x";'


def registration(stamp: str = "p1", vo: str = "astro") -> PilotRegistration:
    return PilotRegistration(pilot_stamp=stamp, vo=vo, grid_site=SITE, destination_site="ce")


# Records


async def test_registration(hall: Hall) -> None:
    await hall.pilots.register(FACTORY, registration())
    page = await hall.pilots.search(ALICE, SearchParams(), Paging(per_page=10))
    (row,) = page.rows
    assert row | {"PilotID": 1} == row | {
        "PilotID": 1,
        "PilotStamp": "p1",
        "VO": "astro",
        "Status": "Submitted",
        "GridSite": SITE,
        "DestinationSite": "ce",
        "PilotJobReference": "p1",
    }
    with pytest.raises(ConflictError):
        await hall.pilots.register(FACTORY, registration())
    with pytest.raises(NotAllowedError):
        await hall.pilots.register(FACTORY, registration("p2", "bio"))
    with pytest.raises(InvalidInputError):
        await hall.pilots.register(ROOT, registration("p2", "nowhere"))
    await hall.pilots.register(ROOT, registration("p2", "bio"))


async def test_pilots_of_other_vos_are_out_of_sight(hall: Hall) -> None:
    await hall.pilots.register(ROOT, registration("p1", "astro"))
    await hall.pilots.register(ROOT, registration("p2", "bio"))
    page = await hall.pilots.search(ALICE, SearchParams(), Paging(per_page=10))
    assert [row["PilotStamp"] for row in page.rows] == ["p1"]
    counts = await hall.pilots.summary(ALICE, SummaryParams(grouping=["VO"]))
    assert counts == [{"VO": "astro", "count": 1}]
    assert len(await hall.pilots.summary(ROOT, SummaryParams(grouping=["VO"]))) == 2
    with pytest.raises(NotFoundError):
        await hall.pilots.set_metadata(FACTORY, {"p2": PilotMetadata(StatusReason="x")})


async def test_the_pilots_of_a_job_are_found(hall: Hall) -> None:
    for stamp in ("p1", "p2"):
        await hall.pilots.register(FACTORY, registration(stamp))
    await hall.submitted(ALICE)
    job = await hall.matched("p2")
    params = SearchParams(search=[Condition(parameter="JobID", operator="eq", value=job.job_id)])
    page = await hall.pilots.search(ALICE, params, Paging(per_page=10))
    assert [row["PilotStamp"] for row in page.rows] == ["p2"]
    wrong = SearchParams(search=[Condition(parameter="JobID", operator="eq", value="x")])
    with pytest.raises(InvalidInputError):
        await hall.pilots.search(ALICE, wrong, Paging(per_page=10))


async def test_a_pilot_changes_its_own_record_only(hall: Hall) -> None:
    for stamp in ("p1", "p2"):
        await hall.pilots.register(FACTORY, registration(stamp))
    await hall.pilots.set_metadata(
        pilot("p1"), {"p1": PilotMetadata(Status=PilotStatus.RUNNING, BenchMark=12.5)}
    )
    first, second = await hall.pilot_rows()
    assert (first.status, first.bench_mark, second.status) == ("Running", 12.5, "Submitted")
    with pytest.raises(NotFoundError):
        await hall.pilots.set_metadata(pilot("p1"), {"p2": PilotMetadata(Status=PilotStatus.RUNNING)})
    with pytest.raises(NotAllowedError):
        await hall.pilots.set_metadata(pilot("p1"), {"p1": PilotMetadata(GridSite="LCG.Other.fr")})
    await hall.pilots.set_metadata(FACTORY, {"p1": PilotMetadata(GridSite="LCG.Other.fr")})


async def test_an_ended_pilot_stays_so_and_all_or_nothing_changes(hall: Hall) -> None:
    for stamp in ("p1", "p2"):
        await hall.pilots.register(FACTORY, registration(stamp))
    await hall.pilots.set_metadata(pilot("p1"), {"p1": PilotMetadata(Status=PilotStatus.DONE)})
    running = PilotMetadata(Status=PilotStatus.RUNNING)
    with pytest.raises(ConflictError, match="Done cannot become Running"):
        await hall.pilots.set_metadata(FACTORY, {"p2": running, "p1": running})
    assert [row.status for row in await hall.pilot_rows()] == ["Done", "Submitted"]


async def test_a_pilot_that_ends_gives_its_jobs_up_at_once(hall: Hall) -> None:
    await hall.pilots.register(FACTORY, registration())
    await hall.submitted(ALICE)
    who = await hall.running("p1")
    await hall.pilots.set_metadata(pilot("p1"), {"p1": PilotMetadata(Status=PilotStatus.DONE)})
    assert "workload.expire_leases" in await hall.tasks()
    assert await hall.life.expire_leases() == 1
    assert await hall.status(who.job_id or 0) == "Waiting"


# The factory


async def test_pilots_are_started_for_waiting_jobs(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE, JOB, JOB)
    assert await hall.factory.start("astro") == 2
    rows = await hall.pilot_rows()
    assert [(row.vo, row.grid_site, row.destination_site, row.queue, row.grid_type) for row in rows] == [
        ("astro", SITE, "ce", "q", "scripted")
    ] * 2
    assert [row.pilot_reference for row in rows] == [f"scripted://ce/{row.pilot_stamp}" for row in rows]
    job = hall.element.jobs[rows[0].pilot_stamp]
    assert job.executable == "python3"
    assert " ".join(job.arguments) == (
        f"/opt/dirac-pilot.py -n {SITE} -N ce -Q q --wnVO astro --pilotUUID {job.stamp} -u http://server"
    )
    assert job.files["pilot.secret"] == f"secret-{job.stamp}".encode()
    assert "secret" not in " ".join(job.arguments) + str(job.environment)
    settings = json.loads(job.files["pilot.json"])
    assert settings["idle_limit_seconds"] == 60
    async with hall.database.read() as tx:
        stored = await PilotSecretStore(tx).find(job.stamp)
    assert stored is not None
    assert (stored.vo, stored.secret_digest) == (
        "astro",
        hashlib.sha256(job.files["pilot.secret"]).hexdigest(),
    )
    assert stored.expires > clock.now()
    assert await hall.factory.start("astro") == 0, "two are on their way"


async def test_no_more_pilots_than_a_queue_takes(hall: Hall) -> None:
    await hall.submitted(ALICE, *[JOB] * 20)
    assert await hall.factory.start("astro") == 3
    hall.element.becomes(Seen.RUNNING)
    await hall.factory.check()
    for row in await hall.pilot_rows():
        await hall.matched(row.pilot_stamp)
    assert await hall.factory.start("astro") == 1, "three run, and four may"


async def test_vos_share_the_limits_of_a_queue(hall: Hall) -> None:
    await hall.submitted(ALICE, *[JOB] * 2)
    await hall.submitted(person(vo="bio"), *[JOB] * 5)
    assert await hall.factory.start_all() == 3
    assert [row.vo for row in await hall.pilot_rows()] == ["astro", "astro", "bio"]


async def test_no_pilots_for_what_can_run_nowhere(hall: Hall) -> None:
    await hall.submitted(ALICE, f'{JOB} Tags = {{ "GPU" }};')
    assert await hall.factory.start("astro") == 0
    assert await hall.factory.start("bio") == 0


async def test_starting_twice_at_once_starts_once(hall: Hall) -> None:
    await hall.submitted(ALICE, JOB, JOB)
    counts = await asyncio.gather(*(hall.factory.start("astro") for _ in range(4)))
    assert sum(counts) == 2


async def test_the_life_of_a_pilot_is_followed(hall: Hall) -> None:
    await hall.submitted(ALICE)
    await hall.factory.start("astro")
    (row,) = await hall.pilot_rows()
    for seen, stored in (
        (Seen.WAITING, "Waiting"),
        (Seen.RUNNING, "Running"),
        (Seen.WAITING, "Running"),
        (Seen.UNKNOWN, "Unknown"),
        (Seen.RUNNING, "Running"),
        (Seen.DONE, "Done"),
        (Seen.RUNNING, "Done"),
    ):
        hall.element.becomes(seen)
        await hall.factory.check()
        ((found),) = await hall.pilot_rows()
        assert found.status == stored
    async with hall.database.read() as tx:
        events = await history(tx, "pilot", [row.pilot_stamp])
    states = [event.data["Status"] for event in events if "Status" in event.data]
    assert states == ["Submitted", "Waiting", "Running", "Unknown", "Running", "Done"]


async def test_a_pilot_that_died_gives_its_jobs_up_at_once(hall: Hall) -> None:
    await hall.submitted(ALICE)
    await hall.factory.start("astro")
    (row,) = await hall.pilot_rows()
    who = await hall.running(row.pilot_stamp)
    hall.element.becomes(Seen.FAILED, 137)
    await hall.factory.check()
    ((found),) = await hall.pilot_rows()
    assert (found.status, found.status_reason) == ("Failed", "exit code 137")
    assert {"workload.expire_leases", "workload.start_pilots"} <= set(await hall.tasks())
    assert await hall.life.expire_leases() == 1
    assert await hall.status(who.job_id or 0) == JobStatus.WAITING
    assert await hall.factory.start("astro") == 1


async def test_work_does_not_wait_for_a_pilot_that_nobody_knows(hall: Hall) -> None:
    await hall.submitted(ALICE)
    await hall.factory.start("astro")
    hall.element.states.clear()
    await hall.factory.check()
    assert [row.status for row in await hall.pilot_rows()] == ["Unknown"]
    assert await hall.factory.start("astro") == 1, "another one comes, as after a restore elsewhere"


async def test_work_does_not_wait_for_a_pilot_that_lost_its_run(hall: Hall, clock: FakeClock) -> None:
    """Its host is gone, and its computing element, which a restore has put elsewhere, never heard of it."""
    await hall.submitted(ALICE)
    await hall.factory.start("astro")
    (row,) = await hall.pilot_rows()
    who = await hall.running(row.pilot_stamp)
    clock.advance(101)
    assert await hall.life.expire_leases() == 1
    (lost,) = await hall.pilot_rows()
    assert (lost.status, lost.status_reason) == ("Unknown", "no sign of life from its last run")
    async with hall.database.read() as tx:
        (*_, last) = await history(tx, "pilot", [row.pilot_stamp])
    assert last.data == {"Status": "Unknown", "StatusReason": lost.status_reason}
    assert await hall.factory.start("astro") == 1
    # It was alive after all, and asks for work.
    again = await hall.running(row.pilot_stamp)
    assert (again.job_id, again.attempt) == (who.job_id, 2)
    assert [row.status for row in await hall.pilot_rows()] == ["Running", "Submitted"]


async def test_a_pilot_is_not_doubted_that_speaks_of_its_other_run(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE, JOB, JOB)
    await hall.pilots.register(FACTORY, registration())
    lost, kept = await hall.running("p1"), await hall.running("p1")
    clock.advance(90)
    await hall.life.heartbeat(kept, {kept.job_id or 0: HeartbeatData()})
    clock.advance(20)
    assert await hall.life.expire_leases() == 1
    assert [await hall.status(run.job_id or 0) for run in (lost, kept)] == ["Waiting", "Running"]
    assert [row.status for row in await hall.pilot_rows()] == ["Running"]


async def test_a_pilot_that_nobody_knows_is_given_up(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE)
    await hall.factory.start("astro")
    hall.element.states.clear()
    await hall.factory.check()
    assert [row.status for row in await hall.pilot_rows()] == ["Unknown"]
    clock.advance(3500)
    await hall.factory.check()
    assert [row.status for row in await hall.pilot_rows()] == ["Unknown"]
    clock.advance(200)
    await hall.factory.check()
    assert [row.status for row in await hall.pilot_rows()] == ["Aborted"]


async def test_pilots_are_handed_over_after_a_crash(hall: Hall) -> None:
    await hall.submitted(ALICE, JOB, JOB)
    hall.element.unavailable = True
    assert await hall.factory.start("astro") == 2
    assert [row.pilot_reference for row in await hall.pilot_rows()] == ["", ""]
    hall.restart()
    await hall.factory.check()
    hall.element.unavailable = False
    assert await hall.factory.start("astro") == 0, "they are on record"
    await hall.factory.check()
    assert len(hall.element.jobs) == 2
    assert all(row.pilot_reference for row in await hall.pilot_rows())


async def test_a_lost_answer_starts_nothing_twice(hall: Hall) -> None:
    await hall.submitted(ALICE, JOB, JOB)
    hall.element.answer_is_lost = True
    await hall.factory.start("astro")
    first = dict(hall.element.jobs)
    hall.element.answer_is_lost = False
    await hall.factory.check()
    assert hall.element.jobs == first
    assert all(row.pilot_reference for row in await hall.pilot_rows())


async def test_refused_pilots_are_aborted_and_the_queue_is_left_alone(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE, *[JOB] * 5)
    hall.element.refusal = "no such queue"
    assert await hall.factory.start("astro") == 3
    rows = await hall.pilot_rows()
    assert {(row.status, row.status_reason) for row in rows} == {("Aborted", "no such queue")}
    assert await hall.factory.start("astro") == 0
    clock.advance(61)
    hall.element.refusal = None
    assert await hall.factory.start("astro") == 3


async def test_pilots_of_an_element_that_is_gone_are_aborted(hall: Hall) -> None:
    await hall.submitted(ALICE)
    hall.element.unavailable = True
    await hall.factory.start("astro")
    async with hall.all_units.write() as unit:
        (row,) = await hall.pilot_rows()
        await unit.pilots.update({row.pilot_stamp: PilotMetadata(DestinationSite="gone")})
    await hall.factory.check()
    ((found),) = await hall.pilot_rows()
    assert found.status == "Aborted"


async def test_ended_pilots_are_forgotten_by_their_element(hall: Hall, clock: FakeClock) -> None:
    await hall.submitted(ALICE)
    await hall.factory.start("astro")
    hall.element.becomes(Seen.DONE)
    await hall.factory.check()
    await hall.factory.clean()
    assert hall.element.forgotten == []
    clock.advance(86_401)
    await hall.factory.clean()
    (row,) = await hall.pilot_rows()
    assert hall.element.forgotten == [row.pilot_reference]


async def test_a_start_that_fails_anywhere_neither_loses_nor_doubles_pilots(hall: Hall) -> None:
    faults = FailNth(hall.database)
    for n in itertools.count(1):
        await hall.submitted(ALICE)
        with faults.failing(n), contextlib.suppress(DiracError):
            await hall.factory.start("astro")
        fired = faults.fired
        await hall.factory.start("astro")
        await hall.factory.check()
        alive = [row for row in await hall.pilot_rows() if row.status == "Submitted"]
        assert len(alive) == 1
        assert alive[0].pilot_reference
        assert alive[0].pilot_stamp in hall.element.jobs
        await hall.matched(alive[0].pilot_stamp)
        hall.element.becomes(Seen.DONE)
        await hall.factory.check()
        async with hall.all_units.read() as unit:
            assert await unit.runs.waiting_counts("astro") == {}
        if not fired:
            break
    assert n > 8
    assert len(hall.element.jobs) == n


async def test_no_more_is_counted_than_is_of_use(hall: Hall) -> None:
    await hall.submitted(ALICE, *['Executable = "x";'] * 9, *['Executable = "x"; CPUTime = 1000;'] * 2)
    async with hall.all_units.read() as unit:
        assert sorted((await unit.runs.waiting_counts("astro", 5)).values()) == [2, 5]
        assert sorted((await unit.runs.waiting_counts("astro", 9)).values()) == [2, 9]
        with hall.counted() as statements:
            assert await unit.runs.waiting_counts("bio", 5) == {}
    assert len(statements) == 1
