"""The optimisation pipeline: what jobs go through before they may wait for a pilot.

Jobs that need nothing of it wait at once. The others are `Received`; their steps judge them, outside of a
transaction, and one transaction writes what came of it: the job waits, is held (`Checking`, or `Staging`
while files come from tape), or fails. All steps judge a job whenever it is looked at: meanwhile replicas,
rules and other jobs change, and a crash leaves nothing behind that would have to be put right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.core.unit import Units
from dirac.formats import description as descriptions
from dirac.formats.description import UNDERSTOOD, JobDescription, Requirements
from dirac.formats.jdl import parse
from dirac.systems.configuration.models import Tree
from dirac.systems.workload.logic.deeds import Deeds, standing_of
from dirac.systems.workload.logic.life_cycle import SYSTEM
from dirac.systems.workload.logic.pipeline_moves import IN_PIPELINE, decided, is_undecided, retried
from dirac.systems.workload.logic.rules import site_of
from dirac.systems.workload.logic.steps import load, path_of
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.pipeline import (
    Candidate,
    Catalog,
    Cause,
    Entry,
    Fail,
    Go,
    Handling,
    Hold,
    Step,
    Verdict,
    World,
)
from dirac.systems.workload.ports.running import Configured, JobRow, RunUnit
from dirac.systems.workload.ports.work import NewClass, Owner

_BATCH = 200
_MOST_BATCHES = 50
_ALL = Visibility()


class Judged(msgspec.Struct):
    """A job on its way through its steps.

    Attributes:
        passed: Steps that let it go on, as (name, minor status).
        verdict: The last one.
    """

    candidate: Candidate
    passed: list[tuple[str, str]] = []
    verdict: Verdict = Go()
    by: str = "JobPath"

    def needs(self) -> Requirements:
        """Return what the job needs after what the steps have found."""
        needs = descriptions.requirements(self.candidate.description)
        if self.candidate.sites is None:
            return needs
        sites = tuple(sorted(self.candidate.sites))
        return msgspec.structs.replace(needs, sites=sites, banned_sites=())


class Optimisation:
    """Takes jobs through the pipeline, and lets those know that depend on others.

    Args:
        units: Transactions of the workload system.
        configuration: Says which steps there are, and how long jobs are held.
        classes: The classes in memory.
        catalog: Where files are.
    """

    def __init__(
        self, units: Units[RunUnit], configuration: Configured, classes: Classes, catalog: Catalog
    ) -> None:
        self._units = units
        self._configuration = configuration
        self._classes = classes
        self._catalog = catalog

    async def advance(self, entry: str | None = None) -> int:
        """Look at all jobs that are due; return how many were decided about.

        Args:
            entry: The background task's outbox entry.
        """
        count = 0
        for _ in range(_MOST_BATCHES):
            tree = (await self._configuration.current()).tree
            async with self._units.read() as unit:
                due = await unit.pipeline.due(_BATCH)
                known = await _candidates(unit, due) if due else {}
                now = unit.now
            judged = await self._judge(known, World(tree, self._catalog, now))
            async with self._units.write() as unit:
                if due:
                    count += await self._write(unit, due, judged, tree)
                if entry is not None and len(due) < _BATCH:
                    unit.complete(entry)
            if len(due) < _BATCH:
                break
        return count

    async def judge(self, jobs: Mapping[int, Candidate], tree: Tree) -> dict[int, Judged]:
        """Judge jobs that are not there yet; what they depend on is left out of it."""
        async with self._units.read() as unit:
            world = World(tree, self._catalog, unit.now)
        return await self._judge(jobs, world)

    async def _judge(self, known: Mapping[int, Candidate | Fail], world: World) -> dict[int, Judged]:
        """Let all steps judge jobs; those with the same next step together."""
        judged = {}
        paths: dict[int, list[str]] = {}
        for job_id, found in known.items():
            if isinstance(found, Fail):
                nobody = Candidate(job_id=job_id, vo="", owner="", owner_group="", description=_NOTHING)
                judged[job_id] = Judged(nobody, verdict=found)
            else:
                judged[job_id] = Judged(found)
                paths[job_id] = path_of(found.description, world.tree.workload.job_path)
        while paths:
            name = next(iter(paths.values()))[0]
            ids = [job_id for job_id, path in paths.items() if path[0] == name]
            await _one_step(name, [judged[job_id] for job_id in ids], world)
            for job_id in ids:
                rest = paths.pop(job_id)[1:]
                if rest and isinstance(judged[job_id].verdict, Go):
                    paths[job_id] = rest
        return judged

    async def _write(
        self, unit: RunUnit, due: Sequence[Entry], judged: Mapping[int, Judged], tree: Tree
    ) -> int:
        ids = sorted(one.job_id for one in due)
        rows = await unit.runs.jobs(_ALL, ids, lock=True)
        turns = await unit.pipeline.turns(ids)
        mine = [one.job_id for one in due if turns.get(one.job_id) == one.turn]
        over = [job_id for job_id in mine if job_id not in rows or rows[job_id].status not in IN_PIPELINE]
        deeds = Deeds(unit, SYSTEM, tree.workload, self._classes)
        later: dict[int, datetime] = {}
        going: list[Judged] = []
        for job_id in mine:
            if job_id in over or job_id not in judged:
                continue
            one, row = judged[job_id], rows[job_id]
            if isinstance(one.verdict, Hold):
                seconds = one.verdict.seconds
                wait = tree.workload.hold_seconds if seconds is None else seconds
                later[job_id] = unit.now + timedelta(seconds=max(wait, 1))
            elif isinstance(one.verdict, Go):
                going.append(one)
            standing = standing_of(row, run=False)
            deeds.add(row, decided(standing, one.passed, one.verdict, one.by, unit.now))
        await self._place(unit, rows, going)
        await deeds.write()
        await unit.pipeline.postpone(later)
        await unit.pipeline.leave([job_id for job_id in mine if job_id not in later])
        return len(mine)

    async def _place(self, unit: RunUnit, rows: Mapping[int, JobRow], going: Sequence[Judged]) -> None:
        """Give jobs that may wait the class of what was found out."""
        found: dict[Owner, dict[str, NewClass]] = {}
        digests: dict[int, tuple[Owner, str, str]] = {}
        for one in going:
            job, needs = rows[one.candidate.job_id], one.needs()
            owner = Owner(vo=job.vo, sub=job.owner_sub, username=job.owner, group=job.owner_group)
            digest = descriptions.digest(needs, owner.vo, owner.group, owner.sub)
            found.setdefault(owner, {})[digest] = NewClass(digest, msgspec.to_builtins(needs))
            digests[job.job_id] = (owner, digest, site_of(needs.sites))
        ids = {
            owner: await unit.jobs.ensure_classes(owner, list(new.values())) for owner, new in found.items()
        }
        places = {
            job_id: (ids[owner][digest], site)
            for job_id, (owner, digest, site) in digests.items()
            if rows[job_id].class_id != ids[owner][digest] or rows[job_id].site != site
        }
        await unit.pipeline.place(places)

    async def follow(self, job_ids: Sequence[int], entry: str | None = None) -> None:
        """Do what the end of jobs brings about: another run of those that may, and news for dependents.

        Args:
            job_ids: Jobs that have ended.
            entry: The background task's outbox entry.
        """
        rules = (await self._configuration.current()).tree.workload
        async with self._units.write() as unit:
            rows = await unit.runs.jobs(_ALL, job_ids, lock=True)
            await self._classes.refresh(unit)
            failed = [row.job_id for row in rows.values() if is_undecided(row.status, row.minor_status)]
            texts = await unit.jobs.jdls(_ALL, failed) if failed else {}
            deeds = Deeds(unit, SYSTEM, rules, self._classes)
            for job_id in failed:
                row = rows[job_id]
                again = may_retry(_described(texts.get(job_id, "")), row, rules.max_retries)
                # This is the decision: a failure that it leaves is one.
                row = msgspec.structs.replace(row, handling=row.handling & ~Handling.RETRIED)
                judgement = retried(standing_of(row, run=False), again=again, now=unit.now)
                deeds.add(row, judgement, counter=row.reschedule_counter + 1 if again else None)
            await deeds.write()
            dependents = await unit.pipeline.dependents(job_ids)
            if dependents:
                await unit.pipeline.admit(dependents)
                ask(unit)
            if entry is not None:
                unit.complete(entry)


def ask(unit: RunUnit) -> None:
    """Ask for a look at the jobs that are due."""
    unit.enqueue("workload.advance_jobs", key="advance_jobs")


def may_retry(description: JobDescription | None, row: JobRow, most: int) -> bool:
    """Tell whether a failed job runs again by itself.

    Args:
        description: What it says of itself; None if it cannot be read.
        row: Where it is; its application status has the exit code.
        most: What the installation allows.
    """
    if description is None or description.max_retries is None:
        return False
    if row.reschedule_counter >= min(description.max_retries, most):
        return False
    codes = description.retry_exit_codes
    return not codes or any(row.application_status.endswith(f"(exit code {code})") for code in codes)


_NOTHING = JobDescription(executable="")


def _described(text: str) -> JobDescription | None:
    try:
        return descriptions.from_jdl(parse(text), UNDERSTOOD)
    except InvalidInputError:
        return None


async def _candidates(unit: RunUnit, due: Sequence[Entry]) -> dict[int, Candidate | Fail]:
    """Return the jobs of entries with all that steps may want to know of them."""
    ids = [one.job_id for one in due]
    rows = await unit.runs.jobs(_ALL, ids, lock=False)
    texts = await unit.jobs.jdls(_ALL, ids)
    needed = await unit.pipeline.needed(ids)
    found: dict[int, Candidate | Fail] = {}
    for job_id, row in rows.items():
        if row.status not in IN_PIPELINE:
            continue
        described = _described(texts.get(job_id, ""))
        if described is None:
            found[job_id] = Fail(cause=Cause.ILLEGAL, detail="the stored description cannot be read")
            continue
        found[job_id] = Candidate(
            job_id=job_id,
            vo=row.vo,
            owner=row.owner,
            owner_group=row.owner_group,
            description=described,
            needed=tuple(needed.get(job_id, ())),
        )
    return found


async def _one_step(name: str, jobs: Sequence[Judged], world: World) -> None:
    """Let one step judge jobs; if it cannot, they are held."""
    minor = name
    try:
        step: Step = load(name)
        minor = step.minor_status
        verdicts = await step.judge([one.candidate for one in jobs], world)
    except InvalidInputError as error:
        verdicts = [Hold(cause=Cause.STEP, detail=str(error))] * len(jobs)
    except UnavailableError as error:
        verdicts = [
            Hold(cause=Cause.CATALOG if name == "InputData" else Cause.STEP, detail=str(error))
        ] * len(jobs)
    for one, verdict in zip(jobs, verdicts, strict=True):
        one.verdict, one.by = verdict, name
        one.passed = [*one.passed, (name, minor)]
        if isinstance(verdict, Go) and verdict.sites is not None:
            before = one.candidate.sites
            sites = verdict.sites if before is None else before & verdict.sites
            one.candidate = msgspec.structs.replace(one.candidate, sites=sites)
