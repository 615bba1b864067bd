"""When a request is worth another try, and how long to wait before it."""

from __future__ import annotations

from dataclasses import dataclass

from dirac.core.entropy import Entropy
from dirac.core.errors import DiracError

# Answers that say "not now": a gateway without its server, an overloaded server, a caller who asks too often.
NOT_NOW = frozenset({429, 502, 503, 504})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class BackOff:
    """Growing pauses with jitter, so that clients that failed together do not come back together.

    Attributes:
        first: Seconds of the first pause, at most.
        factor: Growth from one pause to the next.
        longest: Seconds that no pause exceeds, unless the server asks for more.
    """

    first: float = 0.2
    factor: float = 2.0
    longest: float = 5.0

    def pause(self, tries: int, entropy: Entropy, retry_after: float | None = None) -> float:
        """Return the seconds to wait after so many tries (1 and up), from half the full pause to all of it.

        Args:
            tries: Tries so far.
            entropy: Source of the jitter.
            retry_after: What the server asked for; never undercut, with jitter on top.
        """
        full = min(self.first * self.factor ** min(tries - 1, 30), self.longest)
        share = int.from_bytes(entropy.bytes(2), "big") / 0xFFFF
        pause = full * (0.5 + share / 2)
        return pause if retry_after is None else max(0.0, retry_after) + pause * 0.1


def retry_after(error: DiracError) -> float | None:
    """Return the seconds that the server asked to wait, None if it did not or wrote nonsense."""
    asked = error.retry_after
    return asked if asked is not None and 0 <= asked < float("inf") else None
