"""A server for the agent, in memory, and what its tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from dirac.core.errors import DiracError
from dirac.formats.archive import unpack
from dirac.formats.description import JobDescription
from dirac.systems.workload.models import (
    HeartbeatData,
    JobCommand,
    JobStatusUpdate,
    MatchAnswer,
    MatchedJob,
    MatchRequest,
    PilotStatus,
)


def matched(jdl: str = "", **changes: Any) -> MatchedJob:
    values: dict[str, Any] = {
        "job_id": 42,
        "attempt": 1,
        "jdl": jdl,
        "owner": "ada",
        "owner_group": "users",
        "vo": "astro",
        "token": "job-token",
        "token_expires_in": 3600,
        "lease_seconds": 300,
        "heartbeat_seconds": 60,
    }
    return MatchedJob(**(values | changes))


def shell(script: str, **changes: Any) -> JobDescription:
    """Describe a job that runs a script of the shell."""
    quoted = script.replace("'", "'\\''")
    return JobDescription(executable="/bin/sh", arguments=f"-c '{quoted}'", **changes)


class FakeJobServer:
    """Keeps what a run tells; `fail` says which call fails with what."""

    def __init__(self, fail: Callable[[str], DiracError | None] = lambda call: None) -> None:
        self._fail = fail
        self.updates: list[JobStatusUpdate] = []
        self.beats: list[HeartbeatData] = []
        self.orders: list[JobCommand] = []
        self.parameters: dict[str, str] = {}
        self.sandboxes: dict[str, dict[str, str]] = {}
        self.output: dict[str, bytes] | None = None
        self.closed = False

    def _call(self, name: str) -> None:
        error = self._fail(name)
        if error is not None:
            raise error

    async def report(self, updates: list[tuple[datetime, JobStatusUpdate]]) -> None:
        for _, update in updates:
            self._call("report")
            self.updates.append(update)

    async def heartbeat(self, data: HeartbeatData) -> list[JobCommand]:
        self._call("heartbeat")
        self.beats.append(data)
        return self.orders

    async def set_parameters(self, values: dict[str, str]) -> None:
        self.parameters |= values

    async def fetch_sandbox(self, reference: str, directory: Path) -> None:
        self._call("fetch")
        for name, content in self.sandboxes[reference].items():
            (directory / name).write_text(content)

    async def store_output(self, archive: Path) -> str:
        self._call("store")
        root = archive.with_suffix(".unpacked")
        files = unpack(archive, root)
        self.output = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
        return "SB:SandboxSE|/S3/x"

    async def close(self) -> None:
        self.closed = True

    @property
    def story(self) -> list[str]:
        """What was reported, one line per report."""
        return [f"{update.Status or '='} / {update.MinorStatus}" for update in self.updates]


class FakePilotServer:
    """Hands out jobs, one after the other."""

    def __init__(self, *jobs: MatchedJob) -> None:
        self._jobs = list(jobs)
        self.job_server = FakeJobServer()
        self.requests: list[MatchRequest] = []
        self.statuses: list[tuple[PilotStatus, str]] = []
        self.opened: list[tuple[str, int, float]] = []

    async def match(self, request: MatchRequest) -> MatchAnswer:
        self.requests.append(request)
        if self._jobs:
            return MatchAnswer(job=self._jobs.pop(0))
        return MatchAnswer(reasons={"no job": 1})

    async def set_pilot_status(self, status: PilotStatus, reason: str = "") -> None:
        self.statuses.append((status, reason))

    def for_job(self, token: str, job_id: int, heartbeat_seconds: float) -> FakeJobServer:
        self.opened.append((token, job_id, heartbeat_seconds))
        return self.job_server


async def eventually(happened: Callable[[], object]) -> None:
    """Wait until something is true, for twenty seconds at most."""
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110 - what happens is in other processes
            await asyncio.sleep(0.01)


def words_of(file: Path) -> list[str]:
    """Return the words that a process has written so far."""
    return file.read_text().split() if file.is_file() else []


def is_alive(pid: str) -> bool:
    """Tell whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def left_in(directory: Path) -> list[str]:
    """Return what is in a directory, but for what the fake server unpacked."""
    return sorted(path.name for path in directory.iterdir() if not path.name.endswith(".unpacked"))
