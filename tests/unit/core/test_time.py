from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from dirac.core.time import SystemClock, to_wire

zones = st.builds(timezone, st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)))
moments = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30), timezones=zones)


@given(moments)
def test_a_moment_survives_the_wire(moment: datetime) -> None:
    printed = to_wire(moment)
    assert datetime.fromisoformat(printed) == moment
    assert len(printed) == len("2026-11-20T12:00:00.000000Z")
    assert printed.endswith("Z")


@given(moments, moments)
def test_printed_moments_sort_as_moments(one: datetime, other: datetime) -> None:
    assert (to_wire(one) < to_wire(other)) == (one < other)


async def test_the_clock_of_the_machine() -> None:
    clock = SystemClock()
    wall, since = clock.now(), clock.monotonic()
    await clock.sleep(0)
    assert wall.tzinfo is UTC
    assert clock.monotonic() >= since
