"""Worker nodes that start pilots themselves: what they are given, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import DBAPIError

from dirac.core.errors import ConflictError, DiracError, NotAllowedError, NotFoundError
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.store.pilots import PilotSecretStore
from dirac.systems.workload.models import (
    NodeAnswer,
    NodePilotEnd,
    NodeReport,
    NodeRequest,
    PilotMetadata,
    PilotStatus,
)
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

from .support import node, person, pilot
from .support_running import SITE, TREE, Hall

ALICE = person()
BOB = person("bob", "bio")
JOB = 'Executable = "x";'
OTHER = "LCG.There.fr"
FARM = {
    "type": "node",
    "queues": {
        "q": {"max_running": 5, "max_waiting": 5, "processors": 1, "max_ram": 1000, "wall_time": 1000}
    },
}


@pytest.fixture
def farm(hall: Hall) -> Hall:
    """A site with worker nodes that ask, for two VOs, and another one for one VO."""
    sites = {
        SITE: {"virtual_organisations": ["astro", "bio"], "computing_elements": {"farm": FARM}},
        OTHER: {"virtual_organisations": ["bio"], "computing_elements": {"farm": FARM, "ce": {"type": "x"}}},
    }
    configure(hall, {**TREE, "sites": sites})
    return hall


def configure(hall: Hall, tree: dict[str, Any]) -> None:
    hall.configuration.tree = msgspec.convert(tree, Tree)


def request(request_id: str = "r1", **facts: Any) -> NodeRequest:
    has = {"node": "wn1", "slots": 2, "processors": 8, "memory_mb": 8000, "disk_mb": 10_000}
    return NodeRequest(**(has | {"request_id": request_id} | facts))


async def ask(hall: Hall, request_id: str = "r1", site: str = SITE, **facts: Any) -> NodeAnswer:
    return await hall.nodes.ask(node(site), request(request_id, **facts))


def vos(answer: NodeAnswer) -> list[str]:
    return sorted(each.vo for each in answer.pilots)


def stamps(answer: NodeAnswer) -> list[str]:
    return [each.stamp for each in answer.pilots]


async def test_a_node_gets_pilots_for_waiting_jobs_and_only_then(farm: Hall) -> None:
    idle = await ask(farm, "r0")
    assert (idle.pilots, idle.stop) == ([], [])
    assert idle.ask_again > 0, "who does not wait is told to come back later"
    await farm.submitted(ALICE, JOB)
    (given,) = (await ask(farm)).pilots
    assert (given.vo, given.queue, given.processors, given.max_ram_mb, given.wall_seconds) == (
        "astro", "q", 1, 1000, 1000,
    )  # fmt: skip
    assert (
        given.arguments
        == f"-n {SITE} -N farm -Q q --wnVO astro --pilotUUID {given.stamp} -u http://server".split()
    )
    assert given.settings["max_ram_mb"] == 1000
    assert given.secret not in " ".join(given.arguments) + str(given.settings)
    (row,) = await farm.pilot_rows()
    assert (row.status, row.pilot_reference) == ("Submitted", f"node://wn1/{given.stamp}")
    async with farm.database.read() as tx:
        stored = await PilotSecretStore(tx).find(given.stamp)
    assert stored is not None
    assert stored.secret_digest == farm.words.digest(given.stamp)
    assert (await ask(farm, "r2", running=[given.stamp])).pilots == [], "one is on its way"


async def test_the_factory_submits_nothing_to_nodes(farm: Hall) -> None:
    await farm.submitted(ALICE, JOB)
    assert await farm.factory.start("astro") == 0
    assert await farm.pilot_rows() == []


async def test_what_is_free_on_the_node_is_a_limit(farm: Hall) -> None:
    await farm.submitted(ALICE, *[JOB] * 20)
    assert (await ask(farm, "r1", processors=0)).pilots == []
    assert (await ask(farm, "r2", disk_mb=10)).pilots == []
    assert (await ask(farm, "r3", memory_mb=900)).pilots == []
    assert (await ask(farm, "r4", slots=0)).pilots == []
    assert len((await ask(farm, "r5", slots=9, memory_mb=2500)).pilots) == 2


async def test_the_limits_of_the_queue_hold_for_all_nodes_together(farm: Hall, clock: FakeClock) -> None:
    await farm.submitted(ALICE, *[JOB] * 20)
    first = await ask(farm, "r1", slots=3)
    second = await ask(farm, "r1", slots=9, node="wn2")
    assert (len(first.pilots), len(second.pilots)) == (3, 2)
    clock.advance(2)
    assert (await ask(farm, "r1", node="wn3")).pilots == []


async def test_vos_share_a_node(farm: Hall) -> None:
    await farm.submitted(ALICE, *[JOB] * 10)
    await farm.submitted(BOB, *[JOB] * 10)
    assert vos(await ask(farm, slots=4)) == ["astro", "astro", "bio", "bio"]


async def test_a_site_starts_no_pilots_of_a_vo_that_it_does_not_serve(farm: Hall) -> None:
    await farm.submitted(ALICE, JOB)
    assert (await ask(farm, site=OTHER)).pilots == []
    await farm.submitted(BOB, JOB)
    assert vos(await ask(farm, "r2", site=OTHER)) == ["bio"]


async def test_no_pilots_for_jobs_that_do_not_fit(farm: Hall) -> None:
    await farm.submitted(ALICE, f'{JOB} Tags = {{ "GPU" }};', f'{JOB} Site = "{OTHER}";')
    assert (await ask(farm)).pilots == []


async def test_a_repeated_request_gets_the_same_pilots_and_makes_none(farm: Hall) -> None:
    await farm.submitted(ALICE, *[JOB] * 3)
    first, again = await ask(farm), await ask(farm)
    assert first.pilots == again.pilots
    farm.restart()
    assert (await ask(farm)).pilots == first.pilots
    assert len(await farm.pilot_rows()) == 2


async def test_tries_of_one_request_at_the_same_time_agree(farm: Hall) -> None:
    await farm.submitted(ALICE, *[JOB] * 5)
    answers = await asyncio.gather(*(ask(farm) for _ in range(4)))
    assert len({tuple(stamps(answer)) for answer in answers}) == 1
    assert len(await farm.pilot_rows()) == 2


async def test_pilots_whose_answer_was_lost_for_good_are_given_up(farm: Hall) -> None:
    await farm.submitted(ALICE, *[JOB] * 2)
    await ask(farm)
    other = await ask(farm, "r1", node="wn2", slots=0)
    assert other.stop == []
    assert {row.status for row in await farm.pilot_rows()} == {"Submitted"}, (
        "of another node: not its concern"
    )
    new = await ask(farm, "r2")
    assert [row.status for row in await farm.pilot_rows()] == ["Deleted"] * 2 + ["Submitted"] * 2
    assert len(new.pilots) == 2, "jobs do not wait for pilots that never were"


async def test_a_pilot_that_a_node_has_no_more_loses_its_run_at_once(farm: Hall) -> None:
    await farm.submitted(ALICE, JOB)
    (stamp,) = stamps(await ask(farm))
    job_id = (await farm.running(stamp)).job_id or 0
    await ask(farm, "r2", slots=0, running=[])
    assert [row.status for row in await farm.pilot_rows()] == ["Failed"]
    assert await farm.life.expire_leases() == 1
    assert await farm.status(job_id) == "Waiting"


async def test_the_end_of_a_pilot_is_noted_once_and_gives_its_job_back(farm: Hall) -> None:
    await farm.submitted(ALICE, *[JOB] * 2)
    bad, good = stamps(await ask(farm))
    job_id = (await farm.running(bad)).job_id or 0
    ended = {
        bad: NodePilotEnd(exit_code=137, reason="out of memory"),
        good: NodePilotEnd(exit_code=0),
        "nobody": NodePilotEnd(exit_code=0),
    }
    receipt = await farm.nodes.report(node(), NodeReport(node="wn1", ended=ended))
    assert (receipt.noted, receipt.unknown) == (sorted([bad, good]), ["nobody"])
    rows = {row.pilot_stamp: (row.status, row.status_reason) for row in await farm.pilot_rows()}
    assert rows == {bad: ("Failed", "exit code 137: out of memory"), good: ("Done", "exit code 0")}
    assert await farm.life.expire_leases() == 1
    assert await farm.status(job_id) == "Waiting"
    late = NodeReport(node="wn1", ended={bad: NodePilotEnd(exit_code=0)})
    assert (await farm.nodes.report(node(), late)).noted == [bad]
    assert {row.status for row in await farm.pilot_rows()} == {"Failed", "Done"}, "the first word counts"


async def test_a_credential_reaches_no_pilot_of_another_site_element_or_node(farm: Hall) -> None:
    await farm.submitted(ALICE, JOB)
    (stamp,) = stamps(await ask(farm))
    report = NodeReport(node="wn1", ended={stamp: NodePilotEnd(exit_code=1)})
    assert (await farm.nodes.report(node(OTHER), report)).unknown == [stamp]
    assert (await farm.nodes.report(node(SITE, "ce"), report)).unknown == [stamp]
    twin = msgspec.structs.replace(report, node="wn2")
    assert (await farm.nodes.report(node(), twin)).unknown == [stamp]
    await ask(farm, "r2", site=OTHER)
    assert [row.status for row in await farm.pilot_rows()] == ["Submitted"]
    assert (await farm.nodes.place(node(OTHER))).virtual_organisations == ["bio"]


async def test_a_pilot_without_a_living_record_is_to_be_stopped(farm: Hall, clock: FakeClock) -> None:
    await farm.submitted(ALICE, JOB)
    (stamp,) = stamps(await ask(farm))
    done = {stamp: PilotMetadata(Status=PilotStatus.DONE)}
    await farm.pilots.set_metadata(pilot(stamp), done)
    assert (await ask(farm, "r2", slots=0, running=[stamp])).stop == [], "it has just said good-bye"
    clock.advance(200)
    assert (await ask(farm, "r3", slots=0, running=[stamp, "alien"])).stop == [stamp, "alien"]


async def test_a_waiting_node_is_woken_by_a_submission(farm: Hall) -> None:
    waiting = asyncio.create_task(ask(farm, wait=30))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await farm.submitted(ALICE, JOB)
    answer = await asyncio.wait_for(waiting, 5)
    assert vos(answer) == ["astro"]


async def test_a_launcher_that_starts_anew_ends_its_old_request(farm: Hall) -> None:
    assert (await ask(farm, "first")).pilots == []  # so that nothing has to be opened or loaded below
    old = asyncio.create_task(ask(farm, "old", wait=30))
    await asyncio.sleep(0.2)
    new = asyncio.create_task(ask(farm, "new", wait=30))
    await asyncio.sleep(0.2)
    await farm.submitted(ALICE, JOB, JOB)
    assert (await asyncio.wait_for(old, 5)).pilots == []
    assert len((await asyncio.wait_for(new, 5)).pilots) == 2


async def test_the_pilots_of_a_silent_node_are_given_up(farm: Hall, clock: FakeClock) -> None:
    await farm.submitted(ALICE, JOB)
    (stamp,) = stamps(await ask(farm))
    clock.advance(500)
    await ask(farm, "r2", slots=0, running=[stamp])
    clock.advance(500)
    await farm.factory.check()
    assert [row.status for row in await farm.pilot_rows()] == ["Submitted"], "heard of 500 s ago"
    clock.advance(200)
    await farm.factory.check()
    (row,) = await farm.pilot_rows()
    assert (row.status, row.status_reason) == (
        "Failed",
        "its worker node has not been heard of for ten minutes",
    )


async def test_nodes_of_elements_that_are_submitted_to_are_refused(farm: Hall) -> None:
    configure(farm, TREE)
    with pytest.raises(ConflictError, match="pilots are submitted to 'ce'"):
        await farm.nodes.ask(node(SITE, "ce"), request())
    with pytest.raises(NotFoundError, match="no computing element 'gone'"):
        await farm.nodes.ask(node(SITE, "gone"), request())
    with pytest.raises(NotFoundError):
        await farm.nodes.place(node("LCG.Nowhere.fr"))


@pytest.mark.parametrize("lost", [False, True])
async def test_nothing_is_lost_or_doubled_when_any_operation_fails(farm: Hall, *, lost: bool) -> None:
    faults = FailNth(farm.database)
    await farm.submitted(ALICE, *[JOB] * 2)
    for n in range(1, 100):
        farm.restart()
        with faults.failing(n, lost=lost):
            try:
                first = await ask(farm, f"r{n}")
            except (DiracError, DBAPIError):
                first = None
        again = await ask(farm, f"r{n}")
        rows = [row.pilot_stamp for row in await farm.pilot_rows() if row.status == "Submitted"]
        assert sorted(stamps(again)) == sorted(rows)
        assert len(rows) == 2
        if not faults.fired:
            assert first == again
            break
    assert n > 5


# Renewal


async def test_a_token_is_renewed_within_the_time_of_the_queue(farm: Hall, clock: FakeClock) -> None:
    await farm.submitted(ALICE, JOB)
    (stamp,) = stamps(await ask(farm))
    tree = msgspec.to_builtins(farm.configuration.tree) | {"pilot": {"token_seconds": 300}}
    configure(farm, tree)
    async with farm.database.write() as tx:
        await PilotSecretStore(tx).use(stamp, tx.now)
    assert (await farm.renewal.renew(pilot(stamp))).expires_in == 300
    clock.advance(800)
    last = await farm.renewal.renew(pilot(stamp))
    assert (last.expires_in, last.access_token) == (200, f"token of pilot {stamp} of astro for 200")
    clock.advance(200)
    with pytest.raises(NotAllowedError, match="1000 seconds that its queue allows"):
        await farm.renewal.renew(pilot(stamp))


async def test_only_a_living_pilot_of_the_vo_is_renewed(farm: Hall) -> None:
    await farm.submitted(ALICE, JOB)
    (stamp,) = stamps(await ask(farm))
    with pytest.raises(NotAllowedError, match="no record"):
        await farm.renewal.renew(pilot("unknown"))
    with pytest.raises(NotAllowedError, match="no record"):
        await farm.renewal.renew(pilot(stamp, "bio"))
    await farm.nodes.report(node(), NodeReport(node="wn1", ended={stamp: NodePilotEnd(exit_code=0)}))
    with pytest.raises(ConflictError, match="is Done"):
        await farm.renewal.renew(pilot(stamp))
