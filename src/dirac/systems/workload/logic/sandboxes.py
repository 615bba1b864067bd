"""Archives of input and output files: upload, download, and which job they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

from dirac.core.errors import ConflictError, NotFoundError, TooLargeError
from dirac.core.unit import Event, Units
from dirac.resources.storage.base import ObjectStore
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.access import (
    head_for_change,
    in_sight,
    is_of,
    may_use,
    no_such_job,
    no_such_sandbox,
)
from dirac.systems.workload.models import JobStatus, SandboxDownload, SandboxInfo, SandboxType, SandboxUpload
from dirac.systems.workload.policy import changeable, readable
from dirac.systems.workload.ports.work import (
    Assignment,
    JobHead,
    Owner,
    Rules,
    SandboxRecord,
    WorkUnit,
)
from dirac.systems.workload.sandbox_names import SandboxName

SANDBOX_EVENT = "workload.job.sandbox"
CLEAN_TASK = "workload.clean_sandboxes"

_URL_SECONDS = 300
_KEEP_UNUSED = timedelta(days=15)
_KEEP_ANNOUNCED = timedelta(days=1)
_BATCH = 1000  # what S3 removes with one call
_MOST_BATCHES = 500
_VERIFIED_AT_ONCE = 16
# When a run may still hand in results. A lost run is none of these, even while no other has begun.
_RUNNING = (
    JobStatus.MATCHED,
    JobStatus.RUNNING,
    JobStatus.STALLED,
    JobStatus.COMPLETING,
    JobStatus.COMPLETED,
)
_GONE = (JobStatus.KILLED, JobStatus.DELETED)


class Sandboxes:
    """Keeps account of archives; the bytes go between the client and the object store.

    Args:
        units: Transactions of the workload system.
        rules: How large an archive may be.
        objects: Where archives are.
    """

    def __init__(self, units: Units[WorkUnit], rules: Rules, objects: ObjectStore) -> None:
        self._units = units
        self._rules = rules
        self._objects = objects

    async def initiate(self, identity: Identity, info: SandboxInfo) -> SandboxUpload:
        """Announce an archive; the answer says where to upload it, unless it is there already.

        What a run of a job uploads becomes the property of the job's owner.

        Raises:
            TooLargeError: It is larger than the configuration allows.
            ConflictError: It comes from a run that is not the present one; or somebody else has the name.
        """
        most = (await self._rules.workload()).max_sandbox_bytes
        if info.size > most:
            raise TooLargeError(
                f"a sandbox of {info.size} bytes; at most {most} are accepted",
                hint="Put large files into storage, and name them in InputData or OutputData",
            )
        async with self._units.write() as unit:
            owner = await self._owner(unit, identity)
            name = SandboxName.of(owner, info)
            record = await unit.sandboxes.announce(owner, name.pfn, info.size)
            if not is_of(owner, record):
                raise ConflictError(f"the name {name.pfn!r} belongs to a former user of the same name")
        if await self._is_there(name, record):
            await self._note(record)
            return SandboxUpload(pfn=name.reference)
        ticket = await self._objects.presign_upload(
            name.key, size=info.size, sha256=info.checksum.lower(), expires_in=_URL_SECONDS
        )
        return SandboxUpload(pfn=name.reference, url=ticket.url, fields=ticket.fields)

    async def download(self, identity: Identity, pfn: str) -> SandboxDownload:
        """Return an address from which anybody who has it can get the archive, for a short time.

        Raises:
            NotFoundError: There is none; or it is neither the caller's nor an input of the caller's job.
            ConflictError: The caller is a run that is not the present one.
        """
        name = SandboxName.parse(pfn)
        async with self._units.read() as unit:
            record = (await unit.sandboxes.find([name.pfn])).get(name.pfn)
            if record is None or not await self._may_read(unit, identity, record):
                raise no_such_sandbox(pfn)
        if record.stored is None and not await self._is_there(name, record):
            raise NotFoundError(f"the sandbox {pfn!r} was announced, but never uploaded")
        url = await self._objects.presign_download(name.key, expires_in=_URL_SECONDS)
        return SandboxDownload(url=url, expires_in=_URL_SECONDS)

    async def assign_output(self, identity: Identity, job_id: int, pfn: str) -> None:
        """Make an uploaded archive an output of a job's present run; doing so again changes nothing.

        Raises:
            NotFoundError: There is no such job or no such archive of its owner.
            ConflictError: The run is over, or another one has begun.
        """
        name = SandboxName.parse(pfn)
        here = bool(await uploaded(self._objects, [name]))
        async with self._units.write() as unit:
            await unit.jobs.lock([job_id])
            head = await head_for_change(unit, identity, job_id)
            record = (await unit.sandboxes.find([name.pfn], lock=True)).get(name.pfn)
            if record is None or not is_of(head.owner, record) or not here:
                raise no_such_sandbox(pfn)
            if (job_id, "output", name.pfn) in await unit.sandboxes.assigned([job_id], "output"):
                return
            _check_takes_outputs(identity, head)
            await unit.sandboxes.mark_stored([record.sandbox_id])
            link = Assignment(
                job_id=job_id, type="output", sandbox_id=record.sandbox_id, attempt=head.attempt
            )
            await unit.sandboxes.assign([link])
            _record(unit, identity, head, {"Type": "output", "Assigned": name.pfn})

    async def assigned(
        self, identity: Identity, job_id: int, kind: SandboxType | None = None
    ) -> dict[SandboxType, list[str]]:
        """Return the names of a job's archives, by type.

        Raises:
            NotFoundError: There is no such job.
        """
        async with self._units.read() as unit:
            if identity.kind == "job":
                await head_for_change(unit, identity, job_id)
            elif job_id not in await unit.jobs.heads(readable(identity), [job_id]):
                raise no_such_job(job_id)
            found = await unit.sandboxes.assigned([job_id], kind)
        names: dict[SandboxType, list[str]] = {"input": [], "output": []}
        for _, type_, pfn in found:
            names["input" if type_ == "input" else "output"].append(pfn)
        return names

    async def unassign(self, identity: Identity, job_ids: Sequence[int]) -> None:
        """Take all archives from jobs; those that no job has are deleted after a while.

        Raises:
            NotFoundError: One of the jobs does not exist; then nothing is done.
        """
        async with self._units.write() as unit:
            heads = await unit.jobs.heads(changeable(identity), job_ids)
            for job_id in job_ids:
                if job_id not in heads:
                    raise no_such_job(job_id)
            lost: dict[int, list[str]] = {}
            for job_id, _, pfn in await unit.sandboxes.assigned(job_ids):
                lost.setdefault(job_id, []).append(pfn)
            await unit.sandboxes.unassign(job_ids)
            for job_id, names in lost.items():
                _record(unit, identity, heads[job_id], {"Unassigned": names})

    async def clean(self, entry: str) -> None:
        """Delete archives that no job needs: assigned to none for 15 days, or never uploaded for one.

        Objects are deleted while their records are locked and count as not stored: whoever announces or
        uses the same archive meanwhile waits, and then finds that it has to be uploaded again. What is left
        after so many batches is another entry's.

        Args:
            entry: The outbox entry that asked for it.
        """
        for _ in range(_MOST_BATCHES):
            async with self._units.write() as unit:
                old = await unit.sandboxes.review(unit.now - _KEEP_UNUSED, _BATCH)
                await unit.sandboxes.mark_missing([record.sandbox_id for record in old.unused])
            async with self._units.write() as unit:
                lost = await unit.sandboxes.review(unit.now - _KEEP_ANNOUNCED, _BATCH, missing=True)
                if lost.unused:
                    await self._objects.delete([SandboxName.parse(record.pfn).key for record in lost.unused])
                    await unit.sandboxes.delete([record.sandbox_id for record in lost.unused])
                if max(old.seen, lost.seen) < _BATCH:
                    unit.complete(entry)
                    return
        async with self._units.write() as unit:
            unit.enqueue(CLEAN_TASK)
            unit.complete(entry)

    async def _owner(self, unit: WorkUnit, identity: Identity) -> Owner:
        if identity.kind == "job" and identity.job_id is not None:
            return (await head_for_change(unit, identity, identity.job_id)).owner
        return Owner(vo=identity.vo, sub=identity.sub, username=identity.username, group=identity.group)

    async def _may_read(self, unit: WorkUnit, identity: Identity, record: SandboxRecord) -> bool:
        if identity.kind == "job" and identity.job_id is not None:
            await head_for_change(unit, identity, identity.job_id)
            inputs = await unit.sandboxes.assigned([identity.job_id], "input")
            return any(pfn == record.pfn for _, _, pfn in inputs)
        return in_sight(readable(identity), record) or may_use(identity, record)

    async def _is_there(self, name: SandboxName, record: SandboxRecord) -> bool:
        if record.stored is None:
            return bool(await uploaded(self._objects, [name]))
        return bool(await self._objects.exists([name.key]))

    async def _note(self, record: SandboxRecord) -> None:
        if record.stored is None:
            async with self._units.write() as unit:
                await unit.sandboxes.mark_stored([record.sandbox_id])


async def uploaded(objects: ObjectStore, names: Iterable[SandboxName]) -> set[str]:
    """Return the PFNs of those archives that were uploaded with the content that their names promise."""
    turns = asyncio.Semaphore(_VERIFIED_AT_ONCE)

    async def look(name: SandboxName) -> str | None:
        async with turns:
            return name.pfn if await objects.verify(name.key, sha256=name.sha256) else None

    return {pfn for pfn in await asyncio.gather(*map(look, names)) if pfn is not None}


def _check_takes_outputs(identity: Identity, head: JobHead) -> None:
    run = identity.kind in ("pilot", "job")
    if head.status in _GONE or (run and head.status not in _RUNNING):
        raise ConflictError(
            f"job {head.job_id} is {head.status}: its results are not wanted any more",
            hint="Only a run that is in progress hands in results",
        )


def _record(unit: WorkUnit, identity: Identity, head: JobHead, facts: dict[str, object]) -> None:
    unit.record(
        Event(
            kind=SANDBOX_EVENT,
            vo=head.owner.vo,
            subject_kind="job",
            subject_id=str(head.job_id),
            time=unit.now,
            actor=identity.subject,
            attempt=head.attempt or None,
            data=facts,
        )
    )
