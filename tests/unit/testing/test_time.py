"""Time and randomness in a test's hands."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from dirac.core.entropy import uuid7
from dirac.testing.time import FakeClock, FakeEntropy


def test_the_clock_stands_still_until_it_is_moved() -> None:
    clock = FakeClock()
    before = clock.now()
    assert clock.now() == before
    clock.advance(90)
    assert clock.now() - before == timedelta(seconds=90)
    assert clock.monotonic() == 90


async def test_sleepers_wake_when_their_time_has_come() -> None:
    clock = FakeClock()
    woken: list[int] = []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (0, 10, 20):
            group.create_task(sleeper(seconds))
        await asyncio.sleep(0)
        clock.advance(10)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sorted(woken) == [0, 10]
        clock.advance(10)
    assert sorted(woken) == [0, 10, 20]


def test_bytes_repeat_from_the_seed() -> None:
    assert FakeEntropy(3).bytes(16) == FakeEntropy(3).bytes(16)
    assert FakeEntropy(3).bytes(16) != FakeEntropy(4).bytes(16)
    assert uuid7(FakeEntropy(), 1.0) == uuid7(FakeEntropy(), 1.0)
