"""One day of a large production's workload, in virtual time, against the real code.

What waits is drawn from the published, aggregated figures of LHCb's production of 28 March 2026
(devlink42/poc-dirac-job-matchmaking, `analysis/lhcb/data`): 871 973 jobs in 501 task queues, by group and CPU
time as in `QUEUES`, on 60 sites, some of which are in more demand than others (`SITES`). The figures are one
moment: they say neither when jobs came, nor how long they ran, nor how they ended, nor how many pilots there
were. That is assumed, and named where it is: `ARRIVE`, `POWER`, `USED`, `LOAD`, `SHARES`, `LIFE`.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from sqlalchemy import func, select

from dirac.core.unit import Event
from dirac.db.engine import Database
from dirac.db.tables import events
from dirac.systems.workload.models import JobStatus, Resource
from dirac.systems.workload.store.tables import attempts, jobs
from dirac.testing.time import FakeClock
from tests.contract.systems.workload.support import person
from tests.contract.systems.workload.support_running import FixedConfiguration, Hall

from .fairness import Fairness
from .network import Network, Timeline
from .people import Habits, Pilot, Stage

HOUR = 3600.0
DAY = 24 * HOUR
# Group, CPU time in normalised seconds, task queues, jobs (`jobs_per_tq.csv`, added up).
QUEUES = (
    ("mc", 259200, 88, 331749),
    ("mc", 345600, 54, 143395),
    ("mc", 21600, 41, 126770),
    ("mc", 86400, 10, 29598),
    ("mc", 518400, 10, 24583),
    ("mc", 172800, 31, 19077),
    ("mc", 864000, 5, 14249),
    ("mc", 691200, 27, 12035),
    ("mc", 43200, 3, 6729),
    ("data", 1080000, 208, 155890),
    ("data", 345600, 2, 6812),
    ("mcproc", 172800, 10, 1014),
    ("users", 1080000, 8, 17),
    ("users", 86400, 1, 7),
)
# Task queues of groups other than simulation that name a site, over those that name nearly all of them
# (`site_distribution.csv`): the first eleven; simulation names all sites.
SITES = (99, 38, 38, 35, 32, 30, 28, 28, 28, 23, 15, *[1] * 49)
ARRIVE = (2 / 3, 18 * HOUR, 8)  # waits at midnight; the rest comes by then, each class in so many portions
POWER = 12.0  # of a processor: normalised seconds in a second
USED = (0.1, 0.7)  # of the CPU time that was asked for
LOAD = 2.0  # work that comes in a day, over what the pilots can do in it
SHARES = {"mc": 4000.0, "data": 3000.0, "mcproc": 1000.0, "users": 2000.0}
LIFE = Habits(poll=2 * HOUR, beat=2 * HOUR, dies=0.01, replaced=HOUR, cut_off=0.01, fails=0.05)
_OVER = {JobStatus.DONE, JobStatus.FAILED}
_PAGE = 20_000
VO = "astro"


class Bunch(NamedTuple):
    """Jobs of one class."""

    group: str
    owner: str
    cpu_time: int
    sites: tuple[str, ...]
    number: int

    @property
    def text(self) -> str:
        """Their description."""
        where = ", ".join(f'"{site}"' for site in self.sites)
        return (
            f'Executable = "x"; Arguments = "%s"; CPUTime = {self.cpu_time};'
            + (f" Site = {{{where}}};" if where else "")
            + f" Parameters = {self.number}; ParameterStart = 0; ParameterStep = 1;"
        )


class Report(NamedTuple):
    """What came of a day; waiting in seconds from submission to the first match, CPU in seconds."""

    jobs: int
    matches: int
    waited: float
    waited_95: float
    cpu: float
    served: dict[str, int]
    longest: dict[str, int]
    faults: list[str]

    def __str__(self) -> str:
        groups = ", ".join(
            f"{name} {number} ({self.longest.get(name, 0)})" for name, number in sorted(self.served.items())
        )
        return (
            f"{self.jobs} jobs, {self.matches} matches; waited: median {self.waited / HOUR:.2f} h, "
            f"95 % {self.waited_95 / HOUR:.2f} h\n"
            f"server code, database included: {1000 * self.cpu / self.jobs:.2f} s CPU per 1000 jobs\n"
            f"matches by group (of others between two, at most, while one waited for any site): {groups}"
        )


def name_of(site: int) -> str:
    """Return the name of a site."""
    return f"LCG.Site{site:02}.org"


def pilots_for(scale: float) -> int:
    """Return how many pilots there are for this part of the jobs."""
    work = sum(cpu_time * number for _, cpu_time, _, number in QUEUES) * sum(USED) / 2 / POWER
    return max(8, round(scale * work / (LOAD * DAY)))


def bunches(scale: float, sites: int, dice: random.Random) -> list[Bunch]:
    """Draw the classes with their jobs, thinned to this part, at so many sites; of users all are there."""
    found = []
    for group, cpu_time, queues, number in QUEUES:
        mean = number / queues * (1.0 if group == "users" else scale)
        for queue in range(queues):
            some = int(mean * (1.0 if group == "users" else dice.uniform(0.2, 1.8)) + dice.random())
            if not some:
                continue
            named: set[int] = set()
            if group in ("data", "mcproc") and queue % 4:  # each fourth goes anywhere
                named = set(dice.choices(range(sites), SITES[:sites], k=dice.randint(1, 3)))
            owner = f"{group}{queue % 2}" if group == "users" else group
            where = tuple(name_of(site) for site in sorted(named))
            found.append(Bunch(group, owner, cpu_time, where, some))
    return found


class Day:
    """A day, and as long as it takes after it until all jobs have ended.

    Args:
        database: A migrated one, with this clock.
        clock: Virtual time.
        directory: For archives.
        scale: Which part of the jobs, and of the pilots that they need.
        seed: Of everything that chance decides.
    """

    def __init__(
        self, database: Database, clock: FakeClock, directory: Path, scale: float, seed: int = 1
    ) -> None:
        self._database, self._clock = database, clock
        self._hall = Hall(database, directory, clock, seed)
        self._hall.configuration = FixedConfiguration(_tree())
        self._hall.rules.section = self._hall.configuration.tree.workload
        self._hall.restart()
        self._dice = random.Random(seed)
        self._timeline = Timeline(clock)
        self._network = Network(self._hall, self._timeline, self._dice, traced=False)
        self._network.is_good = True
        self._stage = Stage(self._hall, self._timeline, self._network, self._dice)
        self._firsts: list[int] = []  # of the jobs of a submission, with its bunch
        self._of: list[Bunch] = []
        self._submitted = 0
        self._left = 0
        pilots = pilots_for(scale)
        sites = min(len(SITES), pilots // 4)  # of few pilots none would be at many sites
        for bunch in bunches(scale, sites, self._dice):
            self._arrange(bunch)
        self._timeline.after(60.0, self._upkeep)
        self._start_pilots(pilots, sites)

    def _arrange(self, bunch: Bunch) -> None:
        """Let the jobs of a class come, some at midnight and the others in portions."""
        now, latest, portions = ARRIVE
        first = round(bunch.number * now)
        rest = [0] * portions
        for _ in range(bunch.number - first):
            rest[self._dice.randrange(portions)] += 1
        for number, moment in ((first, 0.0), *((some, self._dice.uniform(0, latest)) for some in rest)):
            if number:
                self._left += 1
                part = bunch._replace(number=number)
                self._timeline.after(moment, lambda part=part: self._submit(part))

    async def _submit(self, bunch: Bunch) -> None:
        self._left -= 1
        who = person(bunch.owner, VO, group=bunch.group)
        submit = self._hall.submission.submit
        made = await self._network.call("submit", lambda: submit(who, [bunch.text]))
        self._firsts.append(made[0].JobID)
        self._of.append(bunch)
        self._submitted += len(made)

    def _start_pilots(self, number: int, sites: int) -> None:
        """Start pilots, at least one at each site."""
        habits = LIFE._replace(lasting=self._lasting)
        weights = [weight + 5 for weight in SITES[:sites]]
        places = [*range(sites), *self._dice.choices(range(sites), weights, k=number - sites)]
        for stamp, site in enumerate(places):
            has = Resource(site=name_of(site), cpu_time=10**7)
            pilot = Pilot(f"p{stamp}", VO, self._stage, habits, has)
            self._timeline.after(self._dice.uniform(1, 600), pilot.begin)

    def _bunch(self, job_id: int) -> Bunch:
        return self._of[bisect_right(self._firsts, job_id) - 1]

    def _lasting(self, job_id: int) -> float:
        return self._bunch(job_id).cpu_time * self._dice.uniform(*USED) / POWER

    async def _upkeep(self) -> None:
        self._timeline.after(600.0, self._upkeep)
        await self._network.call("leases", self._hall.life.expire_leases)
        await self._network.call("delays", self._hall.upkeep.end_delays)
        await self._network.call("counts", self._hall.system.counting.fold)

    async def play(self) -> Report:
        """Let the day pass; report on it."""
        await self._timeline.run(10 * DAY, self._is_over)
        return await self._report()

    async def _is_over(self) -> bool:
        if self._left:
            return False
        async with self._database.read() as tx:
            alive = select(jobs.c.job_id).where(jobs.c.status.not_in(_OVER)).limit(1)
            return (await tx.execute(alive)).first() is None

    async def _report(self) -> Report:
        async with self._database.read() as tx:
            ended = (
                await tx.execute(select(func.count()).select_from(jobs).where(jobs.c.status.in_(_OVER)))
            ).scalar_one()
            matches = (await tx.execute(select(func.count()).select_from(attempts))).scalar_one()
            first = select(jobs.c.submission_time, attempts.c.claimed).join_from(
                jobs, attempts, (attempts.c.job_id == jobs.c.job_id) & (attempts.c.attempt == 1)
            )
            waited = [(claimed - came).total_seconds() for came, claimed in await tx.execute(first)]
        faults = [] if ended == self._submitted else [f"{ended} of {self._submitted} jobs have ended"]
        anywhere = {}
        for number, bunch in zip(self._firsts, self._of, strict=True):
            if not bunch.sites:
                anywhere |= dict.fromkeys(range(number, number + bunch.number), bunch.group)
        fairness = Fairness(SHARES, anywhere, corrected=True)
        ends: dict[str, str] = {}
        served: Counter[str] = Counter()
        async for event in self._history():
            if (was := ends.get(event.subject_id)) is not None:
                faults.append(f"job {event.subject_id} went on after it was {was}: {event.data}")
            if (status := event.data["Status"]) == JobStatus.DONE:
                ends[event.subject_id] = status
            group = self._bunch(int(event.subject_id)).group
            served[group] += status == JobStatus.MATCHED and "Site" in event.data
            fairness.follow(event, group)
        return Report(
            jobs=self._submitted,
            matches=matches,
            waited=median(waited),
            waited_95=quantiles(waited, n=20)[18],
            cpu=self._network.cpu,
            served=dict(served),
            longest=dict(fairness.longest),
            faults=faults + fairness.faults,
        )

    async def _history(self) -> AsyncIterator[Event]:
        """Yield what happened to all jobs, in order, without having all of it in memory."""
        columns = [events.c[name] for name in Event.__struct_fields__]
        last = 0
        while True:
            page = (
                select(events.c.id, *columns)
                .where(events.c.id > last, events.c.kind == "workload.job.status")
                .order_by(events.c.id)
                .limit(_PAGE)
            )
            async with self._database.read() as tx:
                rows = (await tx.execute(page)).all()
            if not rows:
                return
            for row in rows:
                yield Event(**dict(zip(Event.__struct_fields__, row[1:], strict=True)))
            last = rows[-1].id


def _tree() -> dict[str, Any]:
    groups = {name: {"job_share": int(share)} for name, share in SHARES.items()}
    sites = {name_of(site): {"virtual_organisations": [VO]} for site in range(len(SITES))}
    return {
        "virtual_organisations": {VO: {"default_group": "users", "groups": groups}},
        "sites": sites,
        "workload": {"lease_seconds": int(3 * HOUR), "max_reschedules": 20, "max_cpu_time": 2_000_000},
    }
