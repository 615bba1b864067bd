"""The job wrapper: one run of one job on this node, from its input sandbox to its output sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from dirac.agent.payload import Payload, tail
from dirac.agent.ports import JobServer
from dirac.core.errors import ConflictError, DiracError, NotFoundError
from dirac.core.time import Clock
from dirac.core.trust import TRUST_VARIABLES
from dirac.formats.archive import pack
from dirac.formats.description import JobDescription
from dirac.systems.workload.models import JobStatus, JobStatusUpdate, MatchedJob

log = logging.getLogger(__name__)

_SOURCE = "JobWrapper"
_ARCHIVES = ("SB:", "/S3/")
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DIRACOS", *TRUST_VARIABLES)
_ERROR_TAIL = "StandardErrorTail"


class _PayloadError(Exception):
    """The payload could not be run, or not to its end; `minor` is the job's minor status."""

    def __init__(self, minor: str, text: str) -> None:
        super().__init__(text)
        self.minor = minor


@dataclass(frozen=True)
class Place:
    """Where a job runs, for its environment."""

    site: str
    processors: int


class JobWrapper:
    """Runs one attempt of one job.

    Args:
        job: What was matched.
        description: The job's description.
        server: The server, with the run's own token.
        directory: A new directory for this run; removed at the end.
        place: Where this is.
        clock: The time.
    """

    def __init__(
        self,
        job: MatchedJob,
        description: JobDescription,
        *,
        server: JobServer,
        directory: Path,
        place: Place,
        clock: Clock,
    ) -> None:
        self._job = job
        self._description = description
        self._server = server
        self._directory = directory
        self._place = place
        self._clock = clock
        self._killed = False

    async def run(self) -> bool:
        """Run the job; returns whether its payload succeeded.

        A run that is not the job's present one any more is given up without a trace.
        """
        self._directory.mkdir(parents=True)
        try:
            return await self._run()
        except (ConflictError, NotFoundError) as error:
            log.warning("run given up: %s", error, extra={"job": self._job.job_id})
            return False
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _run(self) -> bool:
        await self._report(JobStatus.RUNNING, "Job Initialization")
        try:
            await self._fetch_inputs()
            code = await self._run_payload()
        except _PayloadError as error:
            await self._report(JobStatus.FAILED, error.minor, str(error))
            return False
        if self._killed:
            return False
        good = code == 0
        minor = "Application Finished Successfully" if good else "Application Finished With Errors"
        application = "Execution Finished Successfully" if good else f"Failed (exit code {code})"
        await self._report(JobStatus.COMPLETING, minor, application)
        if not good:
            await self._server.set_parameters({_ERROR_TAIL: tail(self._path(self._description.std_error))})
        try:
            await self._store_outputs()
        except DiracError as error:
            if isinstance(error, ConflictError | NotFoundError):
                raise
            await self._report(JobStatus.FAILED, "Uploading Output Sandbox", str(error)[:255])
            return False
        await self._report(
            JobStatus.DONE if good else JobStatus.FAILED,
            "Execution Complete" if good else "Application Finished With Errors",
            application,
        )
        return good

    async def _report(self, status: JobStatus | None, minor: str, application: str | None = None) -> None:
        update = JobStatusUpdate(
            Status=status, MinorStatus=minor, ApplicationStatus=application, Source=_SOURCE
        )
        await self._server.report([(self._clock.now(), update)])

    async def _fetch_inputs(self) -> None:
        references = [name for name in self._description.input_sandbox if name.startswith(_ARCHIVES)]
        if not references:
            return
        await self._report(None, "Downloading InputSandbox")
        for reference in references:
            try:
                await self._server.fetch_sandbox(reference, self._directory)
            except DiracError as error:
                if isinstance(error, ConflictError):
                    raise
                raise _PayloadError("Failed Downloading InputSandbox", str(error)[:255]) from error

    async def _run_payload(self) -> int:
        payload = Payload(
            command=[self._executable(), *self._arguments()],
            directory=self._directory,
            environment=self._environment(),
            stdout=self._path(self._description.std_output),
            stderr=self._path(self._description.std_error),
        )
        await self._report(None, "Application", "Starting")
        try:
            await payload.start()
        except OSError as error:
            text = f"{payload.command[0]}: {error.strerror or error}"
            raise _PayloadError("Application not found", text[:255]) from error
        heart = asyncio.create_task(self._beat(payload))
        try:
            return await payload.wait()
        finally:
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await heart
            await payload.stop()

    async def _beat(self, payload: Payload) -> None:
        """Give signs of life, and obey orders, until cancelled."""
        while True:
            try:
                orders = await self._server.heartbeat(payload.vital_signs())
                self._killed = any(order.command == "Kill" for order in orders)
            except (ConflictError, NotFoundError):
                self._killed = True  # the run was taken away from us
            except DiracError as error:
                log.warning("no heartbeat: %s", error, extra={"job": self._job.job_id})
            if self._killed:
                await payload.stop()
                return
            await self._clock.sleep(self._job.heartbeat_seconds)

    async def _store_outputs(self) -> None:
        found = sorted(
            {
                path
                for pattern in self._description.output_sandbox
                for path in self._directory.glob(pattern)
                if path.is_file() and path.resolve().is_relative_to(self._directory.resolve())
            }
        )
        if not found:
            return
        await self._report(None, "Uploading Output Sandbox")
        archive = self._directory.with_suffix(".output.tar.gz")
        try:
            await asyncio.to_thread(pack, found, archive, base=self._directory)
            await self._server.store_output(archive)
        finally:
            archive.unlink(missing_ok=True)
        await self._report(None, "Output Sandbox Uploaded")

    def _path(self, name: str) -> Path:
        return self._directory / Path(name).name

    def _executable(self) -> str:
        """Return the program: a file of the input sandbox, made executable, or one found in the PATH."""
        name = self._description.executable
        local = self._directory / name
        if "/" not in name.removeprefix("./") and local.is_file():
            local.chmod(local.stat().st_mode | 0o100)
            return str(local)
        return name

    def _arguments(self) -> list[str]:
        try:
            return shlex.split(self._description.arguments)
        except ValueError as error:
            raise _PayloadError("Illegal Job JDL", f"Arguments: {error}") from error

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return inherited | {
            "JOBID": str(self._job.job_id),
            "DIRAC_JOB_ATTEMPT": str(self._job.attempt),
            "DIRACSITE": self._place.site,
            "DIRAC_PROCESSORS": str(self._place.processors),
            "DIRAC_JOB_PROCESSORS": str(self._place.processors),
            "TMPDIR": str(self._directory),
            **self._description.environment,
        }
