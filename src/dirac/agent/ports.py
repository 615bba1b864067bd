"""What the job agent and the job wrapper need of the outside."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol

from dirac.systems.workload.models import (
    HeartbeatData,
    JobCommand,
    JobStatusUpdate,
    MatchAnswer,
    MatchRequest,
    PilotStatus,
)


class JobServer(Protocol):
    """The server, as one run of one job sees it; everything carries the run's own token.

    Calls are repeated on failures of the network until a deadline; `ConflictError` says that this run is
    no longer the job's present one, `NotFoundError` that the job is gone.
    """

    async def report(self, updates: list[tuple[datetime, JobStatusUpdate]]) -> None:
        """Report what happened, in order."""
        ...

    async def heartbeat(self, data: HeartbeatData) -> list[JobCommand]:
        """Give a sign of life; returns orders."""
        ...

    async def set_parameters(self, values: dict[str, str]) -> None:
        """Store facts about the job."""
        ...

    async def fetch_sandbox(self, reference: str, directory: Path) -> None:
        """Download a sandbox and unpack it into a directory."""
        ...

    async def store_output(self, archive: Path) -> str:
        """Upload an archive as the job's output sandbox; returns its reference."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class PilotServer(Protocol):
    """The server, as the pilot sees it."""

    async def match(self, request: MatchRequest) -> MatchAnswer:
        """Ask for work."""
        ...

    async def set_pilot_status(self, status: PilotStatus, reason: str = "") -> None:
        """Report the pilot's own state."""
        ...

    def for_job(self, token: str, job_id: int, heartbeat_seconds: float) -> JobServer:
        """Return the server as this run of this job may use it; a sign of life is tried for its period."""
        ...
