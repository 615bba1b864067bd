"""The built-in steps of the optimisation pipeline; what they decide is pure, see `Step`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dirac.core import plugins
from dirac.core.errors import InvalidInputError
from dirac.formats import lfn
from dirac.formats.description import JobDescription, from_jdl, to_jdl
from dirac.systems.configuration.models import StorageElement, Tree
from dirac.systems.workload.logic.rules import limits
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.ports.pipeline import (
    Candidate,
    Cause,
    Fail,
    Go,
    Hold,
    Needed,
    Step,
    Verdict,
    World,
)

KIND: Final = "dirac.optimiser"
DEPENDENCIES: Final = "Dependencies"
BUILT_IN: Final = frozenset({DEPENDENCIES, "JobSanity", "InputData", "JobScheduling"})
"""Steps that have nothing to say of a job without input data and dependencies that was checked already."""

_SHOWN: Final = 3
_GOOD: Final = frozenset({JobStatus.DONE, JobStatus.COMPLETED})
_BAD: Final = frozenset({JobStatus.FAILED, JobStatus.KILLED, JobStatus.DELETED})


def path_of(description: JobDescription, configured: Sequence[str]) -> list[str]:
    """Return the steps of a job: its own, or the configured ones; behind those for its dependencies."""
    path = list(description.job_path or configured)
    if description.depends_on and DEPENDENCIES not in path:
        path.insert(0, DEPENDENCIES)
    return path


def needs_pipeline(description: JobDescription, configured: Sequence[str]) -> bool:
    """Tell whether a job, checked by now, has to go through the pipeline before it may wait."""
    return bool(
        description.input_data
        or description.depends_on
        or not BUILT_IN.issuperset(description.job_path or configured)
    )


def load(name: str) -> Step:
    """Return a step.

    Raises:
        InvalidInputError: There is none of that name here.
    """
    step: Step = plugins.load(KIND, name)()
    return step


class Dependencies:
    """Lets a job go on when all that it depends on is done."""

    name = DEPENDENCIES
    minor_status = "Waiting for other jobs"

    async def judge(self, jobs: Sequence[Candidate], world: World) -> Sequence[Verdict]:  # noqa: ARG002
        """Return a verdict for each job, in their order."""
        return [after_others(job.needed) for job in jobs]


def after_others(needed: Sequence[Needed]) -> Verdict:
    """Judge a job by those that it depends on."""
    gone = [one for one in needed if one.status is None or one.status in _BAD]
    if gone:
        return Fail(cause=Cause.JOB_FAILED, detail=_listed([_shown_job(one) for one in gone], len(needed)))
    coming = [one for one in needed if one.status not in _GOOD]
    if coming:
        return Hold(cause=Cause.JOBS, detail=_listed([_shown_job(one) for one in coming], len(needed)))
    return Go()


def _shown_job(one: Needed) -> str:
    return f"job {one.job_id} ({one.name}) is {one.status or 'gone'}"


def _listed(items: Sequence[str], all_of: int) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{len(items)} of {all_of}: {', '.join(items[:_SHOWN])}{more}"


class JobSanity:
    """Checks a description once more: rules may have changed since it was submitted."""

    name = "JobSanity"
    minor_status = "Job Sanity"

    async def judge(self, jobs: Sequence[Candidate], world: World) -> Sequence[Verdict]:
        """Return a verdict for each job, in their order."""
        rules = limits(world.tree.workload)
        verdicts: list[Verdict] = []
        for job in jobs:
            try:
                from_jdl(to_jdl(job.description), rules)
                verdicts.append(Go())
            except InvalidInputError as error:
                verdicts.append(Fail(cause=Cause.ILLEGAL, detail=error.message))
        return verdicts


class InputData:
    """Finds the sites that have all input files of a job."""

    name = "InputData"
    minor_status = "Input Data Resolution"

    async def judge(self, jobs: Sequence[Candidate], world: World) -> Sequence[Verdict]:
        """Return a verdict for each job, in their order; the catalog is asked once per VO.

        Raises:
            UnavailableError: The catalog does not answer.
        """
        wanted: dict[str, dict[str, None]] = {}
        for job in jobs:
            names = map(lfn.strip_prefix, job.description.input_data)
            wanted.setdefault(job.vo, {}).update(dict.fromkeys(names))
        found = {vo: await world.catalog.locations(vo, list(lfns)) for vo, lfns in wanted.items() if lfns}
        return [
            resolve(job.description, found[job.vo], world.tree) if job.description.input_data else Go()
            for job in jobs
        ]


def resolve(description: JobDescription, locations: Mapping[str, Sequence[str]], tree: Tree) -> Verdict:
    """Decide where a job can read its input data.

    A site will do if each file is in a storage element that the site reads from. Sites that have all of them
    on disk come first; files that are on tape only have to be staged.

    Args:
        description: The job.
        locations: Storage elements that have each file.
        tree: Says which storage elements sites read from.
    """
    lfns = [lfn.strip_prefix(name) for name in description.input_data]
    unknown = [name for name in lfns if not locations.get(name)]
    if unknown:
        return Fail(cause=Cause.NO_DATA, detail=f"not in the catalog: {_listed(unknown, len(lfns))}")
    elements = tree.data.storage_elements
    on_disk = _sites_with_all(lfns, locations, elements, tape=False) & _allowed(description, tree)
    if on_disk:
        return Go(sites=frozenset(on_disk))
    anywhere = _sites_with_all(lfns, locations, elements, tape=True)
    if reachable := anywhere & _allowed(description, tree):
        detail = f"{len(lfns)} files; they can be staged at {', '.join(sorted(reachable)[:_SHOWN])}"
        return Hold(cause=Cause.TAPE, detail=detail, staging=True)
    if anywhere:
        some = ", ".join(sorted(anywhere)[:_SHOWN])
        return Fail(
            cause=Cause.NO_SITE, detail=f"all {len(lfns)} files are at {some}, which the job excludes"
        )
    return Fail(cause=Cause.NO_SITE, detail=_nearest(lfns, locations, elements))


def _allowed(description: JobDescription, tree: Tree) -> set[str]:
    sites = set(description.sites or tree.sites)
    return sites - set(description.banned_sites)


def _readers(places: Sequence[str], elements: Mapping[str, StorageElement], *, tape: bool) -> set[str]:
    """Return the sites that read from any of these storage elements."""
    known = [elements[place] for place in places if place in elements]
    return {site for element in known if tape or not element.tape for site in element.sites}


def _sites_with_all(
    lfns: Sequence[str],
    locations: Mapping[str, Sequence[str]],
    elements: Mapping[str, StorageElement],
    *,
    tape: bool,
) -> set[str]:
    return set.intersection(*(_readers(locations[name], elements, tape=tape) for name in lfns))


def _nearest(
    lfns: Sequence[str], locations: Mapping[str, Sequence[str]], elements: Mapping[str, StorageElement]
) -> str:
    """Say which site has most of the files."""
    counts: dict[str, int] = {}
    for name in lfns:
        for site in _readers(locations[name], elements, tape=True):
            counts[site] = counts.get(site, 0) + 1
    if not counts:
        return f"no site reads from the storage elements of the {len(lfns)} files"
    best = min(counts, key=lambda site: (-counts[site], site))
    return f"no site has all {len(lfns)} files; {best} has {counts[best]}"


class JobScheduling:
    """Restricts a job to the sites that earlier steps found, and that it allows itself."""

    name = "JobScheduling"
    minor_status = "Job Scheduling"

    async def judge(self, jobs: Sequence[Candidate], world: World) -> Sequence[Verdict]:
        """Return a verdict for each job, in their order."""
        return [schedule(job, world.tree) for job in jobs]


def schedule(job: Candidate, tree: Tree) -> Verdict:
    """Decide where a job may run: where it can, and where its description lets it."""
    if job.sites is None:
        return Go()
    allowed = job.sites & _allowed(job.description, tree)
    if not allowed:
        some = ", ".join(sorted(job.sites)[:_SHOWN])
        return Fail(cause=Cause.NO_SITE, detail=f"it could run at {some or 'no site'}, which it excludes")
    return Go(sites=frozenset(allowed))
