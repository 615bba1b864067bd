"""Who uses the server in a simulation: users that submit, and pilots that run jobs, well or badly."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from dirac.core.errors import ConflictError, DiracError, NotFoundError
from dirac.systems.identity.models import Identity
from dirac.systems.workload.models import (
    HeartbeatData,
    JobStatus,
    JobStatusUpdate,
    MatchAnswer,
    MatchedJob,
    MatchRequest,
    Resource,
)
from tests.contract.systems.workload.support import pilot, run
from tests.contract.systems.workload.support_running import SITE, Hall

from .network import Network, NoAnswerError, Timeline

_PATIENCE = 15.0  # seconds until a call is repeated


class Habits(NamedTuple):
    """How pilots live; times in seconds, misfortunes as their probability in a job.

    Attributes:
        poll: Time between two requests of one that gets nothing.
        beat: Time between two signs of life.
        lasting: How long a job takes, None for anything up to a few minutes.
        dies: The pilot ends.
        replaced: When another one begins in its place, None for never.
        cut_off: It is not heard of for a while.
        fails: The job fails.
    """

    poll: float = 40.0
    beat: float = 30.0
    lasting: Callable[[int], float] | None = None
    dies: float = 0.15
    replaced: float | None = None
    cut_off: float = 0.2
    fails: float = 0.1


RESTLESS = Habits()
RELIABLE = Habits(dies=0.0, cut_off=0.0)
HERE = Resource(site=SITE)


class User:
    """Submits jobs, and kills or reschedules some of them.

    Args:
        who: Their identity.
        jdls: What each submission has.
        stage: The server, the network, the time and the dice.
    """

    def __init__(self, who: Identity, jdls: list[str], stage: Stage) -> None:
        self._who = who
        self._jdls = jdls
        self._stage = stage
        self.accepted: set[int] = set()
        self.killed: set[int] = set()
        self.waiting_for_an_answer = 0

    async def submit(self, key: str) -> None:
        """Submit, again and again under one key until there is an answer."""
        stage = self._stage
        submit = stage.hall.submission.submit
        self.waiting_for_an_answer += 1
        try:
            answer = await stage.network.call(
                f"{self._who.sub} submits {key}", lambda: submit(self._who, self._jdls, key=key)
            )
        except NoAnswerError:
            stage.timeline.after(_PATIENCE, lambda: self.submit(key))
            return
        finally:
            self.waiting_for_an_answer -= 1
        self.accepted.update(job.JobID for job in answer)
        for job in answer:
            chance = stage.dice.random()
            if chance < 0.1:
                stage.timeline.after(stage.dice.uniform(1, 300), lambda n=job.JobID: self._kill(n))
            elif chance < 0.25:
                stage.timeline.after(stage.dice.uniform(1, 300), lambda n=job.JobID: self._reschedule(n))

    async def _kill(self, job_id: int) -> None:
        stage = self._stage
        try:
            done = await stage.network.call(
                f"kill {job_id}", lambda: stage.hall.life.kill(self._who, [job_id])
            )
        except NoAnswerError:
            stage.timeline.after(_PATIENCE, lambda: self._kill(job_id))
            return
        if not done.failed:
            self.killed.add(job_id)

    async def _reschedule(self, job_id: int) -> None:
        stage = self._stage
        try:
            await stage.network.call(
                f"reschedule {job_id}", lambda: stage.hall.life.reschedule(self._who, [job_id])
            )
        except NoAnswerError:
            stage.timeline.after(_PATIENCE, lambda: self._reschedule(job_id))


class Stage:
    """What all of them share.

    Attributes:
        results: Which attempts of a job wrote its result and were told that it counts, by job.
    """

    def __init__(self, hall: Hall, timeline: Timeline, network: Network, dice: random.Random) -> None:
        self.hall = hall
        self.timeline = timeline
        self.network = network
        self.dice = dice
        self.results: dict[int, set[int]] = {}


class Pilot:
    """Runs one job after the other; may die, or be cut off for a while and go on.

    Args:
        stamp: Its name.
        vo: Whose jobs it runs.
        stage: The server, the network, the time and the dice.
        habits: How it lives.
        has: What it offers.
    """

    def __init__(
        self, stamp: str, vo: str, stage: Stage, habits: Habits = RESTLESS, has: Resource = HERE
    ) -> None:
        self._who = pilot(stamp, vo)
        self._stage = stage
        self.habits = habits
        self._has = has
        self._requests = 0
        self._dead = False

    async def begin(self) -> None:
        """Ask for a job, with a new request."""
        self._requests += 1
        await self._ask(f"{self._who.stamp}-{self._requests}")

    async def _ask(self, request_id: str) -> None:
        stage = self._stage
        request = MatchRequest(resource=self._has, request_id=request_id)
        try:
            answer: MatchAnswer = await stage.network.call(
                f"{request_id} asks", lambda: stage.hall.matching.match(self._who, request)
            )
        except NoAnswerError:
            stage.timeline.after(_PATIENCE, lambda: self._ask(request_id))
            return
        except ConflictError:
            stage.timeline.after(_PATIENCE, self.begin)
            return
        if answer.job is None:
            stage.timeline.after(self.habits.poll, self.begin)
        else:
            await Run(answer.job, self, stage).begin()

    def die(self) -> None:
        """End, and be heard of never again; another one may come in its place."""
        if self.habits.replaced is not None:
            other = Pilot(f"{self.stamp}x", self.vo, self._stage, self.habits, self._has)
            self._stage.timeline.after(self.habits.replaced, other.begin)

    @property
    def stamp(self) -> str:
        """Its name."""
        return self._who.stamp

    @property
    def vo(self) -> str:
        """Whose jobs it runs."""
        return self._who.vo

    def misfortune(self) -> tuple[bool, float]:
        """Tell whether it dies in its next job, and for how long it is cut off in it."""
        dice, habits = self._stage.dice, self.habits
        chance = dice.random()
        is_cut_off = habits.dies <= chance < habits.dies + habits.cut_off
        return chance < habits.dies, dice.uniform(50, 500) if is_cut_off else 0.0


class Run:
    """One run of a job by a pilot: it begins, gives signs of life, and ends with a result."""

    def __init__(self, job: MatchedJob, by: Pilot, stage: Stage) -> None:
        self._job = job
        self._pilot = by
        self._stage = stage
        self._who = run(job.job_id, job.attempt, by.vo, by.stamp)
        self._dies, self._cut_off = by.misfortune()
        lasting = by.habits.lasting
        self._left = lasting(job.job_id) if lasting is not None else stage.dice.uniform(5, 250)
        self._is_over = False

    async def begin(self) -> None:
        """Say that it runs; then live or die."""
        await self._report(JobStatus.RUNNING, self._live)

    async def _live(self) -> None:
        stage = self._stage
        step = min(self._left, self._pilot.habits.beat)
        self._left -= step
        if self._dies and stage.dice.random() < 0.5:
            self._pilot.die()
            return
        silence, self._cut_off = self._cut_off, 0.0
        then = self._end if self._left <= 0 else self._beat
        stage.timeline.after(step + silence, then)

    async def _beat(self) -> None:
        stage, job_id = self._stage, self._job.job_id
        beat = {job_id: HeartbeatData()}
        try:
            orders = await stage.network.call(
                f"beat {job_id}:{self._job.attempt}", lambda: stage.hall.life.heartbeat(self._who, beat)
            )
        except NoAnswerError:
            await self._live()
            return
        except (ConflictError, NotFoundError):
            await self._leave()
            return
        if any(order.command == "Kill" for order in orders):
            await self._leave()
        else:
            await self._live()

    async def _end(self) -> None:
        """Write the result, then say how it ended."""
        stage, job = self._stage, self._job
        result = {job.job_id: {"Result": str(job.attempt)}}
        try:
            await stage.network.call(
                f"result {job.job_id}:{job.attempt}", lambda: stage.hall.life.set_metadata(self._who, result)
            )
        except NoAnswerError:
            stage.timeline.after(_PATIENCE, self._end)
            return
        except DiracError:
            await self._leave()
            return
        failed = stage.dice.random() < self._pilot.habits.fails
        await self._report(JobStatus.FAILED if failed else JobStatus.DONE, self._leave)

    async def _report(self, status: JobStatus, then: object, moment: datetime | None = None) -> None:
        stage, job = self._stage, self._job
        now = moment or stage.timeline.clock.now()
        update = JobStatusUpdate(Status=status, ApplicationStatus=f"run {job.attempt}", Source="JobWrapper")
        try:
            answer = await stage.network.call(
                f"{status} {job.job_id}:{job.attempt}",
                lambda: stage.hall.life.set_statuses(self._who, {job.job_id: {now: update}}),
            )
        except NoAnswerError:
            stage.timeline.after(_PATIENCE, lambda: self._report(status, then, now))
            return
        except (ConflictError, NotFoundError):
            await self._leave()
            return
        if status == JobStatus.DONE and not answer.failed:
            stage.results.setdefault(job.job_id, set()).add(job.attempt)
        await then()  # type: ignore[operator]

    async def _leave(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._stage.timeline.after(1.0, self._pilot.begin)
