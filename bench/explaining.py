"""What it costs to say why: of a job, a pilot and a site, among as many waiting jobs as you like.

    python -m bench.explaining                        # 10 000 and 100 000 jobs on SQLite
    python -m bench.explaining --jobs 10000000 --engine postgresql

The jobs are those of `bench/matching.py`: 501 classes as they were in a production. CPU is that of the
process that explains, with SQLite also what the database takes; what a clock says is beside it, and depends
on what the database has in memory. PostgreSQL has cleaned its tables up, as it does by itself in the end. An
administrator of jobs asks, each time after what is known of waiting jobs has become old, so that all looks at
the database.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
from bench.matching import SITES, fill, offers
from bench.served import databases, opened
from sqlalchemy import text

from dirac.core.time import SystemClock
from dirac.db.engine import DatabaseUnits
from dirac.db.schema import migrate
from dirac.server.schema import LOCATIONS
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.logic.explain import Explain
from dirac.systems.workload.logic.explain_places import ExplainPlaces
from dirac.systems.workload.logic.fitting import offer_of
from dirac.systems.workload.logic.looking import WaitingJobs
from dirac.systems.workload.logic.offers import LastOffers
from dirac.systems.workload.logic.waiting import Classes, Signals
from dirac.systems.workload.store.unit import WorkloadUnit

BOSS = Identity(
    vo="astro",
    sub="boss",
    username="boss",
    group="admin",
    properties=frozenset({Property.JOB_ADMINISTRATOR}),
    kind="user",
    token_id="t",
    expires=datetime(2100, 1, 1, tzinfo=UTC),
)
_OLD = 1.1


class Configuration:
    """Sixty sites with two queues each."""

    def __init__(self) -> None:
        queues = {"short": {"cpu_time": 10_000}, "long": {"cpu_time": 500_000, "processors": 8}}
        element = {"ce": {"type": "slurm", "queues": queues}}
        site = {"virtual_organisations": ["astro"], "computing_elements": element}
        vo = {"default_group": "production", "groups": {"production": {}}}
        tree: dict[str, Any] = {"virtual_organisations": {"astro": vo}, "sites": dict.fromkeys(SITES, site)}
        self.tree = msgspec.convert(tree, Tree)

    async def current(self) -> Self:
        """Return itself."""
        return self


async def measure(url: str, count: int, times: int) -> list[tuple[str, float, float]]:
    """Return what was explained, with CPU seconds and those of the clock for each."""
    async with opened(url) as database:
        await migrate(database, LOCATIONS)
        await fill(database, count)
        if database.dialect == "postgresql":
            async with database.engine.connect() as connection:
                alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await alone.execute(text("VACUUM"))
        clock, units = SystemClock(), DatabaseUnits(database, WorkloadUnit)
        classes, told = Classes(clock), LastOffers(clock)
        waiting = WaitingJobs(units, classes, Signals(), clock)
        told.note("p0", offer_of(offers()[0], frozenset({"astro"})))
        explain = Explain(units, Configuration(), classes, waiting)
        places = ExplainPlaces(units, Configuration(), classes, waiting, told)
        asked: Sequence[tuple[str, Callable[[], Awaitable[object]]]] = (
            ("a job", lambda: explain.explain(BOSS, count // 2)),
            ("a pilot", lambda: places.pilot(BOSS, "p0")),
            ("a site", lambda: places.site(BOSS, SITES[0])),
        )
        found = []
        for name, ask in asked:
            await ask()
            cpu = wall = 0.0
            for _ in range(times):
                await asyncio.sleep(_OLD)
                begun, moment = time.process_time(), time.perf_counter()
                await ask()
                cpu, wall = cpu + time.process_time() - begun, wall + time.perf_counter() - moment
            found.append((name, cpu / times, wall / times))
        return found


def main() -> int:
    """Measure with a tenth of the jobs and with all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs that wait (default 100000)")
    parser.add_argument("--engine", choices=("sqlite", "postgresql", "mariadb"), default="sqlite")
    parser.add_argument("--times", type=int, default=10, help="explanations to measure (default 10)")
    options = parser.parse_args()
    figures = []
    for count in (options.jobs // 10, options.jobs):
        with (
            tempfile.TemporaryDirectory(prefix="dirac-bench-") as place,
            databases(options.engine, Path(place)) as made,
        ):
            figures.append(asyncio.run(measure(made.create(), count, options.times)))
        for name, cpu, wall in figures[-1]:
            print(f"  {count:>9} jobs: {name:<8} {cpu * 1000:6.1f} ms CPU, {wall * 1000:6.1f} ms", flush=True)
    for (name, _, wall), (_, _, more) in zip(*figures, strict=True):
        print(f"  {name}: ten times as many jobs take {more / wall:.2f} times as long")
    return 0


if __name__ == "__main__":
    sys.exit(main())
