"""Thirty-two callers of an installation of several servers, who do everything to the same jobs at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext

from dirac.core.errors import ConflictError, NotFoundError, UnavailableError
from dirac.core.search import Condition, SummaryParams
from dirac.db.outbox import Outbox
from dirac.server.worker import Executor, InProcessRunner, Relay
from dirac.systems.workload.models import (
    BulkStep,
    HeartbeatData,
    JobStatus,
    JobStatusUpdate,
    JobVerb,
    PilotMetadata,
    PilotRegistration,
    PilotStatus,
)
from dirac.systems.workload.tasks import TASKS

from .support import person, run
from .support_running import Hall

ALICE = person()
# The driver's numbers and SQLSTATEs: deadlock, lock not got in time, row changed since it was read.
_NUMBERS = {1213, 1205, 1020}
_STATES = {"40001", "40P01", "55P03"}
_RECENT = 150  # jobs that people and filters act on: few enough that all meet
_WAITING = 100  # jobs, at most, beyond which nothing is submitted

Worker = Callable[[Hall, random.Random, int], Awaitable[None]]


class Crowd:
    """Callers, each with a trade, and the background work of every server.

    Args:
        halls: Each is a process: it has its own connections and its own memory.
        job_ids: What waits at first.

    Attributes:
        job_ids: All jobs that there are.
        done: How often what was done.
        errors: Deadlocks, refused serialisations and locks not got, as the drivers tell them: whoever calls
            may try again and never say a word, so they are counted below everybody.
    """

    def __init__(self, halls: list[Hall], job_ids: list[int]) -> None:
        self.halls = halls
        self.job_ids = job_ids
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        self._stamps: dict[int, str] = {}
        for hall in halls:
            event.listen(hall.database.engine.sync_engine, "handle_error", self._notice)

    def _notice(self, context: ExceptionContext) -> None:
        error = context.original_exception
        while error is not None:
            number = error.args[0] if error.args else None
            if number in _NUMBERS or getattr(error, "sqlstate", None) in _STATES or "is locked" in str(error):
                self.errors.append(f"{error!r:.300}: {context.statement}")
                return
            error = error.__cause__  # type: ignore[assignment]

    async def work(self, rounds: int, seconds: float = 0.0) -> None:
        """Let everybody do so many things, all at once, and go on until so much time has passed."""
        trades: list[Worker] = []
        trades += [self._pilot] * 15 + [self._person] * 7 + [self._bulk] * 4 + [self._reporter] * 2
        trades += [self._submitter] * 2 + [self._upkeep] * 2
        chance, until = random.Random(1), time.monotonic() + seconds
        async with self._background():
            await asyncio.gather(
                *(
                    self._repeat(trade, number, random.Random(chance.random()), rounds, until)
                    for number, trade in enumerate(trades)
                )
            )

    async def _repeat(
        self, trade: Worker, number: int, chance: random.Random, rounds: int, until: float
    ) -> None:
        hall = self.halls[number % len(self.halls)]
        while rounds > 0 or time.monotonic() < until:
            rounds -= 1
            # A run that was taken away is refused, and a person may act on what is gone: that is no fault.
            try:
                with contextlib.suppress(ConflictError, NotFoundError):
                    await trade(hall, chance, number)
            except UnavailableError as error:
                self.errors.append(str(error))
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        """Hand out and carry out the background work in every process, as servers do."""
        over = asyncio.Event()
        servers = [asyncio.create_task(self._serve(hall, over)) for hall in self.halls]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*servers)

    async def _serve(self, hall: Hall, over: asyncio.Event) -> None:
        declared = {task.name: task for task in TASKS}
        outbox = Outbox(hall.database, declared)
        runner = InProcessRunner(Executor(outbox, declared, hall.provided().__getitem__, self._ended))
        relay = Relay(hall.database, outbox, runner)
        while not over.is_set():  # not by `run`, which is ended in the midst of a connection
            try:
                await outbox.tick()
                await relay.hand_out()
            except UnavailableError as error:
                self.errors.append(str(error))
            await asyncio.sleep(0.2)
        await runner.close()

    def _ended(self, _name: str, how: str, _seconds: float) -> None:
        self.done[f"task {how}"] += 1

    async def _pilot(self, hall: Hall, chance: random.Random, number: int) -> None:
        stamp = self._stamps.get(number)
        if stamp is None or chance.random() < 0.1:
            stamp = await self._new_pilot(hall, chance, number)
        answer = await hall.ask(stamp, f"{stamp}-{chance.getrandbits(60)}", jobs=chance.choice([1, 1, 3]))
        if answer.job is None:
            await asyncio.sleep(0.02)
            return
        for job in (answer.job, *answer.more):
            await self._run(hall, chance, stamp, job.job_id, job.attempt)

    async def _new_pilot(self, hall: Hall, chance: random.Random, number: int) -> str:
        """Let the last pilot end, whatever it has, and start another."""
        last, new = self._stamps.get(number), f"p{number}-{chance.getrandbits(40)}"
        if last is not None:
            await hall.pilots.set_metadata(ALICE, {last: PilotMetadata(Status=PilotStatus.DONE)})
        await hall.pilots.register(ALICE, PilotRegistration(pilot_stamp=new, vo=ALICE.vo))
        self._stamps[number] = new
        self.done["pilot"] += 1
        return new

    async def _run(self, hall: Hall, chance: random.Random, stamp: str, job_id: int, attempt: int) -> None:
        self.done["claim"] += 1
        who = run(job_id, attempt, stamp=stamp)
        with contextlib.suppress(ConflictError, NotFoundError):
            await hall.report(who, job_id, JobStatus.RUNNING)
            await hall.life.heartbeat(who, {job_id: HeartbeatData(CPUConsumed=1.0, StandardOutput="x")})
            if chance.random() < 0.1:
                return  # the run vanishes
            await hall.life.set_metadata(who, {job_id: {"Site": "LCG.Here.fr", "Result": "y"}})
            end = JobStatus.FAILED if chance.random() < 0.7 else JobStatus.COMPLETING
            await hall.report(who, job_id, end)
            if end == JobStatus.COMPLETING and chance.random() < 0.3:
                await hall.report(who, job_id, JobStatus.DONE)
            self.done["end"] += 1

    def _some(self, chance: random.Random, most: int) -> list[int]:
        recent = self.job_ids[-_RECENT:]
        return chance.sample(recent, chance.randint(1, most))

    async def _person(self, hall: Hall, chance: random.Random, _number: int) -> None:
        life, ids = hall.life, self._some(chance, 20)
        if chance.random() < 0.1:
            what, ids = chance.choice([("kill", life.kill), ("delete", life.delete)]), ids[:2]
        else:
            reset = ("reset", lambda who, some: life.reschedule(who, some, reset=True))
            what = chance.choice(
                [("hold", life.hold), ("release", life.release), ("reschedule", life.reschedule), reset]
            )
        name, deed = what
        outcome: Any = await deed(ALICE, ids)
        self.done[name] += len(outcome.success)

    async def _bulk(self, hall: Hall, chance: random.Random, _number: int) -> None:
        verb, limit = chance.choice(_BY_FILTER)
        search = [Condition("JobID", "gt", chance.choice(self.job_ids[-_RECENT:]))]
        step = BulkStep(search=search, until=self.job_ids[-1], limit=limit)
        self.done["bulk"] += (await hall.bulk_verbs.step(ALICE, verb, step)).done

    async def _reporter(self, hall: Hall, chance: random.Random, number: int) -> None:
        """Report on many jobs in one call, in any order; and look at them."""
        ids = self._some(chance, 60)
        times = [hall.clock.now() - timedelta(seconds=chance.uniform(0, 5)) for _ in range(2)]
        update = JobStatusUpdate(ApplicationStatus=f"seen by {number}", Source="Test")
        outcome = await hall.life.set_statuses(ALICE, {i: dict.fromkeys(times, update) for i in ids})
        self.done["report"] += len(outcome.success)
        await hall.life.set_metadata(ALICE, {i: {"Note": str(number)} for i in chance.sample(ids, 1)})
        await hall.queries.summary(ALICE, SummaryParams(grouping=["Status"]))

    async def _submitter(self, hall: Hall, chance: random.Random, number: int) -> None:
        (found,) = await hall.queries.summary(
            ALICE, SummaryParams(grouping=[], search=[Condition("Status", "in", values=list(_BEFORE))])
        )
        if found["count"] < _WAITING:
            texts = [description(chance.randrange(4)) for _ in range(chance.randint(1, 4))]
            # These go through the pipeline.
            texts += [f'Executable = "y"; JobGroup = "{number}"; JobPath = "JobSanity,JobScheduling";']
            self.job_ids += await hall.submitted(ALICE, *texts)
            self.done["submission"] += 1
        await asyncio.sleep(0.2)

    async def _upkeep(self, hall: Hall, _chance: random.Random, _number: int) -> None:
        """Do what tasks do every few seconds, in two processes at once."""
        await hall.life.expire_leases()
        await hall.upkeep.end_delays()
        await hall.upkeep.settle_kills()
        await hall.system.optimisation.advance()
        await hall.system.counting.fold()
        await asyncio.sleep(0.2)


_BY_FILTER = [
    *((verb, 30) for verb in (JobVerb.HOLD, JobVerb.RELEASE, JobVerb.RESCHEDULE, JobVerb.RESET)),
    (JobVerb.KILL, 2),
    (JobVerb.DELETE, 1),
]
_BEFORE = ("Received", "Checking", "Staging", "Waiting", "Rescheduled")


def description(kind: int) -> str:
    """Return one of four descriptions, each of a class of its own."""
    return f'Executable = "x"; CPUTime = {1000 * (1 + kind) ** 3};'
