"""CPU of one match: 501 classes of jobs, a heavy head, a million decisions in memory and some claims in SQL.

Run: PYTHONPATH=src:. python bench/matching.py [JOBS] [DATABASE-URL]
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import insert

from dirac.core.time import SystemClock
from dirac.db.engine import Database, DatabaseUnits
from dirac.db.schema import migrate
from dirac.formats.description import CPU_SEGMENTS, Requirements
from dirac.server.schema import LOCATIONS
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.fitting import JobClass, fits, offer_of
from dirac.systems.workload.logic.matching import Matching
from dirac.systems.workload.logic.waiting import Classes, Signals
from dirac.systems.workload.models import MatchRequest, Resource
from dirac.systems.workload.ports.running import PilotRow
from dirac.systems.workload.store.tables import classes, descriptions, jobs
from dirac.systems.workload.store.unit import WorkloadUnit

CLASSES = 501
MATCHES = 1000
PILOTS = 50
SITES = [f"LCG.Site{number}.ch" for number in range(60)]
PLATFORMS = [f"x86_64-el{number}" for number in range(67)]


class _Fixed:
    def __init__(self) -> None:
        self.version = 1
        self.tree = Tree()

    async def current(self) -> _Fixed:
        return self


class _Tokens:
    async def job_token(self, **_: Any) -> str:
        return "token"


def make_classes() -> list[Requirements]:
    rng = random.Random(1)
    made = []
    for _ in range(CLASSES):
        banned = tuple(sorted(rng.sample(SITES, rng.randint(1, 9)))) if rng.random() < 0.4 else ()
        sites = (
            tuple(sorted(rng.sample(SITES, rng.randint(1, 20)))) if not banned and rng.random() < 0.5 else ()
        )
        platforms = tuple(sorted(rng.sample(PLATFORMS, 8))) if rng.random() < 0.8 else ()
        made.append(
            Requirements(
                cpu_time=rng.choice(CPU_SEGMENTS),
                sites=sites,
                banned_sites=banned,
                platforms=platforms,
                tags=("4Processors", "MultiProcessor") if rng.random() < 0.05 else (),
            )
        )
    return made


def resource(rng: random.Random) -> Resource:
    return Resource(
        site=rng.choice(SITES), cpu_time=rng.choice(CPU_SEGMENTS), platforms=rng.sample(PLATFORMS, 20)
    )


def decide(made: list[Requirements]) -> float:
    known = [JobClass(number, "vo", "users", needs) for number, needs in enumerate(made)]
    rng, rounds = random.Random(2), 500
    offers = [offer_of(resource(rng), frozenset({"vo"})) for _ in range(rounds)]
    begun = time.process_time()
    for offer in offers:
        for job_class in known:
            fits(job_class, offer)
    return (time.process_time() - begun) / rounds


async def fill(database: Database, made: list[Requirements], count: int) -> None:
    rng = random.Random(3)
    weights = [1 / (number + 1) for number in range(CLASSES)]
    now = database.clock.now()
    async with database.write() as tx:
        rows = [
            {
                "class_id": number + 1,
                "digest": str(number),
                "vo": "vo",
                "owner_group": "users",
                "requirements": msgspec.to_builtins(needs),
            }
            for number, needs in enumerate(made)
        ]
        await tx.execute(insert(classes), rows)
    words = dict.fromkeys(("minor_status", "application_status", "job_name", "job_group"), "")
    common: dict[str, Any] = words | {"vo": "vo", "owner_sub": "s", "owner": "o", "owner_group": "users"}
    common |= {"status": "Waiting", "site": "ANY", "job_type": "User", "user_priority": 1, "attempt": 0}
    common |= {"reschedule_counter": 0, "submission_time": now, "last_update_time": now}
    common |= {"verified_flag": True, "accounted_flag": False}
    for start in range(0, count, 10_000):
        picked = rng.choices(range(1, CLASSES + 1), weights, k=min(10_000, count - start))
        batch = [
            common | {"job_id": start + number + 1, "class_id": class_id}
            for number, class_id in enumerate(picked)
        ]
        async with database.write() as tx:
            await tx.execute(insert(jobs), batch)
            texts = [{"job_id": row["job_id"], "jdl": "Executable = x;"} for row in batch]
            await tx.execute(insert(descriptions), texts)


async def claims(database: Database) -> dict[str, float]:
    units = DatabaseUnits(database, WorkloadUnit)
    clock = SystemClock()
    matching = Matching(units, _Fixed(), _Tokens(), Signals(), clock, Classes(clock))
    rng = random.Random(4)
    pilots = [resource(rng) for _ in range(PILOTS)]
    async with units.write() as unit:
        now = unit.now
        rows = [
            PilotRow(
                **dict.fromkeys(("status_reason", "grid_type", "grid_site", "destination_site", "queue"), ""),
                pilot_stamp=f"p{number}",
                vo="vo",
                status="Running",
                pilot_reference=f"p{number}",
                submission_time=now,
                last_update_time=now,
            )
            for number in range(PILOTS)
        ]
        await unit.pilots.add(rows)

    async def ask(number: int, offered: Resource) -> bool:
        identity = Identity(
            vo="vo",
            sub=f"pilot:{number}",
            username="",
            group="",
            kind="pilot",
            properties=frozenset(),
            token_id="",
            stamp=f"p{number % PILOTS}",
            expires=clock.now() + timedelta(days=1),
        )
        request = MatchRequest(resource=offered, request_id=f"r{number}")
        return (await matching.match(identity, request)).job is not None

    for number in range(PILOTS):
        await ask(-number - 1, pilots[number])
    results = {}
    for name, offers in (("a job", pilots), ("nothing", [Resource(site="x", cpu_time=1)])):
        cpu, wall, got = time.process_time(), time.perf_counter(), 0
        for number in range(MATCHES):
            got += await ask(number if name == "a job" else MATCHES + number, offers[number % len(offers)])
        results[f"{name} ({got} jobs), CPU"] = (time.process_time() - cpu) / MATCHES
        results[f"{name}, wall"] = (time.perf_counter() - wall) / MATCHES
    return results


async def main() -> None:
    made = make_classes()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"decide {CLASSES} classes, new offer: {1000 * decide(made):.3f} ms CPU")
    with tempfile.TemporaryDirectory() as directory:
        url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{Path(directory) / 'bench.db'}"
        database = Database(url)
        await migrate(database, LOCATIONS)
        await fill(database, made, count)
        for name, seconds in (await claims(database)).items():
            print(f"{count} waiting, match with {name}: {1000 * seconds:.3f} ms")
        await database.close()


if __name__ == "__main__":
    asyncio.run(main())
