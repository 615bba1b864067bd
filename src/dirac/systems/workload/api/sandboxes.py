"""Routes for archives of input and output files, and for the store that keeps them on this server."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Depends, Query, Request
from starlette.responses import FileResponse, Response

from dirac.resources.storage.directory import DOWNLOAD_FIELDS, UPLOAD_FIELDS, DirectoryStore
from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.api.form import open_form
from dirac.systems.workload.api.jobs import JobIdInPath
from dirac.systems.workload.logic.sandboxes import Sandboxes
from dirac.systems.workload.models import (
    JobIds,
    JobSandboxes,
    SandboxDownload,
    SandboxInfo,
    SandboxType,
    SandboxUpload,
)
from dirac.transport.routing import MAX_BODY, Body, SystemRouter, allowed, body, open_to_all, provided
from dirac.transport.wire import encode

router = SystemRouter("/api/jobs", "jobs")
store_router = SystemRouter("/api/sandbox-store", "sandbox-store")

TheStore = Annotated[DirectoryStore, provided(DirectoryStore)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
TheSandboxes = Annotated[Sandboxes, provided(Sandboxes)]
Changer = Annotated[Identity, allowed(policy.change_jobs)]
Downloader = Annotated[Identity, allowed(policy.download_sandbox)]
_BARE = (b"SB:", b"/S3/")
_ARCHIVE = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in UPLOAD_FIELDS} | {"file": _ARCHIVE},
    "required": [*UPLOAD_FIELDS, "file"],
}
_UPLOAD = {"requestBody": {"content": {"multipart/form-data": {"schema": _FORM}}, "required": True}}
_DOWNLOAD = {
    "parameters": [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
        for name in DOWNLOAD_FIELDS
    ]
}
_CONTENT = {"application/octet-stream": {"schema": _ARCHIVE}}
_SENT: dict[int | str, dict[str, Any]] = {200: {"content": _CONTENT}}
_SIGNED = open_to_all("the address is signed, and expires after minutes")


class PfnBody(Body):
    """A name as a JSON string; DiracX's published client sends it without quotes."""

    def read(self, content: bytes) -> Any:
        """Return the name."""
        bare = content.startswith(_BARE)
        return super().read(encode(content.decode(errors="replace")) if bare else content)


@router.post("/sandbox")
async def initiate_sandbox_upload(
    caller: Annotated[Identity, allowed(policy.upload_sandbox)],
    sandboxes: TheSandboxes,
    info: Annotated[SandboxInfo, body(SandboxInfo)],
) -> SandboxUpload:
    """Announce an archive: the answer says where to upload it, unless it is there already."""
    return await sandboxes.initiate(caller, info)


@router.get("/sandbox")
async def get_sandbox_file(
    caller: Downloader, sandboxes: TheSandboxes, pfn: Annotated[str, Query(min_length=1, max_length=512)]
) -> SandboxDownload:
    """Say where an archive can be had."""
    return await sandboxes.download(caller, pfn)


@router.post("/sandbox/unassign", status_code=204)
async def unassign_bulk_jobs_sandboxes(
    caller: Changer, sandboxes: TheSandboxes, jobs: Annotated[JobIds, body(JobIds)]
) -> None:
    """Take all archives from jobs."""
    await sandboxes.unassign(caller, jobs.job_ids)


@router.get("/{job_id}/sandbox")
async def get_job_sandboxes(caller: Downloader, sandboxes: TheSandboxes, job_id: JobIdInPath) -> JobSandboxes:
    """Show the archives of a job."""
    found = await sandboxes.assigned(caller, job_id)
    return JobSandboxes(Input=found["input"], Output=found["output"])


@router.get("/{job_id}/sandbox/{sandbox_type}")
async def get_job_sandbox(
    caller: Downloader, sandboxes: TheSandboxes, job_id: JobIdInPath, sandbox_type: SandboxType
) -> list[str]:
    """Show the archives of one type of a job."""
    return (await sandboxes.assigned(caller, job_id, sandbox_type))[sandbox_type]


@router.patch("/{job_id}/sandbox/output")
async def assign_sandbox_to_job(
    caller: Annotated[Identity, allowed(policy.update_jobs)],
    sandboxes: TheSandboxes,
    job_id: JobIdInPath,
    pfn: Annotated[str, Depends(PfnBody(Name, MAX_BODY))],
) -> None:
    """Make an uploaded archive an output of a job."""
    await sandboxes.assign_output(caller, job_id, pfn)


@router.delete("/{job_id}/sandbox")
async def unassign_job_sandboxes(caller: Changer, sandboxes: TheSandboxes, job_id: JobIdInPath) -> None:
    """Take all archives from a job."""
    await sandboxes.unassign(caller, [job_id])


@store_router.post("/upload", status_code=204, dependencies=[_SIGNED], openapi_extra=_UPLOAD)
async def upload(request: Request, store: TheStore) -> None:
    """Take an archive: a multipart form of the fields of the announcement's answer, and then the file."""
    fields, content = await open_form(request.stream(), request.headers.get("content-type", ""))
    await store.receive(store.verify_upload(fields), content)


@store_router.get(
    "/download", dependencies=[_SIGNED], response_class=Response, responses=_SENT, openapi_extra=_DOWNLOAD
)
async def download(request: Request, store: TheStore) -> FileResponse:
    """Hand out an archive."""
    path = store.verify_download(request.query_params)
    return FileResponse(path, media_type="application/octet-stream")
