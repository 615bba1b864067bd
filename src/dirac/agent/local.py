"""Running one job here, through the same wrapper as on a worker node, with nobody to report to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from dirac.agent.wrapper import JobWrapper, Place
from dirac.core.time import Clock
from dirac.formats.archive import unpack
from dirac.formats.description import JobDescription
from dirac.systems.workload.models import (
    FOLLOW,
    HeartbeatData,
    JobCommand,
    JobStatusUpdate,
    MatchedJob,
    Peek,
)

INPUTS = "SB:local|inputs"
"""What stands in a description for the files that are here."""

_FOR_EVER = "1e9"
_HEARTBEAT_SECONDS = 2
_NEVER = 2**31 - 1


class LocalServer:
    """Implements `JobServer` without a server: inputs are here, outputs stay here, reports are told.

    Args:
        inputs: Files by their names in the job's directory.
        outputs: Directory for what the output sandbox holds.
        on_report: Told what happens.
        on_output: Told what the job has printed.
    """

    def __init__(
        self,
        inputs: Mapping[str, Path],
        outputs: Path,
        *,
        on_report: Callable[[datetime, JobStatusUpdate], None],
        on_output: Callable[[Peek], None],
    ) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self._on_report = on_report
        self._on_output = on_output
        self.parameters: dict[str, str] = {}
        self.files: list[Path] = []

    async def report(self, updates: list[tuple[datetime, JobStatusUpdate]]) -> None:
        """Tell what happened."""
        for moment, update in updates:
            self._on_report(moment, update)

    async def heartbeat(self, data: HeartbeatData) -> list[JobCommand]:
        """Tell what was printed; the run goes on to say so often."""
        if data.StandardOutput is not None:
            self._on_output(Peek(0, 1, data.StandardOutput, None, data.StandardOutputOffset))
        return [JobCommand(0, FOLLOW, _FOR_EVER)]

    async def set_parameters(self, values: dict[str, str]) -> None:
        """Keep facts about the job."""
        self.parameters |= values

    async def fetch_sandbox(self, _reference: str, directory: Path) -> None:
        """Copy the inputs into the job's directory."""
        for name, file in self._inputs.items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)

    async def store_output(self, archive: Path) -> str:
        """Put the outputs where they are wanted."""
        self._outputs.mkdir(parents=True, exist_ok=True)
        self.files = unpack(archive, self._outputs)
        return INPUTS

    async def close(self) -> None:
        """There is nothing to close."""


async def run_here(
    description: JobDescription,
    server: LocalServer,
    *,
    job_id: int,
    directory: Path,
    place: Place,
    clock: Clock,
) -> bool:
    """Run a job in a directory that is made, and removed at the end; returns whether its payload succeeded.

    What it prints is among its outputs, also if the description does not say so.
    """
    wanted = (*description.output_sandbox, description.std_output, description.std_error)
    job = MatchedJob(
        job_id=job_id,
        attempt=1,
        jdl="",
        owner="",
        owner_group="",
        vo="",
        token="",
        token_expires_in=_NEVER,
        lease_seconds=_NEVER,
        heartbeat_seconds=_HEARTBEAT_SECONDS,
    )
    wrapper = JobWrapper(
        job,
        msgspec.structs.replace(
            description, input_sandbox=(INPUTS,), output_sandbox=tuple(dict.fromkeys(wanted))
        ),
        server=server,
        directory=directory,
        place=place,
        clock=clock,
    )
    return await wrapper.run()
