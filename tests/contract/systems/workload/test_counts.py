"""Numbers of jobs that nobody counts: right at each commit, whatever happens beside."""

from __future__ import annotations

import asyncio
import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, delete, func, insert, select, update

import dirac.systems.workload
from dirac.core.errors import ConflictError
from dirac.core.search import Condition, Paging, SearchParams, SummaryParams, none_of
from dirac.db.engine import Database, DatabaseUnits
from dirac.db.schema import migrate
from dirac.server.schema import LOCATIONS
from dirac.systems.identity.models import Property
from dirac.systems.workload.logic.counting import Counting
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.policy import readable
from dirac.systems.workload.ports.work import COUNT_KINDS
from dirac.systems.workload.store.counts import KINDS, kind_for
from dirac.systems.workload.store.jobs import SEARCHABLE, visible_jobs
from dirac.systems.workload.store.tables import COUNTED, count_changes, counts, jobs
from dirac.systems.workload.store.unit import WorkloadUnit

from .support import ECHO, Room, person
from .support_running import SITE, Hall

ALICE = person("alice")
BOSS = person("boss", "astro", Property.JOB_ADMINISTRATOR)
ROOT = person("root", "", Property.SERVICE_ADMINISTRATOR)
CALLERS = [ALICE, person("bob"), person("alice", "bio"), BOSS, ROOT]
QUESTIONS = [
    SummaryParams([]),
    SummaryParams(["Status"]),
    SummaryParams(["Site", "Status"]),
    SummaryParams(["VO", "Owner", "OwnerGroup"]),
    SummaryParams(["Status", "MinorStatus"], [none_of([Condition("Status", "eq", "Waiting")])]),
    SummaryParams(["JobGroup", "JobType"], [Condition("Status", "in", values=["Waiting", "Done", "Failed"])]),
    SummaryParams(["Status"], [Condition("Site", "like", "LCG.%"), Condition("JobType", "neq", "Odd")]),
]


async def differences(room: Room) -> list[Any]:
    """Return the questions to which the counters have another answer than the jobs, and whose they are."""
    wrong = []
    async with room.units.read() as unit:
        for caller in CALLERS:
            visible = readable(caller)
            for question in QUESTIONS:
                assert kind_for(visible, question) is not None
                counted = await unit.jobs.summary(visible, question)
                scanned = await SEARCHABLE.summary(unit._tx, question, visible=visible_jobs(visible))
                if counted != scanned:
                    wrong.append((caller.sub, question, counted, scanned))
    return wrong


async def number_of(room: Room, table: Any) -> int:
    async with room.database.read() as tx:
        return int((await tx.execute(select(func.count()).select_from(table))).scalar_one())


def counting(room: Room) -> Counting:
    return Counting(room.units)


async def test_every_change_is_counted_with_its_commit(hall: Hall) -> None:
    """Through all that happens to jobs, added up or not."""
    rng = random.Random(1)
    for number in range(30):
        deed = number % 6
        if deed == 0:
            await hall.submitted(
                rng.choice(CALLERS[:3]),
                *[f'{ECHO} JobGroup = "g{n % 2}"; JobType = "t{n}";' for n in range(3)],
            )
        elif deed == 1:
            who = await hall.running(f"p{number}")
        elif deed == 2:
            await hall.report(who, who.job_id or 0, JobStatus.FAILED, f"reason {number}")
        elif deed == 3:
            await hall.life.reschedule(BOSS, [who.job_id or 0], reset=True)
        elif deed == 4:
            async with hall.units.write() as unit:
                await unit.runs.set_site({who.job_id or 0: rng.choice(["LCG.Else.fr", SITE])})
        elif deed == 5:
            assert await counting(hall).fold() > 0
        assert await differences(hall) == [], deed
    async with hall.database.write() as tx:
        ids = [row.job_id for row in await tx.execute(select(jobs.c.job_id).order_by(jobs.c.job_id))]
        await tx.execute(delete(jobs).where(jobs.c.job_id.in_(ids[::2])))
    assert await differences(hall) == []
    await counting(hall).fold()
    assert await differences(hall) == []
    assert await counting(hall).repair() == dict.fromkeys(COUNT_KINDS, 0)


async def test_what_is_taken_back_is_not_counted(room: Room) -> None:
    await room.submitted(ALICE, ECHO, ECHO)

    async def fail() -> None:
        async with room.database.write() as tx:
            await tx.execute(update(jobs).values(status="Failed", site="LCG.Else.fr"))
            raise ConflictError("no")

    with pytest.raises(ConflictError):
        await fail()
    assert await room.queries.summary(ALICE, SummaryParams(["Status"])) == [{"Status": "Waiting", "count": 2}]
    assert await differences(room) == []


async def test_what_is_not_counted_by_costs_no_change(room: Room) -> None:
    await room.submitted(ALICE, ECHO)
    await counting(room).fold()
    async with room.database.write() as tx:
        await tx.execute(
            update(jobs).values(heartbeat_time=tx.now, application_status="half", status="Waiting")
        )
    assert await number_of(room, count_changes) == 0


async def test_numbers_that_come_to_nothing_go_away(room: Room) -> None:
    await room.submitted(ALICE, ECHO, ECHO)
    await counting(room).fold()
    assert await number_of(room, count_changes) == 0
    assert await number_of(room, counts) == len(KINDS) + 1  # and the lock
    async with room.database.write() as tx:
        await tx.execute(delete(jobs))
    await counting(room).fold()
    assert await number_of(room, counts) == 1
    assert await room.queries.summary(ALICE, SummaryParams(["Status"])) == []
    assert await room.queries.summary(ALICE, SummaryParams([])) == [{"count": 0}]


