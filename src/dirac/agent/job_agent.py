"""The job agent: asks for jobs and runs them, one after the other, until there are no more."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import msgspec

from dirac.agent.ports import PilotServer
from dirac.agent.wrapper import JobWrapper, Place
from dirac.core.entropy import Entropy
from dirac.core.errors import InvalidInputError
from dirac.core.time import Clock
from dirac.formats.description import UNDERSTOOD, from_jdl
from dirac.formats.jdl import parse
from dirac.systems.workload.models import (
    JobStatus,
    JobStatusUpdate,
    MatchedJob,
    MatchRequest,
    PilotStatus,
    Resource,
)

log = logging.getLogger(__name__)

_LONGEST_WAIT = 20.0


class Token(msgspec.Struct, frozen=True):
    """The pilot's access token."""

    access_token: str
    expires_at: datetime | None = None


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the pilot tells the agent, in the file ``agent.json``.

    Attributes:
        server: Base URL.
        cpu_time_left: Normalised CPU seconds this pilot may still use, if known.
        max_cycles: Jobs it runs at most.
        idle_limit_seconds: It ends when there was no job for so long.
    """

    server: str
    vo: str
    site: str
    pilot_stamp: str
    workdir: str
    token: Token
    ce: str = ""
    queue: str = ""
    processors: int = 1
    max_ram_mb: int = 0
    tags: list[str] = []
    platform: str = ""
    cpu_time_left: int | None = None
    max_cycles: int = 1000
    idle_limit_seconds: float = 60.0


class JobAgent:
    """Runs jobs on this node.

    Args:
        settings: What the pilot knows.
        server: The server, with the pilot's token.
        clock: The time.
        entropy: Source of request identifiers.
    """

    def __init__(
        self, settings: AgentSettings, *, server: PilotServer, clock: Clock, entropy: Entropy
    ) -> None:
        self._settings = settings
        self._server = server
        self._clock = clock
        self._entropy = entropy
        self._jobs = 0

    async def run(self) -> int:
        """Run jobs until there are no more, or enough; returns how many were run."""
        await self._server.set_pilot_status(PilotStatus.RUNNING)
        idle_since = self._clock.monotonic()
        while self._jobs < self._settings.max_cycles:
            left = self._settings.idle_limit_seconds - (self._clock.monotonic() - idle_since)
            asked = self._clock.monotonic()
            wait = max(0.0, min(left, _LONGEST_WAIT))
            answer = await self._server.match(self._request(wait))
            if answer.job is not None:
                self._jobs += 1
                await self._carry_out(answer.job)
                idle_since = self._clock.monotonic()
            elif left <= 0:
                log.info("no more work", extra={"jobs": self._jobs, "reasons": answer.reasons})
                break
            elif self._clock.monotonic() - asked < min(wait, 1.0):
                await self._clock.sleep(1.0)  # a server that does not hold the request is not hammered
        await self._server.set_pilot_status(PilotStatus.DONE, f"{self._jobs} jobs run")
        return self._jobs

    def _request(self, wait: float) -> MatchRequest:
        settings = self._settings
        resource = Resource(
            site=settings.site,
            ce=settings.ce,
            queue=settings.queue,
            processors=settings.processors,
            max_ram=settings.max_ram_mb,
            cpu_time=settings.cpu_time_left or 86400,
            platforms=[settings.platform] if settings.platform else [],
            tags=settings.tags,
        )
        return MatchRequest(resource=resource, request_id=self._entropy.bytes(16).hex(), wait=wait)

    async def _carry_out(self, job: MatchedJob) -> None:
        log.info("job matched", extra={"job": job.job_id, "attempt": job.attempt})
        server = self._server.for_job(job.token, job.job_id, job.heartbeat_seconds)
        try:
            description = from_jdl(parse(job.jdl), UNDERSTOOD)
            wrapper = JobWrapper(
                job,
                description,
                server=server,
                directory=Path(self._settings.workdir) / f"job-{job.job_id}-{job.attempt}",
                place=Place(self._settings.site, self._settings.processors),
                clock=self._clock,
            )
            good = await wrapper.run()
            log.info("job ended", extra={"job": job.job_id, "attempt": job.attempt, "good": good})
        except InvalidInputError as error:
            log.error("the job's description cannot be read: %s", error, extra={"job": job.job_id})
            fault = JobStatusUpdate(
                Status=JobStatus.FAILED, MinorStatus="Illegal Job JDL", ApplicationStatus=str(error)[:255]
            )
            await server.report([(self._clock.now(), fault)])
        finally:
            await server.close()


def read_settings(file: Path) -> AgentSettings:
    """Read the file that the pilot wrote.

    Raises:
        InvalidInputError: It cannot be read, or lacks something.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=AgentSettings)
    except OSError as error:
        raise InvalidInputError(f"the settings {file} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise InvalidInputError(str(error), where=str(file)) from None
