"""Hours of a workload system in a second of virtual time, with every fault that a seed can think of.

The code is the real one, on SQLite; what is simulated is the world: time, the network (messages are lost,
late, doubled, and overtake each other), the database (a statement or a commit fails, carried out or not), the
server process (it forgets all that is not in the database), pilots (they die, or are cut off and go on), and
people. Calls are carried out one at a time, so a seed always tells the same story.

``DIRAC_SIMULATION_SEEDS=17 pytest tests/simulation`` tells one story again; ``1-1000`` tells a thousand.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from dirac.db.engine import Database
from dirac.db.history import history
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.store.tables import attempts, jobs, parameters
from dirac.testing.time import FakeClock
from tests.contract.systems.workload.support import person
from tests.contract.systems.workload.support_running import TREE, FixedConfiguration, Hall

from .contest import CONFIGURATION, Contest
from .contest import VO as CHEM
from .network import Network, Timeline
from .people import RELIABLE, Pilot, Stage, User

VARIABLE = "DIRAC_SIMULATION_SEEDS"
FAULTS_END = 900.0  # from then on nothing fails: all has to come to an end
EVERYTHING_ENDS = 40 * 3600.0
JDL = 'Executable = "x";'
_VOS = TREE["virtual_organisations"] | {CHEM: CONFIGURATION}
_TREE = TREE | {"virtual_organisations": _VOS}
OVER = {JobStatus.DONE, JobStatus.FAILED, JobStatus.KILLED}


def seeds() -> list[int]:
    """Return the seeds to play."""
    first, _, last = os.environ.get(VARIABLE, "1-200").partition("-")
    return list(range(int(first), int(last or first) + 1))


class Story:
    """One seed, from the first submission to the end of the last job."""

    def __init__(self, seed: int, hall: Hall, clock: FakeClock) -> None:
        self.seed, self.hall = seed, hall
        hall.configuration = FixedConfiguration(_TREE)
        hall.restart()
        dice = random.Random(seed)
        self.timeline = Timeline(clock)
        self.network = Network(hall, self.timeline, dice)
        self.stage = Stage(hall, self.timeline, self.network, dice)
        self.users = [
            User(person("alice"), [JDL], self.stage),
            User(person("amy"), [JDL] * 3, self.stage),
            User(person("bob", "bio"), [JDL] * 2, self.stage),
        ]
        for number in range(3):
            for user in self.users:
                self._later(lambda user=user, number=number: user.submit(f"k{number}"), 600)
        for number in range(5):
            worker = Pilot(f"p{number}", "bio" if number < 2 else "astro", self.stage)
            self._later(worker.begin, 300)
        self.contest = Contest(self.stage)
        self._later(self.contest.begin, 600)
        self.timeline.after(5.0, self._expire)

    def _later(self, deed: Any, within: float) -> None:
        self.timeline.after(self.stage.dice.uniform(0, within), deed)

    async def _expire(self) -> None:
        self.timeline.after(20.0, self._expire)
        try:
            await self.network.serve("leases", self.hall.life.expire_leases)
        except Exception as error:  # the task runs again
            if type(error).__name__ != "NoAnswerError":
                raise

    async def play(self) -> None:
        """Play it: first with faults, then without until everything is over."""
        await self.timeline.run(FAULTS_END)
        self.network.is_good = True
        while not self.contest.over:
            await self.timeline.run(self.timeline.clock.monotonic() + 60)
        await self.contest.end()
        for vo in ("astro", "bio"):
            await Pilot(f"good-{vo}", vo, self.stage, RELIABLE).begin()
        await self.timeline.run(EVERYTHING_ENDS, self.is_over)

    async def is_over(self) -> bool:
        """Tell whether no job is left that has not ended."""
        async with self.hall.database.read() as tx:
            alive = select(func.count()).select_from(jobs).where(jobs.c.status.not_in(OVER))
            return (await tx.execute(alive)).scalar_one() == 0

    async def faults(self) -> list[str]:
        """Return what must not be."""
        found = []
        async with self.hall.database.read() as tx:
            rows = {row.job_id: row for row in await tx.execute(select(jobs))}
            results = {
                row.job_id: row.value
                for row in await tx.execute(select(parameters).where(parameters.c.name == "Result"))
            }
            newest = {
                row.job_id: row.newest
                for row in await tx.execute(
                    select(attempts.c.job_id, func.max(attempts.c.attempt).label("newest")).group_by(
                        attempts.c.job_id
                    )
                )
            }
            events = await history(tx, "job", [str(job_id) for job_id in rows])
            logs: dict[int, list[str]] = {}
            for event in events:
                if event.kind == "workload.job.status" and "(SM)" not in event.data["Source"]:
                    late = str(event.data.get("Note", "")).startswith("came late")
                    if not late:
                        logs.setdefault(int(event.subject_id), []).append(event.data["Status"])
        found += self.contest.faults(events)
        accepted = set(self.contest.owners).union(*(user.accepted for user in self.users))
        if accepted != set(rows):
            found.append(f"accepted {sorted(accepted)}, but there are {sorted(rows)}")
        for job_id, row in rows.items():
            found += [f"job {job_id}: {fault}" for fault in _faults_of(row, logs[job_id])]
            if row.status == JobStatus.DONE:
                told = self.stage.results.get(job_id, set())
                if results.get(job_id) != str(newest[job_id]) or not told <= {newest[job_id]}:
                    found.append(
                        f"job {job_id}: result of run {results.get(job_id)}, told good {sorted(told)}, "
                        f"the newest run is {newest[job_id]}"
                    )
        found += [
            f"job {job_id} was killed, and is {rows[job_id].status}"
            for killed in (self.contest.owners, *(user.killed for user in self.users))
            for job_id in killed
            if rows[job_id].status != JobStatus.KILLED
        ]
        return found


def _faults_of(row: Any, log: list[str]) -> list[str]:
    found = []
    if row.status not in OVER:
        found.append(f"never ended, it is {row.status}: {' '.join(log)}")
    for status in (JobStatus.DONE, JobStatus.KILLED):
        if status in log and set(log[log.index(status) :]) != {status}:
            found.append(f"went on after {status}: {' '.join(log)}")
        if log.count(status) > 1:
            found.append(f"was {status} {log.count(status)} times: {' '.join(log)}")
    if log[-1] != row.status:
        found.append(f"is {row.status}, its history says {log[-1]}")
    return found


@pytest.mark.parametrize("seed", seeds())
async def test_every_job_ends_once(seed: int, tmp_path: Path, sqlite_template: Path) -> None:
    shutil.copy(sqlite_template, tmp_path / "test.db")
    clock = FakeClock()
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=clock)
    try:
        story = Story(seed, Hall(database, tmp_path / "objects", clock), clock)
        await story.play()
        faults = await story.faults()
    finally:
        await database.close()
    if faults:
        (tmp_path / "trace").write_text("\n".join(story.network.trace))
    again = f"again: {VARIABLE}={seed} bin/test tests/simulation   its calls: {tmp_path / 'trace'}"
    assert not faults, "\n".join([*faults, again])
