"""Why a job does or does not run, told from what is stored."""

from __future__ import annotations

import copy

import msgspec
import pytest

from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.models import Explanation, JobStatus, JobStatusUpdate, WhyWaiting

from .support import person
from .support_running import SITE, TREE, Hall

ALICE = person()


async def test_a_job_that_can_never_run(hall: Hall) -> None:
    (job_id,) = await hall.submitted(ALICE, 'Executable = "x"; Tags = {"GPU"}; NumberOfProcessors = 2;')
    found = await hall.explain.explain(ALICE, job_id)
    assert (found.status, found.queues, found.fitting, found.waiting_before) == ("Waiting", 1, 0, 0)
    assert "cannot run" in found.text
    assert {(each.requirement, each.removes, each.removes_alone) for each in found.requirements} == {
        ("Tags", 1, 0),
        ("NumberOfProcessors", 1, 0),
    }
    assert found.suggestion is not None
    assert found.suggestion.change == {"Tags": "", "NumberOfProcessors": "1"}


async def test_a_job_that_waits_its_turn(hall: Hall) -> None:
    ids = await hall.submitted(ALICE, *[f'Executable = "x"; Priority = {number};' for number in (1, 5, 1)])
    await hall.submitted(person(vo="bio"), 'Executable = "x"; Priority = 9;')
    found = await hall.explain.explain(ALICE, ids[2])
    assert (found.fitting, found.waiting_before, found.suggestion) == (1, 2, None)
    assert "1 of 1 queues fit, and 2 waiting jobs of the same owner come before it" in found.text


def reasons(found: Explanation) -> list[tuple[WhyWaiting, int]]:
    return [(each.reason, each.number) for each in found.reasons]


async def test_why_a_job_waits(hall: Hall) -> None:
    tree = copy.deepcopy(TREE)
    tree["sites"][SITE]["limits"] = {"sim": {"job_type": "Simulation", "max_running": 0}}
    tree["virtual_organisations"]["astro"]["groups"]["idle"] = {"background": True}
    hall.configuration.tree = msgspec.convert(tree, Tree)
    bob, lazy = person("bob"), msgspec.structs.replace(person("carol"), group="idle")
    (first, second) = await hall.submitted(ALICE, *['Executable = "x";'] * 2)
    (limited,) = await hall.submitted(bob, 'Executable = "x"; JobType = "Simulation";')
    (background,) = await hall.submitted(lazy)
    (impossible,) = await hall.submitted(bob, 'Executable = "x"; Tags = "GPU";')

    async def told(who: Identity, job_id: int) -> list[tuple[WhyWaiting, int]]:
        return reasons(await hall.explain.explain(who, job_id))

    assert await told(ALICE, first) == [(WhyWaiting.NO_PILOT, 1)]
    assert await told(ALICE, second) == [(WhyWaiting.OWN_JOBS, 1)]
    assert await told(bob, limited) == [(WhyWaiting.RUNNING_LIMIT, 1), (WhyWaiting.SHARE, 1)]
    assert await told(lazy, background) == [(WhyWaiting.BACKGROUND, 1), (WhyWaiting.SHARE, 2)]
    assert await told(bob, impossible) == [(WhyWaiting.NO_QUEUE_FITS, 1)]
    await hall.matched("p1")
    assert (await told(ALICE, second))[0] == (WhyWaiting.SHARE, 1), "it is bob's turn"


async def test_an_explanation_takes_a_constant_number_of_statements(hall: Hall) -> None:
    (job_id,) = await hall.submitted(ALICE)
    with hall.counted() as few:
        await hall.explain.explain(ALICE, job_id)
    await hall.submitted(ALICE, *[f'Executable = "x"; CPUTime = {cpu};' for cpu in (360, 1800)] * 20)
    with hall.counted() as many:
        await hall.explain.explain(ALICE, job_id)
    assert len(many) <= len(few) + 1 <= 13, "but for the new classes"


async def test_a_vo_without_sites(hall: Hall) -> None:
    (job_id,) = await hall.submitted(person(vo="lost"))
    found = await hall.explain.explain(person(vo="lost"), job_id)
    assert "No site serves lost" in found.text
    assert reasons(found) == [(WhyWaiting.NO_SITE, 0)]


async def test_a_failed_job_shows_what_was_recorded(hall: Hall) -> None:
    await hall.submitted(ALICE)
    who = await hall.running()
    job_id = who.job_id or 0
    await hall.life.set_metadata(who, {job_id: {"StandardErrorTail": "Segmentation fault\n"}})
    update = JobStatusUpdate(
        Status=JobStatus.FAILED,
        MinorStatus="Application Finished With Errors",
        ApplicationStatus="Failed (exit code 139)",
    )
    await hall.life.set_statuses(who, {job_id: {hall.clock.now(): update}})
    found = await hall.explain.explain(ALICE, job_id)
    assert "Application Finished With Errors (Failed (exit code 139)), in run 1 at LCG.Here.fr" in found.text
    assert "Segmentation fault" in found.text


@pytest.mark.parametrize("status", sorted(JobStatus))
async def test_every_state_has_words(hall: Hall, status: JobStatus) -> None:
    (job_id,) = await hall.submitted(ALICE)
    boss = person("boss", "astro", Property.JOB_ADMINISTRATOR)
    forced = {job_id: {hall.clock.now(): JobStatusUpdate(Status=status)}}
    await hall.life.set_statuses(boss, forced, force=True)
    found = await hall.explain.explain(ALICE, job_id)
    assert found.status == status
    assert found.text.endswith(".")


async def test_when_a_job_may_start(hall: Hall) -> None:
    ids = await hall.submitted(ALICE, *['Executable = "x";'] * 12)
    await hall.submitted(ALICE, 'Executable = "x"; CPUTime = 360;', 'Executable = "x"; Priority = 9;')
    assert (await hall.explain.explain(ALICE, ids[-1])).forecast is None, "nothing has started yet"
    for number in range(9):
        hall.clock.advance(60)
        await hall.matched(f"p{number}")
    found = (await hall.explain.explain(ALICE, ids[-1])).forecast
    assert found is not None
    assert (found.started, found.before) == (8, 3), "that of another priority tells nothing of these"
    assert found.earliest < found.likely < found.latest
    running = await hall.explain.explain(ALICE, ids[0])
    assert running.forecast is None
