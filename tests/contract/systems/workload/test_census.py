"""Counting what an installation has, on each database."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import insert

from dirac.server.census import count, find_task
from dirac.systems.identity.models import Property
from dirac.systems.identity.store.tables import keys, proxies
from dirac.systems.workload.models import PilotRegistration
from dirac.testing.time import FakeClock

from .support import person
from .support_running import SITE, Hall

JDL = 'Executable = "/bin/echo";'
OPERATOR = person("root", "astro", Property.GENERIC_PILOT)


async def test_an_empty_installation_has_nothing(hall: Hall) -> None:
    found = await count(hall.database)
    assert found["dirac_jobs"] == {}
    assert found["dirac_pilots"] == {}
    assert found["dirac_outbox_oldest_pending_seconds"] == {(): 0.0}


async def test_jobs_and_pilots_are_counted_by_vo_and_state(hall: Hall) -> None:
    await hall.submitted(person(), JDL, JDL)
    await hall.submitted(person("bob", "bio"), JDL)
    for stamp in ("p1", "p2"):
        pilot = PilotRegistration(pilot_stamp=stamp, vo="astro", grid_site=SITE)
        await hall.pilots.register(OPERATOR, pilot)
    await hall.matched("p1")
    found = await count(hall.database)
    assert found["dirac_pilots"] == {("astro", SITE, "Running"): 1, ("astro", SITE, "Submitted"): 1}
    assert found["dirac_jobs"] == {("astro", "Waiting"): 1, ("astro", "Matched"): 1, ("bio", "Waiting"): 1}


async def test_work_that_is_not_done_is_counted_with_how_long_it_waits(hall: Hall, clock: FakeClock) -> None:
    async with hall.database.write() as tx:
        entry_id = tx.enqueue("test.work")
        tx.enqueue("test.work", delay=300)
    assert (await find_task(hall.database, entry_id)).name == "test.work"
    clock.advance(40)
    found = await count(hall.database)
    assert found["dirac_outbox_entries"] == {("Pending",): 2}
    assert found["dirac_outbox_oldest_pending_seconds"] == {(): 40.0}
    async with hall.database.write() as tx:
        tx.complete(entry_id)
    found = await count(hall.database)
    assert found["dirac_outbox_entries"] == {("Pending",): 1}
    assert found["dirac_outbox_oldest_pending_seconds"] == {(): 0.0}, "what is for later does not wait"
    assert found["dirac_census_timestamp_seconds"] == {(): clock.now().timestamp()}


async def test_what_ends_is_told_before(hall: Hall, clock: FakeClock) -> None:
    async def ending() -> tuple[object, object]:
        found = await count(hall.database, timedelta(days=2))
        return found["dirac_signing_key_start_timestamp_seconds"], found["dirac_proxies"]

    assert await ending() == ({}, {})
    now = clock.now()
    row = {"sub": "s", "subject": "/CN=s", "limited": False, "chain": b"", "sealed": b"", "created": now}
    ends = (("astro", "a", 1), ("astro", "b", 1), ("astro", "c", 3), ("bio", "a", 3), ("bio", "b", -1))
    async with hall.database.write() as tx:
        for age in (40, 10):
            key = {"kid": f"k{age}", "sealed": b"", "created": now, "signs_from": now - timedelta(days=age)}
            await tx.execute(insert(keys).values(key))
        for vo, group, days in ends:
            given = {
                "vo": vo,
                "dirac_group": group,
                "proxy_id": f"{vo}{group}",
                "expires": now + timedelta(days),
            }
            await tx.execute(insert(proxies).values(row | given))
    assert await ending() == (
        {(): (now - timedelta(days=10)).timestamp()},
        {("astro", "soon"): 2, ("astro", "later"): 1, ("bio", "later"): 1},
    )
