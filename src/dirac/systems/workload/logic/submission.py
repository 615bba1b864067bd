"""Submission of jobs: any number of descriptions, all of them or none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import msgspec

from dirac.core.errors import ConflictError, InvalidInputError
from dirac.core.unit import Event, Units
from dirac.resources.storage.base import ObjectStore
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.access import may_use
from dirac.systems.workload.logic.preparation import ACCEPTED, WAITING, Prepared, digest_of, prepare
from dirac.systems.workload.logic.sandboxes import uploaded
from dirac.systems.workload.models import InsertedJob
from dirac.systems.workload.ports.work import Assignment, Owner, Rules, WorkUnit
from dirac.systems.workload.sandbox_names import SandboxName

STATUS_EVENT = "workload.job.status"

_KEY_LENGTH = 128
_TRIES = 5
_LIGHT = 4096  # characters


class Submission:
    """Takes jobs in.

    Args:
        units: Transactions of the workload system.
        rules: What is accepted.
        objects: Where archives are.
    """

    def __init__(self, units: Units[WorkUnit], rules: Rules, objects: ObjectStore) -> None:
        self._units = units
        self._rules = rules
        self._objects = objects

    async def submit(
        self, identity: Identity, jdls: Sequence[str], key: str | None = None
    ) -> list[InsertedJob]:
        """Submit the jobs of one or more descriptions, in one transaction.

        Args:
            identity: Whose jobs they become.
            jdls: Descriptions; a parametric one stands for many jobs.
            key: Names the request: its repetition, even at the same moment, gets the first one's answer.

        Raises:
            InvalidInputError: A description is at fault, or names an archive that its owner does not have.
            ConflictError: The key was used for another request.
        """
        owner = Owner(vo=identity.vo, sub=identity.sub, username=identity.username, group=identity.group)
        if key is None:
            return await self._take(identity, owner, jdls, None, "")
        _check_key(key)
        digest = digest_of(jdls, owner)
        tries = 0
        while True:
            async with self._units.read() as unit:
                answer = await unit.recall(_scope(identity), key, digest)
            if answer is not None:
                return msgspec.json.decode(answer, type=list[InsertedJob])
            try:
                return await self._take(identity, owner, jdls, key, digest)
            except ConflictError:
                # Its twin was faster: what it did is there to be recalled as soon as it has committed.
                tries += 1
                if tries == _TRIES:
                    raise

    async def _take(
        self, identity: Identity, owner: Owner, jdls: Sequence[str], key: str | None, digest: str
    ) -> list[InsertedJob]:
        rules = await self._rules.workload()
        prepared = (
            prepare(jdls, owner, rules)
            if _is_light(jdls)
            else await asyncio.to_thread(prepare, jdls, owner, rules)
        )
        pfns = sorted({pfn for names in prepared.sandboxes for pfn in names})
        seen = await self._seen(identity, pfns)
        async with self._units.write() as unit:
            archives = await _archives(unit, identity, pfns, seen)
            classes = await unit.jobs.ensure_classes(owner, prepared.classes)
            ids = await unit.jobs.insert(owner, prepared.jobs, classes)
            await unit.sandboxes.assign(
                [
                    Assignment(job_id=job_id, type="input", sandbox_id=archives[pfn])
                    for job_id, names in zip(ids, prepared.sandboxes, strict=True)
                    for pfn in names
                ]
            )
            answer = _record(unit, identity, ids, prepared)
            if key is not None:
                text = msgspec.json.encode(answer).decode()
                await unit.remember(_scope(identity), key, digest, text)
            return answer

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


def _record(unit: WorkUnit, identity: Identity, ids: Sequence[int], prepared: Prepared) -> list[InsertedJob]:
    """Write the events of new jobs, ask for pilots, and return what the caller is told."""
    answer = []
    for job_id, job in zip(ids, prepared.jobs, strict=True):
        waits = job.status == WAITING[0]
        for (status, minor_status), source in (
            [(ACCEPTED, "JobManager"), (WAITING, "JobScheduling")] if waits else [(ACCEPTED, "JobManager")]
        ):
            facts = {
                "Status": status,
                "MinorStatus": minor_status,
                "ApplicationStatus": "Unknown",
                "Source": source,
            }
            unit.record(
                Event(
                    kind=STATUS_EVENT,
                    vo=identity.vo,
                    subject_kind="job",
                    subject_id=str(job_id),
                    time=unit.now,
                    actor=identity.subject,
                    data=facts,
                )
            )
        answer.append(
            InsertedJob(JobID=job_id, Status=job.status, MinorStatus=job.minor_status, TimeStamp=unit.now)
        )
    if any(job.status == WAITING[0] for job in prepared.jobs):
        unit.enqueue("workload.start_pilots", {"vo": identity.vo}, key=f"start_pilots:{identity.vo}")
    return answer


def _is_light(jdls: Sequence[str]) -> bool:
    """Tell whether reading these takes no longer than handing them to a thread would."""
    return sum(map(len, jdls)) <= _LIGHT and not any("parameters" in text.lower() for text in jdls)


def _scope(identity: Identity) -> str:
    return "jobs:" + hashlib.sha256(identity.subject.encode()).hexdigest()


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= _KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidInputError(
            "the idempotency key is not usable", hint=f"Use 1 to {_KEY_LENGTH} printable ASCII characters"
        )
