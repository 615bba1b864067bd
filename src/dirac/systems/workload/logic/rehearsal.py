"""What a submission would do, without doing it: which jobs it makes, which of them wait, and where they fit.

The same functions decide here as in the submission, the pipeline, matching and explanations.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from dirac.core.errors import InvalidInputError
from dirac.core.unit import Units
from dirac.formats import description as descriptions
from dirac.formats.description import UNDERSTOOD, Requirements, from_jdl
from dirac.formats.jdl import parse
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.access import may_use
from dirac.systems.workload.logic.explain import Comparison, effects, suggest
from dirac.systems.workload.logic.fitting import JobClass, fits
from dirac.systems.workload.logic.optimisation import Optimisation
from dirac.systems.workload.logic.planning import Place, places
from dirac.systems.workload.logic.preparation import Prepared, prepare
from dirac.systems.workload.models import Obstacle, Rehearsal, RehearsedClass, RehearsedPlace
from dirac.systems.workload.ports.pipeline import Candidate, Go, Handling
from dirac.systems.workload.ports.running import Configured
from dirac.systems.workload.ports.work import Owner, WorkUnit

MOST_RESOLVED = 500
"""Jobs whose input data are looked for; more would make a rehearsal as dear as the submission."""

_MOST_CLASSES = 50


class Rehearsals:
    """Says what submissions would do.

    Args:
        units: Transactions of the workload system.
        configuration: The rules, and the queues there are.
        optimisation: Judges jobs with input data.
    """

    def __init__(self, units: Units[WorkUnit], configuration: Configured, optimisation: Optimisation) -> None:
        self._units = units
        self._configuration = configuration
        self._optimisation = optimisation

    async def rehearse(self, identity: Identity, texts: Sequence[str]) -> Rehearsal:
        """Say what the submission of these descriptions would do; nothing is stored.

        Raises:
            InvalidInputError: It would be refused.
        """
        owner = Owner(vo=identity.vo, sub=identity.sub, username=identity.username, group=identity.group)
        tree = (await self._configuration.current()).tree
        prepared = await asyncio.to_thread(prepare, texts, owner, tree.workload)
        await self._check_archives(identity, prepared)
        needs = {one.digest: _needs(one.requirements) for one in prepared.classes}
        counted, names = _plainly(prepared)
        piped = [place for place, handling in prepared.handling.items() if handling & Handling.PIPED]
        looked_at = piped[:MOST_RESOLVED]
        obstacles: dict[tuple[str, str], int] = {}
        for place, (found, obstacle) in (await self._judge(owner, prepared, looked_at, tree)).items():
            if found is None:
                obstacles[obstacle] = obstacles.get(obstacle, 0) + 1
                continue
            digest = descriptions.digest(found, owner.vo, owner.group, owner.sub)
            needs[digest] = found
            counted[digest] += 1
            names.setdefault(digest, prepared.jobs[place].job_name)
        available = places(tree, owner.vo)
        common = counted.most_common(_MOST_CLASSES)
        return Rehearsal(
            jobs=len(prepared.jobs),
            at_once=len(prepared.jobs) - len(piped),
            prepared_first=len(piped),
            not_looked_at=len(piped) - len(looked_at),
            dependencies=len(prepared.needs),
            queues=len(available),
            classes=[
                _compared(owner, needs[digest], available, count, names[digest]) for digest, count in common
            ],
            more_classes=max(0, len(counted) - len(common)),
            obstacles=[
                Obstacle(jobs=count, minor_status=minor, detail=detail)
                for (minor, detail), count in sorted(obstacles.items(), key=lambda item: -item[1])
            ],
        )

    async def _check_archives(self, identity: Identity, prepared: Prepared) -> None:
        pfns = sorted({pfn for names in prepared.sandboxes for pfn in names})
        if not pfns:
            return
        async with self._units.read() as unit:
            found = await unit.sandboxes.find(pfns)
        for pfn in pfns:
            if pfn not in found or not may_use(identity, found[pfn]):
                raise InvalidInputError(f"there is no sandbox {pfn!r}", where="InputSandbox")

    async def _judge(
        self, owner: Owner, prepared: Prepared, looked_at: Sequence[int], tree: Tree
    ) -> Mapping[int, tuple[Requirements | None, tuple[str, str]]]:
        """Let the pipeline judge jobs, as if those that they depend on were done."""
        candidates = {}
        for place in looked_at:
            described = from_jdl(parse(prepared.jobs[place].jdl), UNDERSTOOD)
            candidates[place] = Candidate(
                job_id=place,
                vo=owner.vo,
                owner=owner.username,
                owner_group=owner.group,
                description=described,
            )
        judged = await self._optimisation.judge(candidates, tree)
        return {
            place: (one.needs(), ("", ""))
            if isinstance(one.verdict, Go)
            else (None, (str(one.verdict.cause), one.verdict.detail))
            for place, one in judged.items()
        }


def _needs(plain: Mapping[str, object]) -> Requirements:
    return msgspec.convert(plain, Requirements)


def _plainly(prepared: Prepared) -> tuple[Counter[str], dict[str, str]]:
    """Count jobs that would wait at once by class, with the name of one of them."""
    counted: Counter[str] = Counter()
    names: dict[str, str] = {}
    for place, job in enumerate(prepared.jobs):
        if not prepared.handling.get(place, Handling(0)) & Handling.PIPED:
            counted[job.digest] += 1
            names.setdefault(job.digest, job.job_name)
    return counted, names


def _compared(
    owner: Owner, needs: Requirements, available: Sequence[Place], count: int, name: str
) -> RehearsedClass:
    wanted = JobClass(0, owner.vo, owner.group, needs)
    compared = [Comparison(place.offer, fits(wanted, place.offer)) for place in available]
    fitting = [place for place, each in zip(available, compared, strict=True) if not each.reasons]
    return RehearsedClass(
        jobs=count,
        name=name,
        fitting=len(fitting),
        slots=sum(place.queue.max_running for place in fitting),
        places=[
            RehearsedPlace(
                site=site, queues=len(of_site), slots=sum(place.queue.max_running for place in of_site)
            )
            for site in sorted({place.site for place in fitting})
            if (of_site := [place for place in fitting if place.site == site])
        ],
        requirements=effects(compared),
        suggestion=suggest(wanted, compared),
    )
