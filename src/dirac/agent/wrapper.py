"""The job wrapper: one run of one job on this node, from its input sandbox to its output sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dirac.agent import container
from dirac.agent.payload import Payload, tail
from dirac.agent.ports import JobServer
from dirac.core.errors import ConflictError, DiracError, NotFoundError, UnavailableError
from dirac.core.time import Clock
from dirac.core.trust import TRUST_VARIABLES
from dirac.formats.archive import pack
from dirac.formats.description import JobDescription
from dirac.systems.workload.models import (
    FOLLOW,
    KILL_CONFIRMED,
    HeartbeatData,
    JobCommand,
    JobStatus,
    JobStatusUpdate,
    MatchedJob,
)

log = logging.getLogger(__name__)

_SOURCE = "JobWrapper"
_ARCHIVES = ("SB:", "/S3/")
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DIRACOS", *TRUST_VARIABLES)
# What batch systems say of the graphics processors that they have given.
_OF_GPUS = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_ERROR_TAIL = "StandardErrorTail"
# Seconds between two signs of life while somebody follows the output.
_FOLLOWED_PERIOD = 2.0


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
        self._payload: Payload | None = None
        self._signs = HeartbeatData()
        self._started = asyncio.Event()
        self._beating = asyncio.Lock()
        self._followed_until = 0.0

    async def run(self) -> bool:
        """Run the job; returns whether its payload succeeded.

        A run that is not the job's present one any more is given up without a trace; one of a job that was
        killed says that it has ended.
        """
        self._directory.mkdir(parents=True)
        try:
            good = await self._alive()
        except (ConflictError, NotFoundError) as error:
            log.warning("run given up: %s", error, extra={"job": self._job.job_id})
            self._killed, good = True, False
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)
        if self._killed:
            with contextlib.suppress(DiracError):  # of no use if the job has another run
                await self._report(None, KILL_CONFIRMED)
        return good

    async def _alive(self) -> bool:
        """Do all the work, giving signs of life from its first second to its last."""
        await self._report(JobStatus.RUNNING, "Job Initialization")
        work = asyncio.create_task(self._work())
        heart = asyncio.create_task(self._beat(work))
        try:
            return await work
        except asyncio.CancelledError:
            if not self._killed:
                raise
            return False
        finally:
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await heart

    async def _work(self) -> bool:
        try:
            await self._fetch_inputs()
            code = await self._run_payload()
        except _PayloadError as error:
            await self._report(JobStatus.FAILED, error.minor, str(error))
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
        variables = self._environment()
        command = [self._executable(), *self._arguments()]
        if self._description.image:
            command = self._contained(command, variables)
            variables = container.environment(variables, self._description.environment)
        payload = self._payload = Payload(
            command=command,
            directory=self._directory,
            environment=variables,
            stdout=self._path(self._description.std_output),
            stderr=self._path(self._description.std_error),
        )
        await self._report(None, "Application", "Starting")
        try:
            await payload.start()
        except OSError as error:
            text = f"{payload.command[0]}: {error.strerror or error}"
            raise _PayloadError("Application not found", text[:255]) from error
        self._started.set()
        try:
            code = await payload.wait()
        finally:
            self._payload = None  # what it used is not measured any more
            await payload.stop()
        await self._tell_the_end(*payload.output(followed=self._is_followed()))
        return code

    async def _tell_the_end(self, offset: int, text: str) -> None:
        """Send what was printed since the last sign of life, for whoever reads along or asks later."""
        async with self._beating:  # one that is under way would overwrite it with less
            before = self._signs
            self._signs = msgspec.structs.replace(before, StandardOutput=text, StandardOutputOffset=offset)
            if text and self._signs != before:
                with contextlib.suppress(DiracError):
                    await self._server.heartbeat(self._signs)

    async def _beat(self, work: asyncio.Task[bool]) -> None:
        """Give signs of life, and obey orders, until cancelled: the first with the payload's first second."""
        await self._pause(self._job.heartbeat_seconds)
        while True:
            try:
                async with self._beating:
                    if self._payload is not None and self._started.is_set():
                        self._signs = self._payload.vital_signs(followed=self._is_followed())
                    self._obey(await self._server.heartbeat(self._signs))
            except (ConflictError, NotFoundError):
                self._killed = True  # the run was taken away from us
            except DiracError as error:
                log.warning("no heartbeat: %s", error, extra={"job": self._job.job_id})
            if self._killed:
                work.cancel()
                return
            await self._pause(_FOLLOWED_PERIOD if self._is_followed() else self._job.heartbeat_seconds)

    def _obey(self, orders: Sequence[JobCommand]) -> None:
        for order in orders:
            if order.command == "Kill":
                self._killed = True
            elif order.command == FOLLOW:
                with contextlib.suppress(ValueError):
                    self._followed_until = self._clock.monotonic() + float(order.arguments or 0)

    def _is_followed(self) -> bool:
        return self._clock.monotonic() < self._followed_until

    async def _pause(self, seconds: float) -> None:
        """Wait for so long, or until the payload starts."""
        if self._started.is_set():
            await self._clock.sleep(min(seconds, self._job.heartbeat_seconds))
            return
        waits = {
            asyncio.create_task(self._clock.sleep(seconds)),
            asyncio.create_task(self._started.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

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

    def _contained(self, program: list[str], variables: Mapping[str, str]) -> list[str]:
        """Return the command that runs the program in the job's image."""
        try:
            runtime = container.find_runtime()
        except UnavailableError as error:
            raise _PayloadError("Application not found", str(error)[:255]) from error
        return container.command_line(
            runtime,
            self._description.image,
            program,
            directory=self._directory,
            gpus=self._description.gpus,
            trust=container.trust_of(variables),
        )

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
        names = (*_INHERITED, *_OF_GPUS) if self._description.gpus else _INHERITED
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        _, most = self._description.processors()
        processors = self._place.processors if most is None else min(most, self._place.processors)
        return inherited | {
            "JOBID": str(self._job.job_id),
            "DIRAC_JOB_ATTEMPT": str(self._job.attempt),
            "DIRACSITE": self._place.site,
            "DIRAC_PROCESSORS": str(self._place.processors),
            "DIRAC_JOB_PROCESSORS": str(processors),
            "DIRAC_JOB_GPUS": str(self._description.gpus),
            "TMPDIR": str(self._directory),
            **self._description.environment,
        }
