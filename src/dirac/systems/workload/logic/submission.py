"""Submission of jobs: any number of descriptions, all of them or none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from dirac.core.errors import ConflictError, InvalidInputError, TooManyRequestsError
from dirac.core.unit import Event, Units
from dirac.resources.storage.base import ObjectStore
from dirac.systems.configuration.models import Workload
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.access import may_use
from dirac.systems.workload.logic.gathering import Descriptions, Gathered, Room
from dirac.systems.workload.logic.preparation import ACCEPTED, WAITING, Prepared
from dirac.systems.workload.logic.sandboxes import uploaded
from dirac.systems.workload.logic.series import Series
from dirac.systems.workload.logic.waiting import Signals
from dirac.systems.workload.models import InsertedJob
from dirac.systems.workload.ports.pipeline import Handling
from dirac.systems.workload.ports.work import Assignment, Owner, Rules, WorkUnit
from dirac.systems.workload.sandbox_names import SandboxName

STATUS_EVENT = "workload.job.status"

# How a job's history begins: one that has nothing to pass through waits from its first moment on.
_BEGINNINGS: dict[str, dict[str, Any]] = {
    status: {"Status": status, "MinorStatus": minor, "ApplicationStatus": "Unknown", "Source": "JobManager"}
    for status, minor in (ACCEPTED, WAITING)
}
PILOTS_EVERY = timedelta(seconds=1)
"""Pilots are planned this often at most for a VO, however fast jobs come."""
_COMMITTED_WITHIN = timedelta(seconds=0.5)
"""A submission of few jobs takes far less; pilots for one that does not are planned half a minute later."""
_FEW = 1000

_KEY_LENGTH = 128
_TRIES = 5
_MOST_CLASSES = 10_000
_PAUSE_WHEN_FULL = 60.0


class Submission:
    """Takes jobs in.

    Args:
        units: Transactions of the workload system.
        rules: What is accepted.
        objects: Where archives are.
        signals: Tells pilots of this process that there may be work.
    """

    def __init__(self, units: Units[WorkUnit], rules: Rules, objects: ObjectStore, signals: Signals) -> None:
        self._units = units
        self._rules = rules
        self._objects = objects
        self._signals = signals
        self._classes: dict[str, int] = {}
        self._room = Room()
        self._series = Series()
        self._planned: dict[str, datetime] = {}

    async def submit(
        self, identity: Identity, jdls: Descriptions, key: str | None = None
    ) -> list[InsertedJob]:
        """Submit the jobs of one or more descriptions, in one transaction.

        Args:
            identity: Whose jobs they become.
            jdls: Descriptions; a parametric one stands for many jobs.
            key: Names the request: its repetition, even at the same moment, gets the first one's answer.

        Raises:
            InvalidInputError: A description is at fault, or names an archive that its owner does not have.
            TooLargeError: They are too many jobs.
            TooManyRequestsError: Too many of them wait already, or too many large ones come at this moment.
            ConflictError: The key was used for another request.
        """
        if key is not None:
            _check_key(key)
        owner = Owner(vo=identity.vo, sub=identity.sub, username=identity.username, group=identity.group)
        rules = await self._rules.workload()
        with Gathered(owner, rules, self._room, self._series) as gathered:
            await gathered.take(jdls)
            tries = 0
            while True:
                if key is not None:
                    async with self._units.read() as unit:
                        answer = await unit.recall(_scope(identity), key, gathered.digest)
                    if answer is not None:
                        return msgspec.json.decode(answer, type=list[InsertedJob])
                if gathered.error is not None:
                    raise gathered.error
                await self._check_room(owner, rules, gathered.number)
                try:
                    return await self._take(identity, owner, gathered, key)
                except ConflictError:
                    # Its twin was faster: what it did is there to be recalled as soon as it has committed.
                    tries += 1
                    if key is None or tries == _TRIES:
                        raise

    async def _check_room(self, owner: Owner, rules: Workload, number: int) -> None:
        """Refuse jobs that would be more than a VO or a user may have waiting."""
        limits = (
            (f"the VO {owner.vo}", None, rules.max_waiting_jobs_of_vo),
            ("you", owner.sub, rules.max_waiting_jobs_of_user),
        )
        for who, sub, most in limits:
            if most is None:
                continue
            async with self._units.read() as unit:
                waiting = await unit.jobs.count_waiting(owner.vo, sub)
            if waiting + number > most:
                raise TooManyRequestsError(
                    f"{number} jobs are too many: {who} may have {most} waiting, and {waiting} are",
                    hint="Wait until some of them have run, or delete some",
                    retry_after=_PAUSE_WHEN_FULL,
                )

    async def _take(
        self, identity: Identity, owner: Owner, gathered: Gathered, key: str | None
    ) -> list[InsertedJob]:
        seen: set[str] = set()
        for prepared in gathered.batches():
            seen |= await self._seen(identity, prepared.archives)
        classes: dict[str, int] = {}
        answer: list[InsertedJob] = []
        planned: datetime | None = None
        async with self._units.write() as unit:
            for prepared in gathered.batches():
                archives = await _archives(unit, identity, prepared.archives, seen)
                classes |= await self._classes_of(unit, owner, prepared)
                ids = await unit.jobs.insert(owner, prepared.jobs, classes)
                await unit.sandboxes.assign(
                    [
                        Assignment(job_id=job_id, type="input", sandbox_id=archives[pfn])
                        for job_id, names in zip(ids, prepared.sandboxes, strict=True)
                        for pfn in names
                    ]
                )
                await _admit(unit, ids, prepared)
                answer += _record(unit, identity, ids, prepared)
            waiting = any(job.Status == WAITING[0] for job in answer)
            if waiting:
                planned = self._ask_for_pilots(unit, identity.vo, len(answer))
            if key is not None:
                text = msgspec.json.encode(answer).decode()
                await unit.remember(_scope(identity), key, gathered.digest, text)
        self._classes |= classes  # they are committed, and never change
        if planned is not None:
            self._planned[identity.vo] = planned
        elif waiting:
            self._signals.wake()
        return answer

    async def _classes_of(self, unit: WorkUnit, owner: Owner, prepared: Prepared) -> dict[str, int]:
        """Return the identifiers of the jobs' classes; most are known from earlier submissions."""
        if len(self._classes) > _MOST_CLASSES:
            self._classes.clear()
        known = {
            one.digest: self._classes[one.digest] for one in prepared.classes if one.digest in self._classes
        }
        new = [one for one in prepared.classes if one.digest not in known]
        return known | await unit.jobs.ensure_classes(owner, new) if new else known

    def _ask_for_pilots(self, unit: WorkUnit, vo: str, jobs: int) -> datetime | None:
        """Have pilots planned at once, or with the next whole second if that was done a moment ago.

        Returns:
            When; None if it was asked for, and is to begin, after these jobs are there to be seen.
        """
        key, begin = f"start_pilots:{vo}", unit.now
        last = self._planned.get(vo)
        if last is not None and last + PILOTS_EVERY > unit.now:
            visible = unit.now + _COMMITTED_WITHIN
            if jobs <= _FEW and visible < last:
                return None
            # A key of its own: nobody may bring it forward.
            begin = visible.replace(microsecond=0) + PILOTS_EVERY
            key = f"{key}:{begin:%H%M%S}"
        delay = (begin - unit.now).total_seconds()
        unit.enqueue("workload.start_pilots", {"vo": vo}, key=key, delay=delay)
        return begin

    async def _seen(self, identity: Identity, pfns: Sequence[str]) -> set[str]:
        """Return those archives that the object store has, if we did not know yet."""
        if not pfns:
            return set()
        async with self._units.read() as unit:
            found = await unit.sandboxes.find(pfns)
        unknown = [
            SandboxName.parse(pfn)
            for pfn, record in found.items()
            if record.stored is None and may_use(identity, record)
        ]
        return await uploaded(self._objects, unknown)


