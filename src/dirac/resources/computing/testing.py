"""The conformance suite of computing elements: what `ComputingElement` promises, as tests to inherit.

::

    class TestMine(RunningPilotsContract):
        @pytest.fixture
        def computing_element(self, tmp_path): return MyElement.from_settings("mine", {...})

        def reopen(self, element): return MyElement.from_settings("mine", {...})

An element in memory inherits `ComputingElementContract`; one that really runs programs, and on this machine,
inherits `RunningPilotsContract`.
"""

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
from typing import Any

import pytest

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.resources.computing.base import (
    STAMP_VARIABLE,
    ComputingElement,
    PilotJob,
    PilotState,
    PilotStatus,
)

PATIENCE = 30.0
"""Seconds until something that should happen soon counts as never."""


def sleeper(**changes: Any) -> PilotJob:
    """Return a pilot that does not end by itself within a test."""
    return _job("/bin/sleep", ("300",), **changes)


def shell(script: str, **changes: Any) -> PilotJob:
    """Return a pilot that runs a shell script."""
    return _job("/bin/sh", ("-c", script), **changes)


def _job(program: str, words: tuple[str, ...], **changes: Any) -> PilotJob:
    fields = {"stamp": uuid.uuid4().hex, "executable": program, "arguments": words, **changes}
    return PilotJob(**fields)


