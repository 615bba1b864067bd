from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dirac.core.tasks import Retry

retries = st.builds(
    Retry,
    tries=st.integers(1, 50),
    first_delay=st.floats(0.01, 10),
    factor=st.floats(1, 10),
    longest_delay=st.floats(10, 1000),
)


def test_the_usual_delays() -> None:
    retry = Retry()
    delays = [retry.delay(tries) for tries in range(1, 9)]
    assert delays == [1.0, 3.0, 9.0, 27.0, 81.0, 243.0, 600.0, None]


@given(retries, st.integers(1, 60))
def test_delays_grow_up_to_the_longest_and_then_it_gives_up(retry: Retry, tries: int) -> None:
    delay, later = retry.delay(tries), retry.delay(tries + 1)
    assert (delay is None) == (tries >= retry.tries)
    if delay is not None:
        assert retry.first_delay <= delay <= retry.longest_delay
    if delay is not None and later is not None:
        assert later >= delay
