"""What one match costs: through HTTP, with tokens, among as many waiting jobs as you like.

    python -m bench.matching                        # 10 000 and 100 000 jobs on SQLite
    python -m bench.matching --jobs 10000000 --engine postgresql --matches 40000 --rate 1000

Jobs are spread over 501 classes as they were in a production of 872 000 waiting jobs (sizes of task queues
of LHCb, 28 March 2026, published by devlink42/poc-dirac-job-matchmaking). For both sizes a server is
started; connections that are kept ask for jobs as pilots do: as fast as they are answered, or at a rate.
CPU is user and system time of the server's process and, beside it, of the database's; what a clock says
depends on what else the machine does. Afterwards the database tells whether a job was given twice, or a
pilot sent away for whom there was one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from bench.served import ENGINES, Cost, opened, peak_of, served
from sqlalchemy import func, insert, select, text

from dirac.db.engine import Database, DatabaseUnits
from dirac.formats.description import CPU_SEGMENTS, Requirements
from dirac.server.composition import build
from dirac.server.settings import Settings
from dirac.systems.workload.logic.fitting import JobClass, fits, offer_of
from dirac.systems.workload.models import MatchAnswer, MatchRequest, Resource
from dirac.systems.workload.ports.pilots import PilotRow
from dirac.systems.workload.store.tables import attempts, classes, descriptions, jobs
from dirac.systems.workload.store.unit import WorkloadUnit

SITES = [f"LCG.Site{number}.ch" for number in range(60)]
PLATFORMS = [f"x86_64-el{number}" for number in range(67)]
# So many classes have so many jobs.
SIZES = ((32, 1, 1), (48, 2, 10), (47, 11, 100), (110, 101, 1000), (264, 1001, 5000))
SLOTS = 20_000
PILOTS = 200


class Measured(msgspec.Struct):
    """One run: what all matches took together; latencies in seconds, memory in bytes."""

    jobs: int
    matches: int
    empty: int
    cost: Cost
    latencies: list[float]
    memory: int
    doubled: int
    missed: int

    @property
    def each(self) -> Cost:
        """What one match took."""
        return self.cost.per(max(1, self.matches))


def make_classes() -> tuple[list[JobClass], list[int]]:
    """Return the classes, and how many jobs each would have of 872 000."""
    rng = random.Random(1)
    made, sizes = [], []
    for number, least, most in SIZES:
        for _ in range(number):
            banned = tuple(sorted(rng.sample(SITES, rng.randint(1, 9)))) if rng.random() < 0.4 else ()
            some = not banned and rng.random() < 0.3
            sites = tuple(sorted(rng.sample(SITES, rng.randint(1, 20)))) if some else ()
            platforms = tuple(sorted(rng.sample(PLATFORMS, 8))) if rng.random() < 0.8 else ()
            needs = Requirements(
                cpu_time=rng.choice(CPU_SEGMENTS),
                sites=sites,
                banned_sites=banned,
                platforms=platforms,
                tags=("4Processors", "MultiProcessor") if rng.random() < 0.05 else (),
            )
            made.append(JobClass(len(made) + 1, "astro", "production", needs))
            sizes.append(rng.randint(least, most))
    return made, sizes


def offers() -> list[Resource]:
    """Return what the pilots have: as if from sixty sites."""
    rng = random.Random(2)
    return [
        Resource(
            site=SITES[number % len(SITES)],
            cpu_time=rng.choice(CPU_SEGMENTS[4:]),
            platforms=sorted(rng.sample(PLATFORMS, 20)),
        )
        for number in range(PILOTS)
    ]


def decide(made: Sequence[JobClass]) -> float:
    """Return the CPU seconds of comparing an offer that is new with all classes."""
    known = [offer_of(resource, frozenset({"astro"})) for resource in offers()]
    begun = time.process_time()
    for offer in known:
        for job_class in made:
            fits(job_class, offer)
    return (time.process_time() - begun) / len(known)


async def fill(database: Database, count: int) -> None:
    """Let so many jobs wait, and register pilots."""
    made, sizes = make_classes()
    total = sum(sizes)
    slots = [number for number, size in enumerate(sizes) for _ in range(max(1, SLOTS * size // total))]
    random.Random(3).shuffle(slots)
    async with database.write() as tx:
        rows = [
            {
                "class_id": each.class_id,
                "digest": str(each.class_id),
                "vo": each.vo,
                "owner_group": each.owner_group,
                "requirements": msgspec.to_builtins(each.needs),
            }
            for each in made
        ]
        await tx.execute(insert(classes), rows)
    async with database.engine.begin() as connection:
        for index in jobs.indexes:
            await connection.run_sync(index.drop)
        await connection.execute(text("CREATE TABLE bench_slot (slot INTEGER PRIMARY KEY, class_id INTEGER)"))
        slot_rows = [{"slot": slot, "class_id": made[number].class_id} for slot, number in enumerate(slots)]
        await connection.execute(text("INSERT INTO bench_slot VALUES (:slot, :class_id)"), slot_rows)
    series = {
        "sqlite": "(WITH RECURSIVE s(i) AS (SELECT {0} UNION ALL SELECT i + 1 FROM s WHERE i < {1})"
        " SELECT i FROM s)",
        "postgresql": "(SELECT generate_series({0}, {1}) AS i)",
        "mariadb": "(SELECT {0} + seq - 1 AS i FROM seq_1_to_{2})",
    }[database.dialect]
    now = database.clock.now().replace(tzinfo=None).isoformat(sep=" ")
    values = {
        **dict.fromkeys(("minor_status", "application_status", "job_name", "job_group"), "''"),
        "vo": "'astro'",
        "owner_sub": "'s'",
        "owner": "'o'",
        "owner_group": "'production'",
        "status": "'Waiting'",
        "site": "'ANY'",
        "job_type": "'User'",
        "user_priority": "1",
        "attempt": "0",
        "reschedule_counter": "0",
        "verified_flag": "true",
        "accounted_flag": "false",
        **dict.fromkeys(("submission_time", "last_update_time"), f"'{now}'"),
        "job_id": "i",
        "class_id": "class_id",
    }
    for start in range(1, count + 1, 500_000):
        end = min(count, start + 499_999)
        of = series.format(start, end, end - start + 1)
        async with database.engine.begin() as connection:
            await connection.execute(
                text(
                    f"INSERT INTO {jobs.name} ({', '.join(values)}) SELECT {', '.join(values.values())}"
                    f" FROM {of} AS s JOIN bench_slot ON slot = i % {len(slots)}"
                )
            )
            await connection.execute(
                text(f"INSERT INTO {descriptions.name} (job_id, jdl) SELECT i, 'x' FROM {of} AS s")
            )
    async with database.engine.begin() as connection:
        for index in jobs.indexes:
            await connection.run_sync(index.create)
        await connection.execute(text("DROP TABLE bench_slot"))
        if database.dialect != "mariadb":
            await connection.execute(text("ANALYZE"))
    if database.dialect == "postgresql":
        # Or it does so while it is measured: what rows that were loaded cost is not what matches cost.
        async with database.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            for order in ("VACUUM", "CHECKPOINT"):
                await connection.execute(text(order))
    async with DatabaseUnits(database, WorkloadUnit).write() as unit:
        empty = dict.fromkeys(("status_reason", "grid_type", "grid_site", "destination_site", "queue"), "")
        await unit.pilots.add(
            [
                PilotRow(
                    **empty,
                    pilot_stamp=f"p{number}",
                    vo="astro",
                    status="Running",
                    pilot_reference=f"p{number}",
                    submission_time=unit.now,
                    last_update_time=unit.now,
                )
                for number in range(PILOTS)
            ]
        )


class Connection:
    """A connection that is kept, and knows just enough of HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def post(self, token: str, content: bytes) -> bytes:
        """Ask for a job, return the answer's body."""
        head = (
            f"POST /api/jobs/match HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._writer.write(head.encode() + content)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        fields = answer.lower()
        length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0])
        found = await self._reader.readexactly(length)
        if b" 200 " not in answer[:20]:
            sys.exit(f"{answer.decode()}{found.decode()}")
        return found