async def _archives(
    unit: WorkUnit, identity: Identity, pfns: Sequence[str], seen: set[str]
) -> dict[str, int]:
    """Return the identifiers of archives, all of which must be there and the caller's own."""
    if not pfns:
        return {}
    found = await unit.sandboxes.find(pfns, lock=True)
    for pfn in pfns:
        record = found.get(pfn)
        usable = record is not None and may_use(identity, record)
        if not usable or (record is not None and record.stored is None and pfn not in seen):
            raise InvalidInputError(
                f"there is no sandbox {pfn!r}",
                where="InputSandbox",
                hint="Upload it before submitting the job",
            )
    await unit.sandboxes.mark_stored([found[pfn].sandbox_id for pfn in pfns if found[pfn].stored is None])
    return {pfn: found[pfn].sandbox_id for pfn in pfns}


async def _admit(unit: WorkUnit, ids: Sequence[int], prepared: Prepared) -> None:
    """Note what has to be done for jobs that are not just to wait."""
    if not prepared.handling:
        return
    await unit.pipeline.handle({ids[place]: handling for place, handling in prepared.handling.items()})
    await unit.pipeline.depend([(ids[place], ids[needed]) for place, needed in prepared.needs])
    piped = [ids[place] for place, handling in prepared.handling.items() if handling & Handling.PIPED]
    if piped:
        await unit.pipeline.admit(piped)
        unit.enqueue("workload.advance_jobs", key="advance_jobs")


def _record(unit: WorkUnit, identity: Identity, ids: Sequence[int], prepared: Prepared) -> list[InsertedJob]:
    """Write the events of new jobs, and return what the caller is told."""
    answer, now, actor = [], unit.now, identity.subject
    for job_id, job in zip(ids, prepared.jobs, strict=True):
        unit.record(
            Event(
                kind=STATUS_EVENT,
                vo=identity.vo,
                subject_kind="job",
                subject_id=str(job_id),
                time=now,
                actor=actor,
                data=_BEGINNINGS[job.status],
            )
        )
        answer.append(
            InsertedJob(JobID=job_id, Status=job.status, MinorStatus=job.minor_status, TimeStamp=now)
        )
    return answer


def _scope(identity: Identity) -> str:
    return "jobs:" + hashlib.sha256(identity.subject.encode()).hexdigest()


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= _KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidInputError(
            "the idempotency key is not usable", hint=f"Use 1 to {_KEY_LENGTH} printable ASCII characters"
        )