async def test_wrong_numbers_are_found_and_made_right(room: Room) -> None:
    await room.submitted(ALICE, ECHO, ECHO, 'Executable = "x"; JobGroup = "g";')
    await counting(room).fold()
    await room.submitted(ALICE, ECHO)
    async with room.database.write() as tx:
        await tx.execute(update(counts).where(counts.c.kind == "place").values(number=7))
        await tx.execute(delete(counts).where(counts.c.kind == "group", counts.c.job_group == "g"))
        ghost = dict.fromkeys(COUNTED, "ghost") | {"digest": "ghost", "kind": "detail", "number": 2}
        await tx.execute(insert(counts).values(ghost))
    assert await differences(room) != []
    assert await counting(room).repair() == {"place": 1, "owner": 0, "detail": 1, "group": 1}
    assert await differences(room) == []
    assert await counting(room).repair() == dict.fromkeys(COUNT_KINDS, 0)


async def test_many_who_change_jobs_at_once_do_not_wait_for_each_other(room: Room) -> None:
    """The total never changes for a reader, and nobody meets a deadlock: an error would end the test."""
    ids = await room.submitted(ALICE, *[ECHO] * 48)
    stop = asyncio.Event()
    states = [state.value for state in JobStatus]

    async def change(worker: int) -> None:
        rng = random.Random(worker)
        mine = ids[worker * 4 : worker * 4 + 4]
        for _ in range(15):
            async with room.database.write() as tx:
                await tx.execute(select(jobs.c.job_id).where(jobs.c.job_id.in_(mine)).with_for_update())
                values = {
                    "status": rng.choice(states),
                    "minor_status": rng.choice("ab"),
                    "site": rng.choice("xy"),
                }
                await tx.execute(update(jobs).where(jobs.c.job_id.in_(mine)).values(values))
                await asyncio.sleep(0)
                await tx.execute(
                    update(jobs).where(jobs.c.job_id == mine[0]).values(status=rng.choice(states))
                )

    async def look() -> int:
        looks = 0
        while not stop.is_set():
            for question in (SummaryParams(["Status"]), SummaryParams(["Site", "MinorStatus"])):
                rows = await room.queries.summary(ALICE, question)
                assert sum(row["count"] for row in rows) == len(ids)
                assert all(row["count"] > 0 for row in rows)
                looks += 1
                await asyncio.sleep(0)  # short queries on SQLite give nobody else a turn
        return looks

    async def fold() -> int:
        folded = 0
        while not stop.is_set():
            folded += await counting(room).fold()
            await counting(room).repair()
            await asyncio.sleep(0.001)
        return folded

    beside = [asyncio.create_task(task()) for task in (look, fold, fold)]
    try:
        await asyncio.gather(*(change(worker) for worker in range(12)))
    finally:
        stop.set()
        done = await asyncio.gather(*beside)
    assert done[0] > 0
    assert sum(done[1:]) > 0
    assert await differences(room) == []
    assert await counting(room).repair() == dict.fromkeys(COUNT_KINDS, 0)


async def test_the_rest_is_counted_by_looking(room: Room) -> None:
    await room.submitted(ALICE, ECHO, 'Executable = "x"; JobName = "n";')
    by_name = SummaryParams(["JobName"], [Condition("Status", "eq", "Waiting")])
    assert kind_for(readable(ALICE), by_name) is None
    assert [row["count"] for row in await room.queries.summary(ALICE, by_name)] == [1, 1]
    assert kind_for(readable(ALICE), SummaryParams(["JobGroup", "Site"])) is None
    assert kind_for(readable(BOSS), SummaryParams(["Site", "Status"])) == "place"
    assert kind_for(readable(ALICE), SummaryParams(["Site", "Status"])) == "owner"


async def test_pages_get_their_total_from_the_counters(hall: Hall) -> None:
    await hall.submitted(ALICE, *[ECHO] * 5)
    waiting = SearchParams(search=[Condition("Status", "eq", "Waiting")])
    with hall.counted() as statements:
        page = await hall.queries.search(ALICE, waiting, Paging(per_page=2))
    assert (page.total, page.exact) == (5, True)
    totals = [each for each in statements if "sum(" in each]
    assert len(totals) == 1
    assert "workload_job" not in totals[0]
    with hall.counted() as statements:
        page = await hall.queries.search(ALICE, waiting, Paging(per_page=2, cursor=""))
    assert page.total is None
    assert sum("workload" in each for each in statements) == 1
    name = SearchParams(search=[Condition("JobName", "neq", "x")])
    assert (await hall.queries.search(ALICE, name, Paging(per_page=2))).total == 5


async def test_the_migration_counts_the_jobs_that_are_there(database_url: str, tmp_path: Path) -> None:
    """Backward, so that jobs are written by code that knows nothing of counters, and forward again."""
    database = Database(database_url)
    await migrate(database, LOCATIONS)
    folder = Path(dirac.systems.workload.__path__[0]) / "migrations"
    spec = importlib.util.spec_from_file_location("workload_0004", folder / "workload_0004.py")
    assert spec is not None
    assert spec.loader is not None
    revision = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(revision)

    def run(connection: Connection, step: str) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            getattr(revision, step)()

    room = Room(database, tmp_path / "objects", database.clock)
    async with database.engine.begin() as connection:
        await connection.run_sync(run, "downgrade")
    await room.submitted(ALICE, ECHO, ECHO, 'Executable = "x"; JobGroup = "g";')
    await room.submitted(person("alice", "bio"))
    async with database.engine.begin() as connection:
        await connection.run_sync(run, "upgrade")
    assert await number_of(room, count_changes) == 3
    assert await differences(room) == []
    await room.submitted(ALICE)
    await Counting(DatabaseUnits(database, WorkloadUnit)).fold()
    assert await differences(room) == []
    await database.close()
