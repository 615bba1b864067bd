from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from dirac.core.entropy import SystemEntropy, uuid7

LAST = 2**48 / 1000 - 1  # the year 10889

moments = st.floats(min_value=0, max_value=LAST, allow_nan=False)


class Bytes:
    """The same bytes again and again."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def bytes(self, count: int) -> bytes:
        return self._content[:count]


noise = st.binary(min_size=10, max_size=10).map(Bytes)


@given(noise, moments)
def test_it_is_a_version_7_of_the_rfc(entropy: Bytes, moment: float) -> None:
    made = uuid7(entropy, moment)
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == int(moment * 1000)


@given(noise, noise, moments, st.floats(min_value=0.002, max_value=1e6))
def test_the_later_sorts_behind_the_earlier(first: Bytes, second: Bytes, moment: float, gap: float) -> None:
    early, late = uuid7(first, moment), uuid7(second, min(moment + gap, LAST))
    if int(min(moment + gap, LAST) * 1000) > int(moment * 1000):
        assert early < late
        assert early.hex < late.hex, "as text too, which is what databases compare"


@given(moments, st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_all_but_six_bits_of_the_noise_count(moment: float, one: bytes, other: bytes) -> None:
    kept = (1 << 74) - 1
    same = int.from_bytes(one, "big") & kept == int.from_bytes(other, "big") & kept
    assert (uuid7(Bytes(one), moment) == uuid7(Bytes(other), moment)) == same


def test_the_example_of_the_rfc() -> None:
    noise = (0xCC3 << 62 | 0x18C4DC0C0C07398F).to_bytes(10, "big")  # RFC 9562, appendix A.6
    assert str(uuid7(Bytes(noise), 1645557742.0)) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_the_system_gives_as_much_as_is_asked_for_and_never_the_same() -> None:
    entropy = SystemEntropy()
    assert len(entropy.bytes(32)) == 32
    assert len({entropy.bytes(16) for _ in range(100)}) == 100
