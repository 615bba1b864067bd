"""Every computing element keeps the promises of its interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.resources.computing import supervisor
from dirac.resources.computing.base import ComputingElement, PilotStatus
from dirac.resources.computing.local import LocalComputingElement
from dirac.resources.computing.spool import Spool
from dirac.resources.computing.testing import (
    ComputingElementContract,
    shell,
    sleeper,
)
from dirac.resources.computing.testing_programs import RunningPilotsContract
from dirac.testing.computing import FakeComputingElement

LIMITS = {"max_running": 2, "max_waiting": 2}


class TestFake(ComputingElementContract):
    @pytest.fixture
    def computing_element(self) -> ComputingElement:
        return FakeComputingElement.from_settings("fake", LIMITS)

    def reopen(self, element: ComputingElement) -> ComputingElement:
        assert isinstance(element, FakeComputingElement)
        return FakeComputingElement(element.name, element.settings, element.pilots)

    async def drive(self, element: ComputingElement) -> None:
        assert isinstance(element, FakeComputingElement)
        element.start()


class TestLocal(RunningPilotsContract):
    @pytest.fixture
    def workdir(self, tmp_path: Path) -> Iterator[Path]:
        workdir = tmp_path / "pilots"
        yield workdir
        end_all(workdir)

    @pytest.fixture
    def computing_element(self, workdir: Path) -> ComputingElement:
        return self.make(workdir)

    def make(self, workdir: Path) -> LocalComputingElement:
        return LocalComputingElement.from_settings("here", {"workdir": str(workdir), "grace": 0.5, **LIMITS})

    def reopen(self, element: ComputingElement) -> ComputingElement:
        assert isinstance(element, LocalComputingElement)
        return LocalComputingElement(element.name, element._settings)

    async def test_the_pilot_survives_its_supervisor_and_can_still_be_cancelled(self, workdir: Path) -> None:
        element, job = self.make(workdir), shell("setsid sleep 300 & sleep 300")
        reference = await self.submitted(element, job)
        await self.processes(job, 3)
        await kill_supervisor(workdir / job.stamp)
        assert (await element.status([reference]))[reference].status is PilotStatus.RUNNING
        assert (await element.capacity()).running == 1
        await element.cancel([reference])
        await self.eventually(element, reference, PilotStatus.DELETED)
        assert await self.processes(job, 0) == []

    async def test_without_its_supervisor_a_pilot_that_ends_has_failed_and_leaves_nothing(
        self, workdir: Path
    ) -> None:
        element = self.make(workdir)
        job = shell("mkfifo pipe; setsid sleep 300 & read line < pipe")
        reference = await self.submitted(element, job)
        pipe = workdir / job.stamp / "work" / "pipe"
        await self.processes(job, 2)
        await kill_supervisor(workdir / job.stamp)
        pipe.write_text("go on\n")
        state = await self.eventually(element, reference, PilotStatus.FAILED)
        assert "not known" in (state.reason or "")
        assert await self.processes(job, 0) == []
        assert (await self.make(workdir).status([reference]))[reference] == state

    async def test_a_pilot_that_ended_while_no_server_was_there_is_told_as_it_was(
        self, workdir: Path
    ) -> None:
        job = shell("exit 5")
        reference = await self.submitted(self.make(workdir), job)
        deadline = time.monotonic() + 30
        while not (workdir / job.stamp / supervisor.EXIT).exists():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert (await self.make(workdir).status([reference]))[reference].exit_code == 5

    async def test_records_emptied_by_a_loss_of_power_are_a_lost_pilot(self, workdir: Path) -> None:
        element, job = self.make(workdir), sleeper()
        reference = await self.submitted(element, job)
        await self.processes(job, 1)
        await kill_supervisor(workdir / job.stamp)
        for name in (supervisor.STARTED, supervisor.PILOT):
            (workdir / job.stamp / name).write_bytes(b"")
        assert (await element.status([reference]))[reference].status is PilotStatus.FAILED
        assert await self.processes(job, 0) == []

    async def test_a_process_that_got_the_number_of_another_is_not_taken_for_it(self) -> None:
        name = supervisor.identity(os.getpid())
        assert name is not None
        boot, pid, ticks = name.split(":")
        other = f"{boot}:{pid}:{int(ticks) + 1}"
        assert supervisor.is_alive(name)
        assert not supervisor.is_alive(other)
        assert not supervisor.send(other, signal.SIGKILL)

    async def test_nobody_else_may_look_into_the_directories(self, workdir: Path) -> None:
        element, job = self.make(workdir), sleeper()
        reference = await self.submitted(element, job)
        for path in [workdir, *workdir.rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path
        await element.cancel([reference])

    async def test_a_workdir_that_cannot_be_used_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        element = self.make(tmp_path / "file" / "pilots")
        with pytest.raises(UnavailableError, match="here"):
            await element.submit([sleeper()])

    @pytest.mark.parametrize(
        ("name", "settings", "expected"),
        [
            ("here", {}, "workdir"),
            ("here", {"workdir": "relative"}, "workdir"),
            ("here", {"workdir": 7}, "workdir"),
            ("here", {"workdir": "/x", "max_running": 0}, "max_running"),
            ("here", {"workdir": "/x", "grace": "soon"}, "grace"),
            ("no/name", {"workdir": "/x"}, "no/name"),
        ],
    )
    def test_wrong_settings_are_named(self, name: str, settings: dict[str, object], expected: str) -> None:
        with pytest.raises(InvalidInputError, match=expected):
            LocalComputingElement.from_settings(name, settings)


async def kill_supervisor(directory: Path) -> None:
    owner = json.loads((directory / supervisor.STARTED).read_text())["supervisor"]
    supervisor.send(owner, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while supervisor.is_alive(owner):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def end_all(workdir: Path) -> None:
    """Leave no process behind, whatever a test did or failed to do."""
    for spec in workdir.glob("*/spec.json"):
        spool = Spool(spec.parent)
        with contextlib.suppress(OSError):
            spool.cancel()
            spool.kill_strays()
