"""The conformance suite of computing elements that run programs on the machine of the tests."""
# ruff: noqa: ASYNC240, D102, S101 - a test suite that ships with the package

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path

import pytest

from dirac.resources.computing.base import STAMP_VARIABLE, ComputingElement, PilotJob, PilotStatus
from dirac.resources.computing.testing import PATIENCE, ComputingElementContract, make_job, shell, sleeper


class RunningPilotsContract(ComputingElementContract):
    """Promises of elements that run programs; the suite looks at the processes of this machine."""

    @pytest.mark.parametrize(
        ("script", "status", "code"),
        [
            ("exit 0", PilotStatus.DONE, 0),
            ("exit 7", PilotStatus.FAILED, 7),
            ("kill -9 $$", PilotStatus.FAILED, 137),
            ("kill -TERM $$", PilotStatus.FAILED, 143),
        ],
    )
    async def test_the_end_is_told_as_it_was(
        self, computing_element: ComputingElement, script: str, status: PilotStatus, code: int
    ) -> None:
        reference = await self.submitted(computing_element, shell(script))
        state = await self.eventually(computing_element, reference, PilotStatus.DONE, PilotStatus.FAILED)
        assert (state.status, state.exit_code) == (status, code)
        assert (state.reason is None) == (status is PilotStatus.DONE)
        assert await computing_element.cancel([reference]) == {}
        assert (await self.reopen(computing_element).status([reference]))[reference] == state

    async def test_a_program_that_is_not_there_is_aborted_with_the_reason(
        self, computing_element: ComputingElement
    ) -> None:
        reference = await self.submitted(computing_element, make_job("/no/such/program", ()))
        state = await self.eventually(computing_element, reference, PilotStatus.ABORTED)
        assert "/no/such/program" in (state.reason or "")

    async def test_a_killed_pilot_has_failed(self, computing_element: ComputingElement) -> None:
        job = sleeper()
        reference = await self.submitted(computing_element, job)
        await self.eventually(computing_element, reference, PilotStatus.RUNNING)
        (pid,) = await self.processes(job, 1)
        os.kill(pid, signal.SIGKILL)
        state = await self.eventually(computing_element, reference, PilotStatus.FAILED)
        assert state.exit_code == 137
        assert "SIGKILL" in (state.reason or "")

    async def test_the_program_finds_what_it_was_given_and_nothing_of_the_server(
        self, computing_element: ComputingElement, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_OF_THE_SERVER", "1")
        report = (
            "import json, os, stat, sys; print(json.dumps(dict(environment=dict(os.environ), cwd=os.getcwd(),"
            "arguments=sys.argv[1:], stdin=sys.stdin.read(), leader=os.getsid(0) == os.getpid(),"
            "mode=stat.S_IMODE(os.stat('token').st_mode), token=open('token').read())))"
        )
        arguments = ("-I", "-c", report, "a b", "*", "")
        job = make_job(
            sys.executable, arguments, environment={"COLOUR": "blue"}, files={"token": b"s3cr3t \xc3\xa4"}
        )
        reference = await self.submitted(computing_element, job)
        await self.eventually(computing_element, reference, PilotStatus.DONE)
        seen = json.loads((await computing_element.output(reference)).stdout)
        assert seen["arguments"] == ["a b", "*", ""]
        assert (seen["mode"], seen["token"], seen["stdin"], seen["leader"]) == (0o600, "s3cr3t ä", "", True)
        assert seen["environment"]["COLOUR"] == "blue"
        assert seen["environment"][STAMP_VARIABLE] == job.stamp
        assert Path(seen["environment"]["HOME"]) == Path(seen["cwd"])
        assert not {"SECRET_OF_THE_SERVER", "PYTHONPATH", "VIRTUAL_ENV"} & set(seen["environment"])

    async def test_a_secret_is_in_no_command_line_and_no_environment(
        self, computing_element: ComputingElement
    ) -> None:
        secret = uuid.uuid4().hex.encode()
        job = sleeper(files={"token": secret})
        reference = await self.submitted(computing_element, job)
        await self.eventually(computing_element, reference, PilotStatus.RUNNING)
        (pid,) = await self.processes(job, 1)
        token = Path(f"/proc/{pid}/cwd/token")
        assert token.read_bytes() == secret
        assert token.stat().st_mode & 0o777 == 0o600
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        assert secret not in (entry / name).read_bytes()
        await computing_element.cancel([reference])

    async def test_output_is_there_while_it_runs_and_limited_to_its_end(
        self, computing_element: ComputingElement
    ) -> None:
        job = shell("printf 'first line\\nlast \\377'; printf 'trouble' >&2; exec sleep 300")
        reference = await self.submitted(computing_element, job)
        await self.processes(job, 1, b"sleep")
        if computing_element.capabilities.live_output:
            assert (
                await computing_element.output(reference)
            ).stdout == "first line\nlast \N{REPLACEMENT CHARACTER}"
        await computing_element.cancel([reference])
        await self.eventually(computing_element, reference, PilotStatus.DELETED)
        whole = await computing_element.output(reference)
        assert (whole.stderr, whole.truncated) == ("trouble", False)
        part = await self.reopen(computing_element).output(reference, limit=6)
        assert (part.stdout, part.stderr, part.truncated) == (
            "last \N{REPLACEMENT CHARACTER}",
            "rouble",
            True,
        )

    async def test_a_pilot_may_end_in_order_when_it_is_cancelled(
        self, computing_element: ComputingElement
    ) -> None:
        job = shell("trap 'echo good bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
        reference = await self.submitted(computing_element, job)
        await self.printed(computing_element, reference, "ready")
        await computing_element.cancel([reference])
        state = await self.eventually(computing_element, reference, PilotStatus.DELETED)
        assert state.exit_code == 0
        assert "good bye" in (await computing_element.output(reference)).stdout

    async def test_a_pilot_that_does_not_listen_is_killed_with_all_it_started(
        self, computing_element: ComputingElement
    ) -> None:
        job = shell(
            "trap '' TERM; sleep 300 & setsid sh -c 'sleep 300 & sleep 300' & echo ready; wait; sleep 300"
        )
        reference = await self.submitted(computing_element, job)
        await self.processes(job, 5)
        await self.reopen(computing_element).cancel([reference])
        await self.eventually(computing_element, reference, PilotStatus.DELETED)
        assert self.running(job) == []

    async def test_nothing_is_left_when_a_pilot_has_ended(self, computing_element: ComputingElement) -> None:
        job = shell("sleep 300 & setsid -f sleep 300; exit 0")
        reference = await self.submitted(computing_element, job)
        await self.eventually(computing_element, reference, PilotStatus.DONE)
        assert self.running(job) == []

    async def test_directories_without_permissions_are_cleaned_up(
        self, computing_element: ComputingElement
    ) -> None:
        reference = await self.submitted(computing_element, shell("mkdir -p a/b; touch a/b/c; chmod 0 a/b a"))
        await self.eventually(computing_element, reference, PilotStatus.DONE)
        assert await computing_element.cleanup([reference]) == {}

    async def printed(self, element: ComputingElement, reference: str, text: str) -> None:
        """Wait until the pilot has printed a text."""
        deadline = time.monotonic() + PATIENCE
        while text not in (await element.output(reference)).stdout:
            assert time.monotonic() < deadline, f"{reference} has not printed {text!r}"
            await asyncio.sleep(0.02)

    def running(self, job: PilotJob, program: bytes = b"") -> list[int]:
        """Return the processes that carry the stamp of a pilot, whoever their parents are."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    stamped = f"{STAMP_VARIABLE}={job.stamp}".encode() in (entry / "environ").read_bytes()
                    if stamped and program in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found

    async def processes(self, job: PilotJob, count: int, program: bytes = b"") -> list[int]:
        """Wait until a pilot has that many processes and return them."""
        deadline = time.monotonic() + PATIENCE
        while len(found := self.running(job, program)) != count:
            assert time.monotonic() < deadline, f"{found} are not {count} processes"
            await asyncio.sleep(0.02)
        return found
