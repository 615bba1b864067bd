"""Time and randomness that a test or a simulation has in its hands."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is moved; implements `dirac.core.time.Clock`.

    Args:
        start: The first moment.
    """

    def __init__(self, start: datetime = _START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return seconds since the first moment."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move on, and wake those whose time has come."""
        self._elapsed += seconds
        due = [sleeper for moment, sleeper in self._sleepers if moment <= self._elapsed]
        self._sleepers = [pair for pair in self._sleepers if pair[0] > self._elapsed]
        for sleeper in due:
            if not sleeper.done():
                sleeper.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody has moved the clock by so much."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._elapsed + seconds, sleeper))
        await sleeper


class FakeEntropy:
    """Bytes that repeat from run to run; implements `dirac.core.entropy.Entropy`.

    Args:
        seed: Another one gives other bytes.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose, for tests only

    def bytes(self, count: int) -> bytes:
        """Return the next `count` bytes of the sequence."""
        return self._random.randbytes(count)
