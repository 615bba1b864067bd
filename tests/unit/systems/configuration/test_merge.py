"""Two edits of one text, and two sets of changes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.systems.configuration.merge import merge_text, overlaps
from dirac.systems.configuration.models import Change

BASE = "a: 1\nb: 2\nc: 3\nd: 4\n"
LINES = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_neighbouring_lines_are_no_conflict() -> None:
    assert merge_text(BASE, BASE.replace("2", "20"), BASE.replace("3", "30")) == "a: 1\nb: 20\nc: 30\nd: 4\n"


def test_words_of_one_line_are_put_together() -> None:
    assert merge_text("{a: 1, b: 2}", "{a: 10, b: 2}", "{a: 1, b: 20}") == "{a: 10, b: 20}\n"


def test_the_same_words_are_a_conflict() -> None:
    assert merge_text(BASE, BASE.replace("2", "20"), BASE.replace("2", "21")) is None


def test_the_same_edit_is_made_once() -> None:
    both = BASE.replace("2", "20")
    assert merge_text(BASE, both, both.replace("4", "40")) == both.replace("4", "40")


def test_what_both_add_at_one_place_is_kept() -> None:
    assert merge_text("a\n", "a\nmine\n", "a\ntheirs\n") == "a\ntheirs\nmine\n"


def test_a_line_that_one_removes_and_the_other_changes_is_a_conflict() -> None:
    assert merge_text(BASE, BASE.replace("b: 2\n", ""), BASE.replace("b: 2", "b: 3")) is None


@given(LINES, LINES)
@settings(deadline=None)
def test_one_edit_alone_is_that_edit(base: list[str], mine: list[str]) -> None:
    assert merge_text(_text(base), _text(mine), _text(base)) == _text(mine)
    assert merge_text(_text(base), _text(base), _text(mine)) == _text(mine)
    assert merge_text(_text(base), _text(mine), _text(mine)) == _text(mine)


@given(LINES, LINES, LINES, LINES)
@settings(deadline=None)
def test_edits_of_two_halves_are_both_made(
    first: list[str], second: list[str], mine: list[str], other: list[str]
) -> None:
    middle = "middle of it all\n"
    merged = merge_text(
        _text(first) + middle + _text(second),
        _text(mine) + middle + _text(second),
        _text(first) + middle + _text(other),
    )
    assert merged == _text(mine) + middle + _text(other)


def test_changes_overlap_at_one_place_and_inside_of_it() -> None:
    inner, outer, other = Change("a/b/c", 1, 2), Change("a/b", {}, None), Change("a/bc", 1, 3)
    assert overlaps([inner], [outer, other]) == [(inner, outer)]
    assert overlaps([outer], [inner, other]) == [(outer, inner)]
    assert overlaps([inner], [Change("a/b/c", 1, 2)]) == []
    assert overlaps([inner], [Change("a/b/c", 1, 3)]) == [(inner, Change("a/b/c", 1, 3))]
