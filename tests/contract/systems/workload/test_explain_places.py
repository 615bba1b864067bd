"""Why jobs do or do not come to a pilot or a site, told from what is stored."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Property
from dirac.systems.workload.logic import explain_places
from dirac.systems.workload.logic.fitting import Dimension
from dirac.systems.workload.models import (
    Held,
    PilotMetadata,
    PilotRegistration,
    PilotStatus,
    WhyWaiting,
)
from dirac.testing.time import FakeClock

from .support import person, pilot
from .support_running import SITE, TREE, Hall

ALICE, BOB = person(), person("bob")
BOSS = person("boss", "astro", Property.JOB_ADMINISTRATOR)
ROOT = person("root", "admin", Property.SERVICE_ADMINISTRATOR)
BIO = person("alice", "bio")
FACTORY = person("factory", "astro", Property.GENERIC_PILOT)
PLAIN = 'Executable = "x";'
CLOSED = {*map(str, Dimension), *map(str, WhyWaiting)}


def job(more: str) -> str:
    return PLAIN + more


def kept(held: Iterable[Held]) -> list[tuple[str, int, int]]:
    assert {each.reason for each in held} <= CLOSED
    return [(each.reason, each.jobs, each.jobs_alone) for each in held]


def configured(hall: Hall, **site: Any) -> None:
    tree = copy.deepcopy(TREE)
    tree["sites"][SITE] |= site
    tree["virtual_organisations"]["astro"]["groups"]["idle"] = {"background": True}
    hall.configuration.tree = msgspec.convert(tree, Tree)


async def started(hall: Hall) -> str:
    """Have the factory start pilots; returns the stamp of one."""
    await hall.factory.start("astro")
    return str((await hall.pilot_rows())[0].pilot_stamp)


async def test_a_pilot_is_told_by_what_it_has_and_by_what_keeps_jobs_away(hall: Hall) -> None:
    await hall.submitted(ALICE, PLAIN, PLAIN)
    stamp = await started(hall)
    await hall.submitted(ALICE, job('Tags = "GPU";'), job('Tags = "GPU"; NumberOfProcessors = 4;'))
    await hall.submitted(ALICE, job('Tags = "SSD";'), job('BannedSites = "LCG.Here.fr";'))
    found = await hall.system.explain_places.pilot(ALICE, stamp)
    assert (found.pilot_stamp, found.site, found.ce, found.queue) == (stamp, SITE, "ce", "q")
    assert (found.waiting, found.fitting, found.at_least) == (6, 2, False)
    assert kept(found.reasons) == [("Tags", 3, 2), ("BannedSites", 1, 1), ("NumberOfProcessors", 1, 0)]
    tags, banned, processors = found.reasons
    assert (tags.wanted, tags.offered, processors.wanted, processors.offered) == (
        "GPU, SSD",
        "none",
        "4",
        "1",
    )
    assert tags.text == "3 jobs ask for GPU, SSD; offered is none."
    assert banned.text == f"1 job does not want to run at {SITE}."
    assert "has not begun to work. Of 6 waiting jobs of yours, 2 fit." in found.text
    assert found.offer is not None
    assert found.measured is None
    assert (found.offer.processors, found.offer.cpu_time) == (1, 86400)


async def test_what_a_pilot_measured_counts_more_than_its_queue(hall: Hall) -> None:
    await hall.submitted(ALICE, job("MinRAM = 3000;"))
    stamp = await started(hall)
    assert (await hall.system.explain_places.pilot(ALICE, stamp)).fitting == 1
    assert (await hall.ask(stamp, max_ram=2000)).job is None
    found = await hall.system.explain_places.pilot(ALICE, stamp)
    assert found.measured == hall.clock.now()
    assert kept(found.reasons) == [("MinRAM", 1, 1)]
    assert found.reasons[0].offered == "2000"


async def test_a_pilot_by_its_reference(hall: Hall) -> None:
    await hall.submitted(ALICE)
    stamp = await started(hall)
    reference = f"scripted://ce/{stamp}"
    found = await hall.system.explain_places.pilot(ALICE, reference)
    assert (found.pilot_stamp, found.pilot_reference) == (stamp, reference)
    for new in ("a", "b"):
        await hall.pilots.register(
            FACTORY, PilotRegistration(pilot_stamp=new, vo="astro", pilot_reference="7")
        )
    with pytest.raises(InvalidInputError) as several:
        await hall.system.explain_places.pilot(ALICE, "7")
    assert several.value.hint == "Name a stamp: a, b"


async def test_pilots_without_a_place_and_pilots_that_have_ended(hall: Hall) -> None:
    await hall.submitted(ALICE)
    await hall.pilots.register(FACTORY, PilotRegistration(pilot_stamp="p1", vo="astro"))
    found = await hall.system.explain_places.pilot(ALICE, "p1")
    assert (found.offer, found.reasons) == (None, [])
    assert "once it has asked this server for work" in found.text
    job_id = (await hall.matched("p1")).job_id
    found = await hall.system.explain_places.pilot(ALICE, "p1")
    assert (found.job_id, found.status) == (job_id, "Running")
    assert f"The pilot runs job {job_id}. No job of yours waits." in found.text
    over = PilotMetadata(Status=PilotStatus.FAILED, StatusReason="node died")
    await hall.pilots.set_metadata(pilot("p1"), {"p1": over})
    found = await hall.system.explain_places.pilot(ALICE, "p1")
    assert (found.text, found.reasons) == ("The pilot is Failed (node died); it gets no more jobs.", [])


async def test_nobody_sees_more_than_they_may(hall: Hall) -> None:
    configured(hall)
    await hall.submitted(ALICE, job('Tags = "GPU";'), PLAIN)
    stamp = await started(hall)
    await hall.submitted(BOB, *[job('Tags = "GPU";')] * 3, PLAIN)
    await hall.submitted(BIO, *[PLAIN] * 5)
    places = hall.system.explain_places
    alice, bob = await places.pilot(ALICE, stamp), await places.pilot(BOB, stamp)
    assert (alice.own_only, alice.waiting, alice.fitting) == (True, 2, 1)
    assert kept(alice.reasons) == [("Tags", 1, 1)]
    # That others come first is told, as a number of users.
    assert kept(bob.reasons) == [("Tags", 3, 3), ("Share", 1, 1)]
    assert bob.reasons[-1].text == "By their shares, it is the turn of 1 other user first."
    for who in (BOSS, ROOT):
        whole = await places.pilot(who, stamp)
        assert (whole.own_only, whole.waiting, whole.fitting) == (False, 6, 2)
    site = await places.site(ALICE, SITE)
    assert (site.vo, site.waiting, site.queues[0].fitting) == ("astro", 2, 1)
    assert (await places.site(BIO, SITE)).waiting == 5
    assert (await places.site(ROOT, SITE, "bio")).waiting == 5
    for who, name in ((BIO, stamp), (ALICE, "nobody"), (ALICE, "")):
        with pytest.raises(NotFoundError):
            await places.pilot(who, name)
    for who, vo in ((BOSS, "bio"), (BIO, "astro"), (ROOT, None), (person(vo="lost"), None)):
        with pytest.raises(NotFoundError):
            await places.site(who, SITE, vo)
    with pytest.raises(NotFoundError):
        await places.site(ALICE, "LCG.There.fr")


async def test_limits_keep_jobs_away_and_the_background_comes_last(hall: Hall, clock: FakeClock) -> None:
    limits = {
        "sim": {"job_type": "Simulation", "max_running": 0},
        "slow": {"job_type": "Slow", "delay": 60},
        "theirs": {"vo": "bio", "max_running": 0},
    }
    configured(hall, limits=limits)
    await hall.submitted(BOB, *[job('JobType = "Slow";')] * 3)
    await hall.matched("p0")
    clock.advance(1)
    await hall.submitted(ALICE, *[job('JobType = "Simulation";')] * 2, PLAIN)
    await hall.submitted(person("carol", group="idle"), PLAIN)
    stamp = await started(hall)
    expected = [("RunningLimit", 2, 2), ("MatchingDelay", 2, 2), ("Background", 1, 1)]
    found = await hall.system.explain_places.pilot(BOSS, stamp)
    assert kept(found.reasons) == expected
    assert (found.waiting, found.fitting) == (6, 6)
    assert "4 of these a limit keeps away now" in found.text
    site = await hall.system.explain_places.site(BOSS, SITE)
    assert kept(site.reasons) == expected
    shown = {each.name: (each.running, each.waiting, each.closed) for each in site.limits}
    assert shown == {
        "sim": (0, 2, WhyWaiting.RUNNING_LIMIT),
        "slow": (1, 2, WhyWaiting.MATCHING_DELAY),
    }
    # Whose jobs run there is told to those who may see them.
    alices = {each.name: each.running for each in (await hall.system.explain_places.site(ALICE, SITE)).limits}
    assert alices == {"sim": 0, "slow": 0}


async def test_a_site(hall: Hall) -> None:
    queues = {
        "small": {"max_waiting": 1},
        "large": {"processors": 8, "tags": ["Large"], "required_tags": ["Large"]},
    }
    configured(hall, computing_elements={"ce": {"type": "scripted", "queues": queues}})
    await hall.submitted(ALICE, job(f'Site = "{SITE}";'), PLAIN)
    await hall.submitted(ALICE, job('NumberOfProcessors = 4; Tags = {"Large", "GPU"};'))
    found = await hall.system.explain_places.site(ALICE, SITE)
    assert (found.waiting, found.fitting, found.only_here) == (3, 2, 1)
    # It is the large queue that the last one misses by one tag only.
    assert kept(found.reasons) == [("Tags", 1, 1), ("NoPilot", 2, 2)]
    assert found.reasons[0].wanted == "GPU"
    assert [(each.queue, each.fitting, each.takes_pilots) for each in found.queues] == [
        ("large", 0, "yes"),
        ("small", 2, "yes"),
    ]
    await started(hall)
    await hall.matched("p1")
    await hall.running("p2")
    found = await hall.system.explain_places.site(ALICE, SITE)
    assert [(each.queue, each.pilots_waiting, each.takes_pilots) for each in found.queues] == [
        ("large", 0, "yes"),
        ("small", 1, "full"),
    ]
    assert found.jobs == {"Matched": 1, "Running": 1}
    assert kept(found.reasons) == [("Tags", 1, 1)]
    assert (await hall.system.explain_places.site(BOB, SITE)).jobs == {}


async def test_an_explanation_costs_the_same_whatever_waits(
    hall: Hall, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain_places, "MOST", 5)
    await hall.submitted(ALICE, PLAIN, job('Tags = "GPU";'))
    stamp = await started(hall)
    places = hall.system.explain_places
    asked = (lambda: places.pilot(BOSS, stamp), lambda: places.site(BOSS, SITE))
    few: list[int] = []
    for ask in asked:
        clock.advance(2)
        with hall.counted() as statements:
            await ask()
        few.append(len(statements))
    await hall.submitted(ALICE, *[PLAIN] * 40, *[job('Tags = "GPU";')] * 40)
    for ask, before in zip(asked, few, strict=True):
        clock.advance(2)
        with hall.counted() as statements:
            found = await ask()
        # Two classes, of each so many: no job beyond these is looked at.
        assert (found.waiting, found.fitting, found.at_least) == (10, 5, True)
        assert "Of at least 10 waiting jobs of astro, at least 5 fit" in found.text
        assert len(statements) <= before <= 10
