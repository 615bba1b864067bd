"""The conformance suite of computing elements: what `ComputingElement` promises, as tests to inherit.

::

    class TestMine(ComputingElementContract):
        @pytest.fixture
        def computing_element(self, tmp_path): return MyElement.from_settings("mine", {...})

        def reopen(self, element): return MyElement.from_settings("mine", {...})

An element in memory inherits `ComputingElementContract`; one that really runs programs, and on this machine,
inherits `dirac.resources.computing.testing_programs.RunningPilotsContract`.
"""

# ruff: noqa: D102, S101 - a test suite that ships with the package

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import pytest

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.resources.computing.base import (
    ComputingElement,
    PilotJob,
    PilotState,
    PilotStatus,
)

PATIENCE = 30.0
"""Seconds until something that should happen soon counts as never."""


def sleeper(**changes: Any) -> PilotJob:
    """Return a pilot that does not end by itself within a test."""
    return make_job("/bin/sleep", ("300",), **changes)


def shell(script: str, **changes: Any) -> PilotJob:
    """Return a pilot that runs a shell script."""
    return make_job("/bin/sh", ("-c", script), **changes)


def make_job(program: str, words: tuple[str, ...], **changes: Any) -> PilotJob:
    """Return a pilot with a stamp of its own."""
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
