"""The computing elements that misbehave do so as announced."""

from __future__ import annotations

import pytest

from dirac.core.errors import UnavailableError
from dirac.resources.computing.base import PilotJob, PilotStatus
from dirac.testing.computing import BrokenComputingElement, FakeComputingElement, SlowComputingElement

JOB = PilotJob(stamp="0" * 32, executable="/bin/true")
REFERENCE = "fake://fake/" + "0" * 32


async def test_a_broken_element_fails_before_and_after_the_work_by_turns() -> None:
    fake = FakeComputingElement()
    broken = BrokenComputingElement(fake, every=2)
    assert await broken.status([]) == {}
    with pytest.raises(UnavailableError):
        await broken.submit([JOB])
    assert not fake.pilots
    assert await broken.status([]) == {}
    with pytest.raises(UnavailableError):
        await broken.submit([JOB])
    assert REFERENCE in fake.pilots


async def test_a_repeated_submission_converges_on_an_element_that_always_fails() -> None:
    fake = FakeComputingElement()
    broken = BrokenComputingElement(fake, every=1)
    for _ in range(4):
        with pytest.raises(UnavailableError):
            await broken.submit([JOB])
    assert list(fake.pilots) == [REFERENCE]


async def test_a_slow_element_waits_by_its_clock() -> None:
    class Clock:
        slept = 0.0

        async def sleep(self, seconds: float) -> None:
            self.slept += seconds

    clock = Clock()
    slow = SlowComputingElement(FakeComputingElement(), 5.0, clock)  # type: ignore[arg-type]
    await slow.submit([JOB])
    await slow.capacity()
    assert clock.slept == 10.0


async def test_a_test_drives_the_fake() -> None:
    fake = FakeComputingElement()
    await fake.submit([JOB])
    fake.start()
    assert (await fake.capacity()).running == 1
    fake.finish(REFERENCE, 3, stderr="trouble")
    assert (await fake.status([REFERENCE]))[REFERENCE].status is PilotStatus.FAILED
    assert (await fake.output(REFERENCE)).stderr == "trouble"
