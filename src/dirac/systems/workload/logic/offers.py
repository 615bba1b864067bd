"""What pilots said they have, as one process heard it last."""

from __future__ import annotations

from datetime import datetime

from dirac.core.time import Clock
from dirac.systems.workload.logic.fitting import Offer

_MOST = 10_000


class LastOffers:
    """The last offers of those pilots that asked this process for work, so many of them.

    Nothing is decided by these. They are not stored: each request for work would be a write, and what a pilot
    has is the same to within its remaining time.

    Args:
        clock: The time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_stamp: dict[str, tuple[datetime, Offer]] = {}

    def note(self, stamp: str, offer: Offer) -> None:
        """Note what a pilot that asks for work has."""
        self._by_stamp.pop(stamp, None)  # the one that asked last goes to the end
        if len(self._by_stamp) >= _MOST:
            del self._by_stamp[next(iter(self._by_stamp))]
        self._by_stamp[stamp] = self._clock.now(), offer

    def get(self, stamp: str) -> tuple[datetime, Offer] | None:
        """Return when a pilot asked last, and what it had; None if that is not known here."""
        return self._by_stamp.get(stamp)
