"""What a submission would do: a rehearsal's numbers are those of the real thing, and nothing is stored."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from dirac.core.errors import InvalidInputError
from dirac.db.tables import events
from dirac.systems.workload.logic.optimisation import Optimisation
from dirac.systems.workload.logic.rehearsal import MOST_RESOLVED, Rehearsals
from dirac.systems.workload.models import Rehearsal, RehearsedPlace
from dirac.systems.workload.store.tables import jobs
from dirac.testing.catalog import MemoryCatalog

from .support import person
from .support_running import SITE, Hall

ALICE = person("alice")


@pytest.fixture
def catalog() -> MemoryCatalog:
    return MemoryCatalog()


@pytest.fixture
def rehearsals(hall: Hall, catalog: MemoryCatalog) -> Rehearsals:
    optimisation = Optimisation(hall.all_units, hall.configuration, hall.classes, catalog)
    return Rehearsals(hall.units, hall.configuration, optimisation)


async def rehearsed(rehearsals: Rehearsals, *texts: str) -> Rehearsal:
    return await rehearsals.rehearse(ALICE, texts)


async def test_it_says_how_many_jobs_fit_where(hall: Hall, rehearsals: Rehearsals) -> None:
    found = await rehearsed(
        rehearsals,
        'Executable = "x"; JobName = "many"; Parameters = 5;',
        'Executable = "x"; JobName = "big"; NumberOfGPUs = 2;',
        'Executable = "x"; JobName = "last"; DependsOn = "many";',
    )
    assert (found.jobs, found.at_once, found.prepared_first, found.dependencies) == (7, 6, 1, 5)
    first, second = found.classes
    assert (first.jobs, first.name) == (6, "many")
    assert first.fitting == 1
    [place] = first.places
    assert place == RehearsedPlace(site=SITE, queues=1, slots=4)
    assert (second.jobs, second.fitting, second.places) == (1, 0, [])
    assert [effect.requirement for effect in second.requirements] == ["NumberOfGPUs"]
    assert second.suggestion is not None
    assert "lower NumberOfGPUs from 2 to 0" in second.suggestion.text
    async with hall.database.read() as tx:
        for table in (jobs, events):
            assert (await tx.execute(select(func.count()).select_from(table))).scalar_one() == 0


async def test_it_is_what_then_happens(hall: Hall, rehearsals: Rehearsals) -> None:
    text = "executable: x\nresources: {processors: {min: 1, max: 4}}\nparameter: 3"
    found = await rehearsed(rehearsals, text)
    submitted = await hall.submission.submit(ALICE, [text])
    assert found.at_once == len(submitted) == 3
    assert found.classes[0].fitting == 1
    assert (await hall.matched("p1")).job_id == submitted[0].JobID


async def test_input_data_are_looked_for(rehearsals: Rehearsals, catalog: MemoryCatalog) -> None:
    found = await rehearsed(rehearsals, 'Executable = "x"; InputData = "/astro/%s"; Parameters = {"a", "b"};')
    assert (found.at_once, found.prepared_first, found.classes) == (0, 2, [])
    assert {(each.jobs, each.minor_status) for each in found.obstacles} == {(1, "Input Data Not Available")}
    assert len(found.obstacles) == 2


async def test_a_huge_one_is_looked_at_in_part(rehearsals: Rehearsals, catalog: MemoryCatalog) -> None:
    count = MOST_RESOLVED + 10
    found = await rehearsed(rehearsals, f'Executable = "x"; InputData = "/astro/a"; Parameters = {count};')
    assert (found.jobs, found.prepared_first, found.not_looked_at) == (count, count, 10)
    assert found.obstacles[0].jobs == MOST_RESOLVED
    assert catalog.questions == [1]


async def test_what_would_be_refused_is_refused(rehearsals: Rehearsals) -> None:
    with pytest.raises(InvalidInputError, match="CPUTime") as caught:
        await rehearsed(rehearsals, 'Executable = "x";', 'Executable = "x"; CPUTime = 5;')
    assert caught.value.where == "jdl[1]"
    with pytest.raises(InvalidInputError, match=r"resources\.cpu_time = 5") as caught:
        await rehearsed(rehearsals, "jobs: [{executable: x}, {executable: y, resources: {cpu_time: 5}}]")
    assert caught.value.where == "jdl[0] jobs[1]"
    pfn = f"/S3/sandboxes/astro/users/alice/sha256:{'0' * 64}.tar.gz"
    with pytest.raises(InvalidInputError, match="there is no sandbox"):
        await rehearsed(rehearsals, f'Executable = "x"; InputSandbox = "SB:SandboxSE|{pfn}";')
