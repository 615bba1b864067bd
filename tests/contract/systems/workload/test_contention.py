"""Many at once do everything to the same jobs: nobody ends in a deadlock, and no job is lost or run twice.

``DIRAC_CONTENTION_SECONDS=60 bin/test tests/contract/systems/workload/test_contention.py`` lets them go on
for a minute on each database; without, everybody does a few things, however long that takes.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dirac.core.time import SystemClock
from dirac.db.engine import Database
from dirac.db.history import history
from dirac.db.tables import tasks
from dirac.systems.workload.models import BulkStep, JobStatus, JobVerb
from dirac.systems.workload.states import JOB_LIFE, LATE_NOTE
from dirac.systems.workload.store.tables import jobs

from .crowd import ALICE, Crowd, description
from .support import pilot
from .support_running import TREE, FixedConfiguration, Hall

SECONDS = float(os.environ.get("DIRAC_CONTENTION_SECONDS", "0"))
ROUNDS = 10
PROCESSES = 4
JOBS = 120
_OVER = {"Done", "Killed", "Deleted", "Failed"}
_RULES = {"lease_seconds": 2, "max_reschedules": 10_000, "reschedule_delays": [0, 1]}


@pytest.fixture
async def halls(migrated_url: str, tmp_path: Path) -> AsyncIterator[list[Hall]]:
    """Several processes of one installation."""
    found = []
    for number in range(PROCESSES):
        hall = Hall(Database(migrated_url), tmp_path / str(number), SystemClock(), seed=number)
        hall.configuration = FixedConfiguration(TREE | {"workload": _RULES})
        hall.restart()
        found.append(hall)
    yield found
    for hall in found:
        await hall.database.close()


@pytest.fixture
def deadlocks(halls: list[Hall], request: pytest.FixtureRequest) -> Callable[[], int]:
    """Return what tells how many deadlocks the database's server has ever resolved, by its own count."""
    dialect = halls[0].database.dialect
    if dialect == "sqlite":
        return lambda: 0
    server = request.getfixturevalue(f"{dialect}_server")
    if dialect == "mariadb":
        return lambda: int(server.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0][1])
    return lambda: int(server.execute("SELECT sum(deadlocks) FROM pg_stat_database")[0][0])


@pytest.fixture
def last_deadlock(halls: list[Hall], request: pytest.FixtureRequest) -> Callable[[], str]:
    """Return what tells who met in the last deadlock, on the engine that remembers it."""
    if halls[0].database.dialect != "mariadb":
        return lambda: ""
    server = request.getfixturevalue("mariadb_server")

    def told() -> str:
        status = server.execute("SHOW ENGINE INNODB STATUS")[0][2]
        return status.partition("LATEST DETECTED DEADLOCK")[2].partition("\nTRANSACTIONS\n")[0]

    return told


async def test_many_at_once(
    halls: list[Hall], deadlocks: Callable[[], int], last_deadlock: Callable[[], str]
) -> None:
    before = deadlocks()
    crowd = Crowd(halls, await halls[0].submitted(ALICE, *(description(n % 4) for n in range(JOBS))))
    await crowd.work(ROUNDS, SECONDS)
    print(halls[0].database.dialect, dict(crowd.done))  # pytest shows it with -s
    for hall in halls:
        await hall.database.close()  # PostgreSQL's processes tell their counts when they end
    assert crowd.errors == [], last_deadlock()
    assert deadlocks() == before, last_deadlock()
    wanted = ("claim", "end", "kill", "reschedule", "bulk", "report", "submission", "pilot", "task done")
    assert all(crowd.done[what] for what in wanted), crowd.done
    await _finish(halls[0])
    await _check(halls[0], crowd.job_ids)


async def _check(hall: Hall, ids: list[int]) -> None:
    """See that every job has a life that there can be, and that its runs are those that were claimed."""
    async with hall.database.read() as tx:
        found = dict((await tx.execute(select(jobs.c.job_id, jobs.c.status))).all())
        failed = (
            await tx.execute(select(tasks.c.name, tasks.c.error).where(tasks.c.error.is_not(None)))
        ).all()
        log: dict[int, list[Any]] = {}
        for each in await history(tx, "job", [str(job_id) for job_id in ids]):
            if each.kind == "workload.job.status":
                log.setdefault(int(each.subject_id), []).append(each)
    assert failed == [], "background work failed"
    assert set(found) == set(ids), "a job was lost"
    assert set(found.values()) <= _OVER, Counter(found.values())
    for job_id in ids:
        _check_life(log[job_id], found[job_id])
        runs = await hall.runs(job_id)
        assert [each.attempt for each in runs] == list(range(1, len(runs) + 1))
        assert all(each.ended is not None and each.lease_until is None for each in runs)
        claims = [each for each in log[job_id] if each.data["Status"] == "Matched" and "Site" in each.data]
        assert len(claims) == len(runs), "a run without a claim, or a claim without a run"


def _check_life(events: list[Any], status: str) -> None:
    """Every step of the history is one that there is, and the last one is where the job is."""
    last = JobStatus(events[0].data["Status"])
    for each in events[1:]:
        new = JobStatus(each.data["Status"])
        if not each.data["Source"].endswith("(SM)") and each.data.get("Note") != LATE_NOTE:
            assert JOB_LIFE.refusal(last, new) is None, [(e.data["Status"], e.data["Source"]) for e in events]
            last = new
    assert last == status


async def _finish(hall: Hall) -> None:
    """Let everything end that has not: what is lost is found, what is on hold released, what waits is run."""
    for number in range(10_000):
        async with hall.database.read() as tx:
            states = Counter(row.status for row in await tx.execute(select(jobs.c.status)))
        if set(states) <= _OVER:
            return
        await hall.life.expire_leases()
        await hall.upkeep.end_delays()
        await hall.system.optimisation.advance()
        step = BulkStep(until=2**62, limit=1000)
        await hall.bulk_verbs.step(ALICE, JobVerb.RELEASE, step)
        answer = await hall.ask("last", f"last-{number}")
        if answer.job is None:
            await asyncio.sleep(0.2)
            continue
        await hall.report(pilot("last"), answer.job.job_id, JobStatus.RUNNING)
        await hall.report(pilot("last"), answer.job.job_id, JobStatus.DONE)
    raise AssertionError(f"jobs that never end: {states}")
