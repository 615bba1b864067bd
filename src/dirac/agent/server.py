"""The server as the agent reaches it: over HTTP, with patience.

A worker node outlives a restart of the server: reports and outputs are sent again for minutes before the run
is given up. Signs of life are not: the next one says more than the last.
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dirac.agent.ports import JobServer
from dirac.agent.tokens import PilotTokens
from dirac.client.aio.client import AsyncClient
from dirac.core.entropy import Entropy
from dirac.core.errors import ConflictError, DiracError, NotFoundError
from dirac.core.time import Clock, SystemClock
from dirac.formats.archive import unpack
from dirac.systems.identity.models import TokenResponse
from dirac.systems.workload.models import (
    HeartbeatData,
    JobCommand,
    JobStatusUpdate,
    MatchAnswer,
    MatchRequest,
    PilotMetadata,
    PilotStatus,
)
from dirac.transport.http_client import FixedToken

if TYPE_CHECKING:
    import httpx

    from dirac.agent.job_agent import AgentSettings

# How long the server may be away without harm to a run.
_PATIENCE = 600.0
# A pilot on its way out is about to be killed: it says so once or twice and goes.
_FAREWELL = 20.0
_UNKNOWN = "there is no job"


class HttpPilotServer:
    """The server, as the pilot sees it.

    Args:
        settings: What the pilot told the agent: the server and the pilot's token among it.
        clock: The time.
        entropy: Source of jitter.
        transport: An httpx transport instead of the network.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._stamp = settings.pilot_stamp
        self._server = settings.server
        self._clock: Clock = clock or SystemClock()
        self._entropy = entropy
        self._transport = transport
        given = settings.token
        self._tokens = PilotTokens(given.access_token, given.expires_at, self._renewed, self._clock)
        self._client = self._connect(self._tokens)

    async def match(self, request: MatchRequest) -> MatchAnswer:
        """Ask for work; sent again with the same identifier, so that no job is lost with an answer."""
        return await self._client.jobs.match(request)

    async def set_pilot_status(self, status: PilotStatus, reason: str = "") -> None:
        """Report the pilot's own state."""
        patience = _PATIENCE if status == PilotStatus.RUNNING else _FAREWELL
        change = PilotMetadata(Status=status, StatusReason=reason[:255] or None)
        await self._client.within(patience).pilots.update({self._stamp: change})

    def for_job(self, token: str, job_id: int, heartbeat_seconds: float) -> JobServer:
        """Return the server as this run of this job may use it."""
        return HttpJobServer(self._connect(FixedToken(token)), job_id, heartbeat_seconds)

    async def keep_token(self) -> None:
        """Renew the pilot's token for as long as the server does; to be run beside everything else."""
        await self._tokens.keep()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _renewed(self, token: str) -> TokenResponse:
        client = self._connect(FixedToken(token))
        try:
            return await client.within(_FAREWELL).pilots.renew()
        finally:
            await client.aclose()

    def _connect(self, tokens: PilotTokens | FixedToken) -> AsyncClient:
        return AsyncClient(
            self._server,
            token=tokens,
            deadline=_PATIENCE,
            clock=self._clock,
            entropy=self._entropy,
            transport=self._transport,
        )


class HttpJobServer:
    """The server, as one run of one job sees it.

    Args:
        client: A client with the run's own token; closed with this.
        job_id: The job.
        heartbeat_seconds: How long a sign of life is worth sending.
    """

    def __init__(self, client: AsyncClient, job_id: int, heartbeat_seconds: float) -> None:
        self._client = client
        self._job_id = job_id
        self._lively = client.within(heartbeat_seconds)

    async def report(self, updates: list[tuple[datetime, JobStatusUpdate]]) -> None:
        """Report what happened, in order."""
        moments: dict[datetime, JobStatusUpdate] = {}
        last = None
        for moment, update in updates:
            # One moment holds one update, and the server sorts by moment.
            last = moment if last is None else max(moment, last + timedelta(microseconds=1))
            moments[last] = update
        outcome = await self._client.jobs.set_status({self._job_id: moments})
        if self._job_id in outcome.failed:
            raise _refusal(outcome.failed[self._job_id].get("detail", "the report was refused"))

    async def heartbeat(self, data: HeartbeatData) -> list[JobCommand]:
        """Give a sign of life; returns orders for this job."""
        orders = await self._lively.jobs.heartbeat({self._job_id: data})
        return [order for order in orders if order.job_id == self._job_id]

    async def set_parameters(self, values: dict[str, str]) -> None:
        """Store facts about the job."""
        await self._client.jobs.set_metadata({self._job_id: values})

    async def fetch_sandbox(self, reference: str, directory: Path) -> None:
        """Download a sandbox and unpack it into a directory."""
        with tempfile.TemporaryDirectory(prefix=".sandbox-", dir=directory.parent) as scratch:
            archive = Path(scratch, "archive")
            await self._client.sandboxes.download(reference, archive)
            await asyncio.to_thread(unpack, archive, directory)

    async def store_output(self, archive: Path) -> str:
        """Upload an archive as the job's output sandbox; returns its reference."""
        reference = await self._client.sandboxes.upload(archive)
        await self._client.sandboxes.assign_output(self._job_id, reference)
        return reference

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _refusal(text: str) -> DiracError:
    """Make an error of the reason that a bulk answer gives: its only other one is the job's state."""
    return NotFoundError(text) if text.startswith(_UNKNOWN) else ConflictError(text)
