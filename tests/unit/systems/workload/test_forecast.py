"""Forecasts hold what they say: eight of ten jobs start within the range, whatever is known."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from dirac.systems.workload.logic.forecast import forecast

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize("before", [0, 1, 10, 500])
@pytest.mark.parametrize("known", [6, 20, 50])
def test_eight_of_ten_start_within_the_range_and_half_before_its_middle(before: int, known: int) -> None:
    chance = random.Random(f"{before} {known}")
    early = middle = late = 0
    tries = 3000
    for _ in range(tries):
        pace = chance.lognormvariate(-3, 2)  # starts per second: it is not known
        past, moment = [], NOW
        for _ in range(known):
            moment -= timedelta(seconds=chance.expovariate(pace))
            past.append(moment)
        found = forecast(before, past, NOW)
        assert found is not None
        start = chance.gammavariate(before + 1, 1 / pace)
        early += start < found.earliest
        middle += start < found.likely
        late += start > found.latest
    assert early / tries == pytest.approx(0.1, abs=0.04)
    assert middle / tries == pytest.approx(0.5, abs=0.05)
    assert late / tries == pytest.approx(0.1, abs=0.04)


def test_little_is_no_ground_for_a_forecast() -> None:
    starts = [NOW - timedelta(minutes=minute) for minute in range(4)]
    assert forecast(0, starts, NOW) is None
    assert forecast(0, [], NOW) is None


def test_a_steady_pace_goes_on() -> None:
    starts = [NOW - timedelta(minutes=minute) for minute in range(1, 51)]
    found = forecast(29, starts, NOW)
    assert found is not None
    assert (found.started, found.within, found.before) == (50, 3000, 29)
    assert found.earliest < 29 * 60 < found.latest
    assert found.likely == pytest.approx(30 * 60, rel=0.03)


def test_a_pace_that_has_come_to_nothing_moves_the_range_away() -> None:
    starts = [NOW - timedelta(minutes=minute) for minute in range(20)]
    soon, later = forecast(0, starts, NOW), forecast(0, starts, NOW + timedelta(hours=5))
    assert soon is not None
    assert later is not None
    assert later.likely > 10 * soon.likely