async def ask(
    port: int, tokens: Sequence[str], matches: int, at_a_time: int, first: int, rate: float = 0.0
) -> Any:
    """Ask so often; return latencies, the jobs given, and the offers that got none.

    With a rate, each question has its moment, and its latency counts from then: one that had to wait for a
    free connection has waited (no coordinated omission).
    """
    has, numbers = offers(), iter(range(first, first + matches))
    latencies: list[float] = []
    given: list[int] = []
    empty: list[int] = []
    start = time.perf_counter()

    async def pilot() -> None:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
        for number in numbers:
            who = number % PILOTS
            request = msgspec.json.encode(MatchRequest(resource=has[who], request_id=f"r{number}"))
            begun = time.perf_counter()
            if rate:
                due = start + (number - first) / rate
                await asyncio.sleep(due - begun)
                begun = due
            answer = msgspec.json.decode(await connection.post(tokens[who], request), type=MatchAnswer)
            latencies.append(time.perf_counter() - begun)
            if answer.job is None:
                empty.append(who)
            else:
                given.append(answer.job.job_id)

    await asyncio.gather(*(pilot() for _ in range(at_a_time)))
    return latencies, given, empty


async def check(url: str, given: Sequence[int], empty: Sequence[int]) -> tuple[int, int]:
    """Return how many jobs were given twice, and how many pilots were sent away though one fitted."""
    async with opened(url) as database, database.read() as tx:
        runs = (await tx.execute(select(func.count()).select_from(attempts))).scalar_one()
        first = (await tx.execute(select(func.count()).where(attempts.c.attempt == 1))).scalar_one()
        left = {front.class_id for front in await WorkloadUnit(tx).runs.fronts("astro")}
    doubled = len(given) - len(set(given)) + abs(runs - len(given)) + runs - first
    has = offers()
    still = [each for each in make_classes()[0] if each.class_id in left]
    known = {who: offer_of(has[who], frozenset({"astro"})) for who in set(empty)}
    missed = sum(any(not fits(each, known[who]) for each in still) for who in empty)
    return doubled, missed


