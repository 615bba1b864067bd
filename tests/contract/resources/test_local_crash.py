"""A server, or a supervisor, that is killed at any step starts no pilot twice and loses none.

A child process dies by SIGKILL at its n-th operation that Python's audit hooks report (every open, mkdir,
rename, link, fork, ...), for every n until it survives; then a new server goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dirac.resources.computing.base import PilotJob, PilotState, PilotStatus
from dirac.resources.computing.local import LocalComputingElement
from dirac.resources.computing.spool import Spool

# Forks for every line "task workdir stamp log step" and prints how the child ended.
DRIVER = """
import json, os, pathlib, signal, sys
from dirac.resources.computing import local, supervisor
from dirac.resources.computing.base import PilotJob

STEPS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.listdir", "os.scandir",
         "os.fork", "os.chmod", "os.utime", "fcntl.flock", "subprocess.Popen", "shutil.rmtree", "os.killpg"}

def arm(step):
    def count(event, arguments):
        nonlocal seen, armed
        if armed and event in STEPS and os.getpid() == me:
            if seen == step:
                armed = False
                os.kill(me, signal.SIGKILL)
            seen += 1
    seen, armed, me = 0, True, os.getpid()
    sys.addaudithook(count)

def work(task, workdir, stamp, log, step):
    element = local.LocalComputingElement.from_settings("here", {"workdir": workdir, "grace": 5})
    script = f"echo started >> {log}; exec sleep 300"
    job = PilotJob(stamp=stamp, executable="/bin/sh", arguments=("-c", script))
    reference, directory = f"local://here/{stamp}", pathlib.Path(workdir, stamp)
    if task == "submit":
        arm(step)
        element._submit([job])
    elif task == "cancel":
        element._submit([job])
        arm(step)
        element._cancel([reference])
    elif task == "cleanup":
        arm(step)
        element._cleanup([reference])
    elif task == "supervise":
        os.umask(0o077)
        supervisor._detach(directory)
        reading, writing = os.pipe()
        arm(step)
        supervisor.supervise(directory, writing)

for line in sys.stdin:
    if (child := os.fork()) == 0:
        work(*json.loads(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def driver() -> Iterator[subprocess.Popen[str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    ) as process:
        yield process


class Scene:
    """One pilot in a directory of its own, and a process that is killed at a step of its work on it."""

    def __init__(self, driver: subprocess.Popen[str], directory: Path) -> None:
        directory.mkdir()
        self.driver = driver
        self.workdir, self.log, self.stamp = directory / "pilots", directory / "log", uuid.uuid4().hex
        self.reference = f"local://here/{self.stamp}"

    def killed(self, task: str, step: int) -> bool:
        assert self.driver.stdin
        assert self.driver.stdout
        print(
            json.dumps([task, str(self.workdir), self.stamp, str(self.log), step]),
            file=self.driver.stdin,
            flush=True,
        )
        code = int(self.driver.stdout.readline())
        assert code in (0, -signal.SIGKILL)
        return code != 0

    def server(self) -> LocalComputingElement:
        return LocalComputingElement.from_settings("here", {"workdir": str(self.workdir), "grace": 5})

    def job(self, script: str) -> PilotJob:
        return PilotJob(stamp=self.stamp, executable="/bin/sh", arguments=("-c", script))

    def starts(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    async def until(self, *statuses: PilotStatus) -> PilotState:
        element, deadline = self.server(), time.monotonic() + 30
        while (state := (await element.status([self.reference]))[self.reference]).status not in statuses:
            assert time.monotonic() < deadline, state
            await asyncio.sleep(0.01)
        return state

    async def until_started(self) -> None:
        deadline = time.monotonic() + 30
        while not self.starts():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


SCRIPT = "echo started >> {log}; exec sleep 300"


async def test_a_server_killed_at_any_step_of_a_submission_starts_the_pilot_once(
    driver: subprocess.Popen[str], tmp_path: Path
) -> None:
    step, alive = 0, False
    while not alive:
        scene = Scene(driver, tmp_path / str(step))
        alive = not scene.killed("submit", step)
        server = scene.server()
        (answer,) = await server.submit([scene.job(SCRIPT.format(log=scene.log))])
        assert answer.reference == scene.reference
        await scene.until(PilotStatus.RUNNING)
        await scene.until_started()
        assert (await server.capacity()).running == 1
        await server.cancel([scene.reference])
        await scene.until(PilotStatus.DELETED)
        assert scene.starts() == 1, f"killed at step {step}"
        assert not list((scene.workdir / ".tmp").iterdir())
        step += 1
    assert step > 15


async def test_a_server_killed_at_any_step_of_a_cancellation_can_repeat_it(
    driver: subprocess.Popen[str], tmp_path: Path
) -> None:
    step, alive = 0, False
    while not alive:
        scene = Scene(driver, tmp_path / str(step))
        alive = not scene.killed("cancel", step)
        assert await scene.server().cancel([scene.reference]) == {}
        await scene.until(PilotStatus.DELETED)
        assert scene.starts() <= 1
        step += 1
    assert step > 5


async def test_a_server_killed_at_any_step_of_a_cleanup_can_repeat_it(
    driver: subprocess.Popen[str], tmp_path: Path
) -> None:
    step, alive = 0, False
    while not alive:
        scene = Scene(driver, tmp_path / str(step))
        await scene.server().submit([scene.job("mkdir a; echo > a/b")])
        await scene.until(PilotStatus.DONE)
        alive = not scene.killed("cleanup", step)
        assert await scene.server().cleanup([scene.reference]) == {}
        assert (await scene.server().status([scene.reference]))[scene.reference].status is PilotStatus.UNKNOWN
        assert (await scene.server().capacity()).free == 101
        assert not (scene.workdir / scene.stamp).exists()
        assert not list((scene.workdir / ".tmp").iterdir())
        step += 1
    assert step > 5


async def test_a_supervisor_killed_at_any_step_starts_the_pilot_at_most_once_and_it_has_an_end(
    driver: subprocess.Popen[str], tmp_path: Path
) -> None:
    step, alive = 0, False
    while not alive:
        scene = Scene(driver, tmp_path / str(step))
        server = scene.server()
        with server._locked():  # what a server killed before the launch leaves behind
            server._record(Spool(scene.workdir / scene.stamp), scene.job(f"echo started >> {scene.log}"), 1)
        alive = not scene.killed("supervise", step)
        final = [status for status in PilotStatus if status.is_final]
        state = await scene.until(*final)
        if state.status is PilotStatus.DONE:
            assert scene.starts() == 1
        assert scene.starts() <= 1
        if state.status is PilotStatus.ABORTED:
            assert scene.starts() == 0
        assert await server.cleanup([scene.reference]) == {}
        step += 1
    assert step > 10
