"""Time for code that blocks: the counterpart of `dirac.core.time`, without the cost of asyncio."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class BlockingClock(Protocol):
    """Where blocking code gets the time from."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block for so many seconds of this clock."""
        ...


class SystemBlockingClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block for so many seconds."""
        time.sleep(seconds)