class ComputingElementContract:
    """Promises that hold for every element, also for one that runs nothing.

    The fixture `computing_element` gives an element without pilots that lets 2 run and 2 wait.
    """

    @pytest.fixture
    def computing_element(self) -> ComputingElement:
        """Give the element under test."""
        raise NotImplementedError

    def reopen(self, element: ComputingElement) -> ComputingElement:
        """Return what a restarted server would make: a new instance over the same pilots."""
        raise NotImplementedError

    async def drive(self, element: ComputingElement) -> None:
        """Let time pass for pilots, if the element cannot do so itself."""

    async def eventually(
        self, element: ComputingElement, reference: str, *statuses: PilotStatus
    ) -> PilotState:
        """Wait until the pilot is in one of these states."""
        deadline = time.monotonic() + PATIENCE
        while True:
            await self.drive(element)
            state = (await element.status([reference]))[reference]
            if state.status in statuses:
                return state
            assert not state.status.is_final, f"{state} will never become {statuses}"
            assert time.monotonic() < deadline, f"{state} has not become {statuses}"
            await asyncio.sleep(0.02)

    async def submitted(self, element: ComputingElement, job: PilotJob) -> str:
        """Submit one pilot that has to be taken."""
        (answer,) = await element.submit([job])
        assert answer.error is None
        assert answer.reference is not None
        return answer.reference

    async def test_the_empty_list_is_fine_everywhere(self, computing_element: ComputingElement) -> None:
        assert await computing_element.submit([]) == []
        assert await computing_element.status([]) == {}
        assert await computing_element.cancel([]) == {}
        assert await computing_element.cleanup([]) == {}

    async def test_answers_come_in_order_with_the_stamp_in_them(
        self, computing_element: ComputingElement
    ) -> None:
        jobs = [sleeper(), sleeper(), sleeper()]
        answers = await computing_element.submit(jobs)
        assert [answer.stamp for answer in answers] == [job.stamp for job in jobs]
        assert len({answer.reference for answer in answers}) == 3
        await computing_element.cancel([answer.reference or "" for answer in answers])

    async def test_a_stamp_is_submitted_once_however_often_it_is_sent(
        self, computing_element: ComputingElement
    ) -> None:
        job = sleeper()
        first, twin = await computing_element.submit([job, job])
        assert first == twin
        assert await computing_element.submit([job]) == [first]
        assert await self.reopen(computing_element).submit([shell("exit 3", stamp=job.stamp)]) == [first]
        capacity = await computing_element.capacity()
        assert capacity.running + capacity.waiting == 1
        await computing_element.cancel([first.reference or ""])

    async def test_simultaneous_submissions_of_a_stamp_are_one(
        self, computing_element: ComputingElement
    ) -> None:
        job, other = sleeper(), self.reopen(computing_element)
        answers = await asyncio.gather(*(element.submit([job]) for element in [computing_element, other] * 3))
        assert all(answer == answers[0] for answer in answers)
        capacity = await computing_element.capacity()
        assert capacity.running + capacity.waiting == 1
        await computing_element.cancel([answers[0][0].reference or ""])

    @pytest.mark.parametrize(
        "fault",
        [
            {"stamp": "../../etc"},
            {"stamp": "A" * 32},
            {"stamp": ""},
            {"executable": ""},
            {"processors": 0},
            {"arguments": ("a\0b",)},
            {"arguments": ("\ud800",)},
            {"environment": {"A=B": "1"}},
            {"environment": {"A": "\0"}},
            {"files": {"../outside": b""}},
            {"files": {"": b""}},
            {"files": {"a\0": b""}},
        ],
    )
    async def test_a_faulty_pilot_is_refused_and_spoils_no_other(
        self, computing_element: ComputingElement, fault: dict[str, Any]
    ) -> None:
        bad, good = await computing_element.submit([sleeper(**fault), sleeper()])
        assert bad.reference is None
        assert bad.error
        assert good.reference is not None
        await computing_element.cancel([good.reference])

    async def test_what_does_not_fit_in_is_refused_and_what_is_known_is_not(
        self, computing_element: ComputingElement
    ) -> None:
        jobs = [sleeper() for _ in range(5)]
        answers = await computing_element.submit(jobs)
        assert [answer.error is None for answer in answers] == [True] * 4 + [False]
        assert (await computing_element.capacity()).free == 0
        assert await computing_element.submit(jobs[:1]) == answers[:1]
        await computing_element.cancel([answer.reference or "" for answer in answers[:4]])

    async def test_no_more_run_than_may_and_the_next_follows(
        self, computing_element: ComputingElement
    ) -> None:
        answers = await computing_element.submit([sleeper() for _ in range(3)])
        first, second, third = [answer.reference or "" for answer in answers]
        await self.eventually(computing_element, first, PilotStatus.RUNNING)
        await self.eventually(computing_element, second, PilotStatus.RUNNING)
        assert (await computing_element.status([third]))[third].status is PilotStatus.WAITING
        capacity = await computing_element.capacity()
        assert (capacity.running, capacity.waiting, capacity.max_running) == (2, 1, 2)
        await computing_element.cancel([first])
        await self.eventually(computing_element, third, PilotStatus.RUNNING)
        await computing_element.cancel([second, third])

    async def test_what_is_not_known_is_unknown_and_spoils_nothing(
        self, computing_element: ComputingElement
    ) -> None:
        known = await self.submitted(computing_element, sleeper())
        strangers = ["", "local://elsewhere/" + "0" * 32, known[:-32] + "f" * 32, known + "/..", "../x"]
        states = await computing_element.status([*strangers, known])
        assert all(states[name].status is PilotStatus.UNKNOWN for name in strangers)
        assert states[known].status is not PilotStatus.UNKNOWN
        assert set(await computing_element.cancel([*strangers, known])) == set(strangers)
        await self.eventually(computing_element, known, PilotStatus.DELETED)
        assert await computing_element.cleanup([*strangers, known]) == {}
        for name in strangers:
            with pytest.raises(NotFoundError):
                await computing_element.output(name)

    async def test_a_cancelled_pilot_is_deleted_and_stays_so(
        self, computing_element: ComputingElement
    ) -> None:
        reference = await self.submitted(computing_element, sleeper())
        await self.eventually(computing_element, reference, PilotStatus.RUNNING)
        assert await computing_element.cancel([reference]) == {}
        assert await computing_element.cancel([reference]) == {}
        await self.eventually(computing_element, reference, PilotStatus.DELETED)
        assert await computing_element.cancel([reference]) == {}
        assert (await computing_element.status([reference]))[reference].status is PilotStatus.DELETED

    async def test_a_pilot_cancelled_before_its_start_never_starts(
        self, computing_element: ComputingElement
    ) -> None:
        answers = await computing_element.submit([sleeper() for _ in range(3)])
        first, second, third = [answer.reference or "" for answer in answers]
        await computing_element.cancel([third])
        await self.eventually(computing_element, third, PilotStatus.DELETED)
        await computing_element.cancel([first, second])
        await self.eventually(computing_element, first, PilotStatus.DELETED)
        assert (await computing_element.status([third]))[third].status is PilotStatus.DELETED

    async def test_only_ended_pilots_are_cleaned_up_and_then_forgotten(
        self, computing_element: ComputingElement
    ) -> None:
        reference = await self.submitted(computing_element, sleeper())
        assert set(await computing_element.cleanup([reference])) == {reference}
        await computing_element.cancel([reference])
        await self.eventually(computing_element, reference, PilotStatus.DELETED)
        assert await computing_element.cleanup([reference]) == {}
        assert await computing_element.cleanup([reference]) == {}
        state = (await computing_element.status([reference]))[reference]
        assert state.status is PilotStatus.UNKNOWN
        with pytest.raises(NotFoundError):
            await computing_element.output(reference)
        assert (await computing_element.capacity()).free == 4

    async def test_a_restarted_server_sees_the_same(self, computing_element: ComputingElement) -> None:
        answers = await computing_element.submit([sleeper() for _ in range(3)])
        references = [answer.reference or "" for answer in answers]
        for reference in references[:2]:
            await self.eventually(computing_element, reference, PilotStatus.RUNNING)
        again = self.reopen(computing_element)
        assert await again.status(references) == await computing_element.status(references)
        assert await again.capacity() == await computing_element.capacity()
        await again.cancel(references)
        for reference in references:
            await self.eventually(again, reference, PilotStatus.DELETED)

    def test_a_wrong_setting_is_named(self, computing_element: ComputingElement) -> None:
        with pytest.raises(InvalidInputError, match="no_such_setting") as caught:
            type(computing_element).from_settings("wrong", {"no_such_setting": 1})
        assert "wrong" in (caught.value.where or "")

    def test_secrets_are_not_in_the_representation(self) -> None:
        assert "s3cr3t" not in repr(sleeper(files={"token": b"s3cr3t"}, environment={"A": "s3cr3t"}))


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
        reference = await self.submitted(computing_element, _job("/no/such/program", ()))
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
        job = _job(
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