async def _tokens(settings: Settings) -> list[str]:
    installation = build(settings)
    try:
        await installation.begin()
        tokens = installation.identity.tokens
        return [await tokens.pilot_token(stamp=f"p{n}", vo="astro", seconds=7200) for n in range(PILOTS)]
    finally:
        await installation.close()


def measure(engine: str, count: int, matches: int, at_a_time: int, rate: float) -> Measured:
    """Measure with so many waiting jobs."""
    begun = time.perf_counter()
    with served(engine, lambda database: fill(database, count)) as server:
        print(f"  {count} jobs loaded, server started in {time.perf_counter() - begun:.0f} s", flush=True)
        tokens, port = asyncio.run(_tokens(server.settings)), server.settings.http.port
        warm = asyncio.run(ask(port, tokens, PILOTS, at_a_time, 0))
        asked: list[Any] = []
        cost = server.cost(
            lambda: asked.append(asyncio.run(ask(port, tokens, matches, at_a_time, PILOTS, rate))), 1
        )
        latencies, given, empty = asked[0]
        verified = check(server.settings.database_url(), [*warm[1], *given], [*warm[2], *empty])
        doubled, missed = asyncio.run(verified)
        memory = peak_of(server.pid)
    return Measured(count, len(given), len(empty), cost, latencies, memory, doubled, missed)


def show(found: Measured) -> None:
    """Print what was measured."""
    cuts = statistics.quantiles(found.latencies, n=100)
    each = found.each
    print(
        f"  {found.jobs} waiting: {found.matches} matches ({found.empty} without a job)\n"
        f"    CPU per match: server {1000 * each.cpu:.2f} ms, database {1000 * each.database:.2f} ms"
        f" -> {1 / each.cpu:.0f}/s for one core of the server\n"
        f"    by the clock: {1 / each.wall:.0f}/s,"
        f" p50 {1000 * cuts[49]:.0f} ms, p99 {1000 * cuts[98]:.0f} ms\n"
        f"    memory of the server: {found.memory / 2**20:.0f} MB;"
        f" given twice: {found.doubled}, missed: {found.missed}",
        flush=True,
    )


def main() -> int:
    """Measure, print, and fail if a job was given twice or missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs that wait (default 100000)")
    parser.add_argument("--engine", choices=ENGINES, default="sqlite")
    parser.add_argument("--matches", type=int, default=3000, help="matches to measure (default 3000)")
    parser.add_argument("--at-a-time", type=int, default=32, help="connections (default 32)")
    parser.add_argument(
        "--rate",
        type=float,
        default=0.0,
        help="questions in a second (default: no limit)",
    )
    chosen = parser.parse_args()
    print(f"comparing 501 classes with a new offer: {1000 * decide(make_classes()[0]):.2f} ms CPU")
    asked = f"{chosen.rate:g} questions/s" if chosen.rate else "as fast as they are answered"
    print(f"{chosen.engine}, {chosen.at_a_time} connections, {asked}:")
    sizes = sorted({10_000, chosen.jobs})
    found = [
        measure(chosen.engine, size, min(chosen.matches, size // 2), chosen.at_a_time, chosen.rate)
        for size in sizes
    ]
    for one in found:
        show(one)
    if len(found) > 1:
        few, many = found[0].each, found[1].each
        both = (many.cpu + many.database) / (few.cpu + few.database)
        print(f"  growth: server {many.cpu / few.cpu:.2f}, with the database {both:.2f}")
    return 1 if any(one.doubled or one.missed for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
