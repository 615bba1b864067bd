# Generated from dirac/client/aio/sandboxes.py by python -m dirac.client._generate; do not edit.
"""Sandboxes: the files that travel with jobs, as archives that are named by their content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from dirac.core.errors import DiracError, InvalidInputError, NotAllowedError, UnavailableError
from dirac.systems.workload.models import SandboxDownload, SandboxInfo, SandboxType, SandboxUpload
from dirac.transport.http_client_sync import HttpClient, Progress

PREFIX = "SB:SandboxSE|"
_CHECKSUM = re.compile(r"/sha256:([0-9a-f]{64})\.[a-z0-9.]+$")
_FORMATS = ("tar.gz", "tar.bz2", "tar.zst")


class Sandboxes:
    """Calls about sandboxes. A PFN may be given with or without ``SB:SandboxSE|`` in front."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def initiate(self, info: SandboxInfo) -> SandboxUpload:
        """Ask where an archive goes; without `url` in the answer it is there already.

        Raises:
            TooLargeError: It is larger than the installation accepts.

        Example::

            target = client.sandboxes.initiate(
                SandboxInfo(checksum=digest, size=size, format="tar.gz")
            )
        """
        return self._http.call("POST", "/api/jobs/sandbox", SandboxUpload, body=info, repeatable=True)

    def upload(self, path: Path, *, progress: Progress | None = None) -> str:
        """Upload an archive, unless the server has it, and return its reference for a JDL.

        Args:
            path: A file whose name ends in ``tar.gz``, ``tar.bz2`` or ``tar.zst``.
            progress: Called with the bytes sent and the bytes in all.

        Raises:
            InvalidInputError: It cannot be read, is empty, or its name ends otherwise.
            TooLargeError: It is larger than the installation accepts.

        Example::

            reference = client.sandboxes.upload(Path("input.tar.gz"))  # SB:SandboxSE|/S3/...
        """
        info = describe(path)
        target = self.initiate(info)
        if target.url is not None:
            try:
                self._http.upload(target.url, target.fields, path, progress=progress)
            except NotAllowedError:
                # A signature lives for minutes; tries that went on for longer need a new one.
                target = self.initiate(info)
                if target.url is not None:
                    self._http.upload(target.url, target.fields, path, progress=progress)
        return PREFIX + strip(target.pfn)

    def download(self, pfn: str, path: Path, *, progress: Progress | None = None) -> None:
        """Download an archive, and compare what came with the checksum in its name.

        Args:
            pfn: Which.
            path: File to write; replaced when all has come and is what it should be.
            progress: Called with the bytes that came and the bytes in all (0 if unknown).

        Raises:
            NotFoundError: There is no such sandbox, or none that the caller may see.
            UnavailableError: What came is something else.

        Example::

            client.sandboxes.download(reference, Path("input.tar.gz"))
        """
        source = self._http.call("GET", "/api/jobs/sandbox", SandboxDownload, params={"pfn": strip(pfn)})
        fetched = path.with_name(f".{path.name}.fetched")
        try:
            self._http.download(source.url, fetched, progress=progress)
            check_content(fetched, pfn)
            fetched.replace(path)
        finally:
            fetched.unlink(missing_ok=True)

    def of_job(
        self, job_id: int, kind: SandboxType | None = None
    ) -> dict[Literal["input", "output"], list[str]]:
        """Return the PFNs of a job's sandboxes, of one kind or of both.

        Raises:
            NotFoundError: There is no such job, or none that the caller may see.

        Example::

            (client.sandboxes.of_job(42, "output"))["output"]
        """
        path = f"/api/jobs/{job_id}/sandbox"
        if kind is not None:
            return {kind: self._http.call("GET", f"{path}/{kind}", list[str])}
        found = self._http.call("GET", path, dict[str, list[str]])
        names = {name.lower(): pfns for name, pfns in found.items()}
        return {"input": names.get("input", []), "output": names.get("output", [])}

    def assign_output(self, job_id: int, pfn: str) -> None:
        """Make an uploaded archive the output sandbox of a job.

        Raises:
            NotFoundError: There is no such job.
            ConflictError: The job's present run is another one than the caller.

        Example::

            client.sandboxes.assign_output(42, reference)
        """
        self._http.send("PATCH", f"/api/jobs/{job_id}/sandbox/output", body=strip(pfn))

    def unassign(self, job_ids: Sequence[int]) -> None:
        """Take all sandboxes from jobs; the server deletes later what belongs to no job.

        Raises:
            NotFoundError: One of the jobs does not exist, or the caller may not see it.

        Example::

            client.sandboxes.unassign([42, 43])
        """
        body = {"job_ids": list(job_ids)}
        self._http.send("POST", "/api/jobs/sandbox/unassign", body=body, repeatable=True)

    def unassign_job(self, job_id: int) -> None:
        """Take all sandboxes from one job; see `unassign`."""
        self._http.send("DELETE", f"/api/jobs/{job_id}/sandbox")


def strip(pfn: str) -> str:
    """Return a PFN without the name of the storage element in front."""
    return pfn.rpartition("|")[2]


def check_content(file: Path, pfn: str) -> None:
    """Make sure that a file is the archive of this name; names without a checksum say nothing.

    Raises:
        UnavailableError: It is not.
    """
    named = _CHECKSUM.search(pfn)
    if named is None:
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != named[1]:
        raise UnavailableError(
            f"what came for {pfn!r} is not that sandbox: its SHA-256 is {found}",
            hint="Try again; if it stays so, the object store has lost it: upload it again",
        )


def describe(path: Path) -> SandboxInfo:
    """Return what the server wants to know of an archive before it comes.

    Raises:
        InvalidInputError: It cannot be read, is empty, or its name ends in no known format.
    """
    known = next((known for known in _FORMATS if path.name.endswith(f".{known}")), None)
    if known is None:
        raise InvalidInputError(
            f"{path} is no archive by its name", hint=f"Names end in {', '.join(_FORMATS)}"
        )
    try:
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not size:
        raise InvalidInputError(f"{path} is empty")
    kind = cast("Literal['tar.gz', 'tar.bz2', 'tar.zst']", known)
    return SandboxInfo(checksum=checksum, size=size, format=kind)


def _unreadable(path: Path, error: OSError) -> DiracError:
    return InvalidInputError(f"{path} cannot be read: {error.strerror or error}")
