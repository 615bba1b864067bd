"""When a job that waits may start, from when jobs like it have started.

Jobs of one class start one after the other, by priority and age. If pilots for them come by chance at a rate
that is steady (a Poisson process), and nothing else is known of that rate than that the last k starts go back
for a time T, then the
time until n more have started is T times a ratio of two Gamma variates of shapes n and k: n/k times a variate
of the F distribution with 2n and 2k degrees of freedom. So a range is as wide as the little that was seen
makes it, and holds what it says: of ten jobs, eight start within it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import sqrt

from dirac.systems.workload.models import Forecast

MOST_STARTS = 50
"""So many of the last starts are looked at: what was before tells less of what comes."""

_FEWEST = 5
_NORMAL = {0.1: -1.2816, 0.5: 0.0, 0.9: 1.2816}


def forecast(before: int, starts: Sequence[datetime], now: datetime) -> Forecast | None:
    """Return when a job may start; None if too little is known.

    Args:
        before: How many jobs of its class come first.
        starts: When jobs of its class have started, the last ones.
        now: The present moment.
    """
    seen = len(starts)
    if seen < _FEWEST:
        return None
    within = (now - min(starts)).total_seconds()
    earliest, likely, latest = (within * _ratio(before + 1, seen, share) for share in _NORMAL)
    return Forecast(
        earliest=earliest, likely=likely, latest=latest, before=before, started=seen, within=within
    )


def _ratio(wanted: int, seen: int, share: float) -> float:
    """Return what the ratio of two Gamma variates of these shapes stays below in a share of all cases.

    By the approximation of Wilson and Hilferty for each of them (E. Paulson, Annals of Mathematical
    Statistics 13, 1942): the cube roots are nearly normal.
    """
    z, a, b = _NORMAL[share], 1 / (9 * wanted), 1 / (9 * seen)
    # (1 - b) x - (1 - a) = z sqrt(b x^2 + a), solved for x.
    square, linear, constant = (1 - b) ** 2 - z * z * b, (1 - a) * (1 - b), (1 - a) ** 2 - z * z * a
    root = sqrt(max(linear**2 - square * constant, 0.0))
    x = max((linear + (root if z > 0 else -root)) / square, 0.0)
    return float(wanted / seen * x**3)
