"""The ends of an output, seen one after the other, become the output."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dirac.cli.job.stream import OutputStream
from dirac.systems.workload.models import Peek


def seen(text: str, offset: int | None = 0, attempt: int = 1) -> Peek:
    return Peek(JobID=1, attempt=attempt, text=text, time=None, offset=offset)


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.lists(st.integers(0, 60), max_size=10))
def test_nothing_is_missed_or_told_twice(output: str, lengths: list[int]) -> None:
    """However far the output has come at each look, and wherever the part that is shown begins."""
    stream, told = OutputStream(), ""
    for length in [*sorted(lengths), len(output)]:
        begin = len(told) // 2
        printed = output[:length]
        offset = len(printed[:begin].encode())
        told += stream.news(seen(printed[begin:], offset))
        assert told == printed
        assert stream.news(seen(printed[begin:], offset)) == ""


def test_what_nobody_has_seen_is_said() -> None:
    stream = OutputStream()
    assert stream.news(seen("one\n")) == "one\n"
    assert stream.news(seen("nine\n", 40)) == "[... 36 bytes were not seen ...]\nnine\n"
    assert stream.news(seen("nine\nten\n", 40)) == "ten\n"


def test_another_run_begins_anew() -> None:
    stream = OutputStream()
    assert stream.news(seen("one\n")) == "one\n"
    assert stream.news(seen("one\n", attempt=2)) == "one\n"


def test_an_agent_that_does_not_count_is_shown_when_it_says_something_else() -> None:
    stream = OutputStream()
    assert [stream.news(seen(text, None)) for text in ("a", "a", "b")] == ["a", "", "b"]
