"""CPU of one cleaning of sandboxes: most belong to jobs, a part has to be looked at, a few go away.

As after weeks of operation: what belongs to jobs was looked at some time in the last 15 days, 24 % of it is
due for another look (a cleaning that was left out for days), one in a hundred belongs to no job any more.

Run: python -m bench.sandboxes [SANDBOXES ...] [DATABASE-URL]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Insert, String, cast, func, insert, literal, select

from dirac.db.engine import Database, DatabaseUnits
from dirac.db.schema import migrate
from dirac.resources.storage.directory import DirectoryStore
from dirac.server.schema import LOCATIONS
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.logic.sandboxes import CLEAN_TASK, Sandboxes
from dirac.systems.workload.store.tables import assignments, sandboxes
from dirac.systems.workload.store.unit import WorkloadUnit

SLOTS = 50
DUE_SLOTS = 12
UNUSED = 100  # one in so many
FIRST = 10**10  # all identifiers have as many digits


class _Rules:
    async def workload(self) -> Workload:
        return Workload()


class _Emptied(DirectoryStore):
    """Counts what is removed: the disk is not what is measured."""

    removed = 0

    async def delete(self, keys: Collection[str]) -> None:
        self.removed += len(keys)


async def fill(database: Database, count: int) -> None:
    """Insert sandboxes: a first slot by doubling, the others as its copies with other times."""
    c, now, slot = sandboxes.c, database.clock.now(), count // SLOTS
    names = [
        "sandbox_id",
        "pfn",
        "vo",
        "owner_sub",
        "owner_group",
        "size",
        "created",
        "stored",
        "last_access",
    ]

    def copies(shift: int, number: int, age: timedelta) -> Insert:
        pfn = f"/S3/sandboxes/vo/users/u/sha256:{'0' * 53}"
        moved = c.sandbox_id + shift
        kept = [literal(now - age, c.stored.type), literal(now - age, c.last_access.type)]
        rows = select(
            moved, literal(pfn) + cast(moved, String(11)) + ".tar.zst", c.vo, c.owner_sub, c.owner_group,
            c.size, c.created, *kept,
        ).where(c.sandbox_id < FIRST + number)  # fmt: skip
        return insert(sandboxes).from_select(names, rows)

    row = {"sandbox_id": FIRST, "pfn": "/S3/sandboxes/vo/users/u/x", "vo": "vo", "owner_sub": "s"}
    row |= {"owner_group": "users", "size": 1, "created": now, "stored": now, "last_access": now}
    async with database.write() as tx:
        await tx.execute(insert(sandboxes), [row])
        have = 1
        while have < slot:
            more = min(have, slot - have)
            await tx.execute(copies(have, more, timedelta(0)))
            have += more
    for number in range(1, SLOTS):
        age = timedelta(days=16) if number <= DUE_SLOTS else timedelta(days=15 * number / SLOTS)
        async with database.write() as tx:
            await tx.execute(copies(number * slot, slot, age))
    links = select(c.sandbox_id, literal("input"), c.sandbox_id).where(c.sandbox_id % UNUSED > 0)
    async with database.write() as tx:
        await tx.execute(insert(assignments).from_select(["job_id", "type", "sandbox_id"], links))


async def clean(database: Database, directory: Path) -> tuple[float, float, int]:
    """Clean once; return the CPU seconds, the seconds, and how many were removed."""
    objects = _Emptied(directory, "http://x", b"k" * 32)
    room = Sandboxes(DatabaseUnits(database, WorkloadUnit), _Rules(), objects)
    async with database.write() as tx:
        entry = tx.enqueue(CLEAN_TASK)
    begun, cpu = time.monotonic(), time.process_time()
    await room.clean(str(entry))
    return time.process_time() - cpu, time.monotonic() - begun, objects.removed


async def measure(count: int, url: str | None) -> float:
    """Fill a database, clean twice, and print what it took; return the CPU of each sandbox looked at."""
    with tempfile.TemporaryDirectory() as directory:
        database = Database(url or f"sqlite:///{directory}/bench.db")
        await migrate(database, LOCATIONS)
        await fill(database, count)
        async with database.read() as tx:
            total = (await tx.execute(select(func.count()).select_from(sandboxes))).scalar_one()
        cpu, seconds, removed = await clean(database, Path(directory))
        looked = total // SLOTS * DUE_SLOTS
        each = cpu / looked
        print(f"{total:>10} sandboxes, {looked} due, {removed} removed: {seconds:.2f} s,"
              f" {cpu:.2f} s CPU, {each * 1e6:.1f} us each")  # fmt: skip
        cpu, seconds, removed = await clean(database, Path(directory))
        print(f"{'':>10} again, {removed} removed: {seconds * 1000:.1f} ms, {cpu * 1000:.1f} ms CPU")
        await database.close()
        return each


def main() -> None:
    """Measure for each number given."""
    url = next((word for word in sys.argv[1:] if ":" in word), None)
    counts = [int(word) for word in sys.argv[1:] if ":" not in word] or [100_000, 1_000_000]
    costs = [asyncio.run(measure(count, url)) for count in counts]
    print(f"growth of the cost of each from {counts[0]} to {counts[-1]}: {costs[-1] / costs[0]:.2f}")


if __name__ == "__main__":
    main()
