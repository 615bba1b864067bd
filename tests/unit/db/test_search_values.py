"""Values in conditions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.core.time import to_wire
from dirac.db.search_values import boolean, check_pattern, check_regex, integer, moments, number

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026", (2026, 1, 1), (2027, 1, 1)),
        ("2026-12", (2026, 12, 1), (2027, 1, 1)),
        ("2024-02", (2024, 2, 1), (2024, 3, 1)),
        ("2024-02-29", (2024, 2, 29), (2024, 3, 1)),
        ("2026-11-20 23", (2026, 11, 20, 23), (2026, 11, 21)),
        ("2026-11-20T23:59", (2026, 11, 20, 23, 59), (2026, 11, 21)),
        ("2026-11-20T23:59:59Z", (2026, 11, 20, 23, 59, 59), (2026, 11, 21)),
        ("2026-11-20T10:00:00+02:00", (2026, 11, 20, 8), (2026, 11, 20, 8, 0, 1)),
        ("2026-11-20T10:00:00-0530", (2026, 11, 20, 15, 30), (2026, 11, 20, 15, 30, 1)),
        ("2026-11-20T10:00:00.25", (2026, 11, 20, 10, 0, 0, 250_000), (2026, 11, 20, 10, 0, 0, 260_000)),
        ("2026-11-20T10:00:00.1234567", (2026, 11, 20, 10, 0, 0, 123_456), (2026, 11, 20, 10, 0, 0, 123_457)),
        ("2026-11+01:00", (2026, 10, 31, 23), (2026, 11, 30, 23)),
    ],
)
def test_a_date_stands_for_all_of_it(text: str, begin: tuple[int, ...], end: tuple[int, ...]) -> None:
    assert moments(text, "Time") == (datetime(*begin, tzinfo=UTC), datetime(*end, tzinfo=UTC))  # type: ignore[arg-type,misc]


def test_the_calendar_ends() -> None:
    assert moments("9999", "Time")[1] is None
    assert moments("9999-12-31", "Time")[1] is None


@given(MOMENTS)
def test_what_rows_show_can_be_searched(moment: datetime) -> None:
    assert moments(to_wire(moment), "Time") == (moment, moment + timedelta(microseconds=1))


@given(st.text(max_size=30) | st.from_regex(r"\d{4}(-\d{2}){0,2}[T ]?\d{0,2}.{0,8}", fullmatch=True))
def test_any_text_is_a_date_or_refused(text: str) -> None:
    try:
        begin, end = moments(text, "Time")
    except InvalidInputError as error:
        assert "Time" in str(error) or "no date" in str(error)  # noqa: PT017
    else:
        assert end is None or begin < end


@given(st.text(max_size=25) | st.integers())
def test_any_value_is_a_number_in_range_or_refused(value: str | int) -> None:
    for bits in (32, 64):
        try:
            found = integer(value, "Size", bits)
        except InvalidInputError:
            continue
        assert -(2 ** (bits - 1)) <= found < 2 ** (bits - 1)
        assert found == int(value)


def test_numbers_and_truth() -> None:
    assert number("1e3", "Load") == 1000.0
    assert [boolean(value, "Flag") for value in ("True", "false", 1, "0")] == [True, False, True, False]
    for wrong in ("inf", "", "1,5", 10**400):
        with pytest.raises(InvalidInputError, match="Load"):
            number(wrong, "Load")
    with pytest.raises(InvalidInputError, match="Flag"):
        boolean("yes", "Flag")


@pytest.mark.parametrize("pattern", ["", "%", "a_b", r"100\%", r"\\", r"\_\%\\"])
def test_patterns(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", ["\\", "a\\", r"\d", r"\\\x"])
def test_lone_backslashes_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidInputError, match="lone backslash"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["", "^a+b*$", "(ab|cd)e", "[a+*]+", r"\(a+\)+", "(abc)+", "a{2,5}", "[]+]*", "[^]a]+", "(a?b)+"],
)
def test_expressions(pattern: str) -> None:
    assert check_regex(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+", "(a|b)*", "((a*))+", "(a*b){2,}", "(x[a+]*)*", "a*" * 9, "(", "[", "a**", "(?P<x>a)", "\\"],
)
def test_expressions_that_could_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidInputError):
        check_regex(pattern)


@given(st.text(alphabet="ab()[]|*+?{},2\\^$.-", max_size=20))
def test_any_text_is_an_expression_or_refused(pattern: str) -> None:
    try:
        check_regex(pattern)
    except InvalidInputError:
        return
    re.search(pattern, "ab" * 20)
