"""Many at once do everything to the same jobs: nobody ends in a deadlock, and no job is lost or run twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import ExceptionContext

from dirac.core.errors import ConflictError, NotFoundError
from dirac.core.search import Condition
from dirac.core.time import SystemClock
from dirac.db.engine import Database
from dirac.db.history import history
from dirac.systems.workload.models import (
    BulkStep,
    HeartbeatData,
    JobStatus,
    JobStatusUpdate,
    JobVerb,
)
from dirac.systems.workload.states import JOB_LIFE, LATE_NOTE
from dirac.systems.workload.store.tables import jobs

from .support import person, pilot, run
from .support_running import TREE, FixedConfiguration, Hall

ROUNDS = 10
PROCESSES = 4
JOBS = 120
ALICE = person()
_DEADLOCKS = ("1213", "40P01", "DeadlockDetected", "Deadlock found", "1205", "database is locked")
_OVER = {"Done", "Killed", "Deleted", "Failed"}
_RULES = {"lease_seconds": 2, "max_reschedules": 10_000, "reschedule_delays": [0, 1]}


class Crowd:
    """As many callers as an installation with several servers has.

    Args:
        halls: Each is a process: it has its own connections and its own memory.
    """

    def __init__(self, halls: list[Hall], job_ids: list[int]) -> None:
        self.halls = halls
        self.job_ids = job_ids
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        for hall in halls:
            event.listen(hall.database.engine.sync_engine, "handle_error", self._notice)

    def _notice(self, context: ExceptionContext) -> None:
        text = repr(context.original_exception)
        if any(mark in text for mark in _DEADLOCKS):
            self.errors.append(f"{text[:200]}: {context.statement}")

    async def work(self) -> None:
        """Let everybody do so many things, all at once."""
        workers: list[Callable[[Hall, random.Random, int], Awaitable[None]]] = []
        workers += [self._pilot] * 16 + [self._person] * 10 + [self._bulk] * 4 + [self._upkeep] * 2
        halls, some = self.halls, random.Random(1)
        await asyncio.gather(
            *(
                self._repeat(worker, halls[number % len(halls)], random.Random(some.random()), number)
                for number, worker in enumerate(workers)
            )
        )

    async def _repeat(
        self,
        worker: Callable[[Hall, random.Random, int], Awaitable[None]],
        hall: Hall,
        chance: random.Random,
        number: int,
    ) -> None:
        for _ in range(ROUNDS):
            # A run that was taken away is refused, and a person may act on what is gone: that is no fault.
            with contextlib.suppress(ConflictError, NotFoundError):
                await worker(hall, chance, number)
            await asyncio.sleep(0)

    async def _pilot(self, hall: Hall, chance: random.Random, number: int) -> None:
        stamp = f"p{number}"
        answer = await hall.ask(stamp, f"{stamp}-{chance.getrandbits(60)}")
        if answer.job is None:
            await asyncio.sleep(0.02)
            return
        self.done["claim"] += 1
        job_id = answer.job.job_id
        who = run(job_id, answer.job.attempt, stamp=stamp)
        await hall.report(who, job_id, JobStatus.RUNNING)
        await hall.life.heartbeat(who, {job_id: HeartbeatData(CPUConsumed=1.0, StandardOutput="x")})
        if chance.random() < 0.1:
            return  # the pilot vanishes
        end = JobStatus.FAILED if chance.random() < 0.7 else JobStatus.COMPLETING
        await hall.report(who, job_id, end)
        self.done["end"] += 1

    async def _person(self, hall: Hall, chance: random.Random, _number: int) -> None:
        ids = chance.sample(self.job_ids, chance.randint(1, 20))
        life = hall.life
        deed = chance.choice(
            [life.hold, life.release, life.reschedule, self._reset(hall), self._status(hall)]
        )
        if chance.random() < 0.05:
            deed, ids = chance.choice([life.kill, life.delete]), ids[:1]
        outcome = await deed(ALICE, ids)
        self.done["deed"] += len(outcome.success)

    def _reset(self, hall: Hall) -> Callable[..., Awaitable[Any]]:
        return lambda who, ids: hall.life.reschedule(who, ids, reset=True)

    def _status(self, hall: Hall) -> Callable[..., Awaitable[Any]]:
        update = JobStatusUpdate(ApplicationStatus="seen", Source="Test")
        return lambda who, ids: hall.life.set_statuses(who, {i: {hall.clock.now(): update} for i in ids})

    async def _bulk(self, hall: Hall, chance: random.Random, _number: int) -> None:
        verb = chance.choice([JobVerb.HOLD, JobVerb.RELEASE, JobVerb.RESCHEDULE, JobVerb.RESET])
        search = [Condition("JobID", "gt", chance.choice(self.job_ids))]
        step = BulkStep(search=search, until=self.job_ids[-1], limit=30)
        self.done["bulk"] += (await hall.bulk_verbs.step(ALICE, verb, step)).done

    async def _upkeep(self, hall: Hall, _chance: random.Random, _number: int) -> None:
        await hall.life.expire_leases()
        await hall.upkeep.end_delays()
        await hall.upkeep.settle_kills()
        await asyncio.sleep(0.2)


@pytest.fixture
async def halls(migrated_url: str, tmp_path: Path) -> AsyncIterator[list[Hall]]:
    """Several processes of one installation."""
    found = []
    for number in range(PROCESSES):
        hall = Hall(Database(migrated_url), tmp_path / str(number), SystemClock())
        hall.configuration = FixedConfiguration(TREE | {"workload": _RULES})
        hall.restart()
        found.append(hall)
    yield found
    for hall in found:
        await hall.database.close()


async def test_many_at_once(halls: list[Hall]) -> None:
    texts = [f'Executable = "x"; CPUTime = {1000 * (1 + n % 4) ** 3};' for n in range(JOBS)]
    ids = await halls[0].submitted(ALICE, *texts)
    crowd = Crowd(halls, ids)
    await crowd.work()
    assert crowd.errors == []
    assert all(crowd.done[what] for what in ("claim", "end", "deed", "bulk")), crowd.done
    await _finish(halls[0])
    async with halls[0].database.read() as tx:
        found = dict((await tx.execute(select(jobs.c.job_id, jobs.c.status))).all())
        log: dict[int, list[Any]] = {}
        for each in await history(tx, "job", [str(job_id) for job_id in ids]):
            if each.kind == "workload.job.status":
                log.setdefault(int(each.subject_id), []).append(each)
    assert set(found) == set(ids), "a job was lost"
    assert set(found.values()) <= _OVER, Counter(found.values())
    for job_id in ids:
        _check_life(log[job_id], found[job_id])
        runs = await halls[0].runs(job_id)
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
        step = BulkStep(until=2**62, limit=1000)
        await hall.bulk_verbs.step(ALICE, JobVerb.RELEASE, step)
        answer = await hall.ask("last", f"last-{number}")
        if answer.job is None:
            await asyncio.sleep(0.2)
            continue
        await hall.report(pilot("last"), answer.job.job_id, JobStatus.RUNNING)
        await hall.report(pilot("last"), answer.job.job_id, JobStatus.DONE)
    raise AssertionError(f"jobs that never end: {states}")
