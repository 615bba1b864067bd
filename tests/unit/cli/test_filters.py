"""What is typed to choose jobs."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.cli.filters import (
    conditions,
    one_of,
    parse_columns,
    parse_ids,
    parse_order,
    parse_since,
    parse_states,
)
from dirac.cli.where import parse_where
from dirac.core.errors import InvalidInputError
from dirac.core.search import Condition, Sort, all_of, any_of, none_of
from dirac.systems.workload.models import JobStatus

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ranges = st.tuples(st.integers(1, 500), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(ranges, min_size=1), st.sampled_from([" ", ","]))
def test_ranges_are_what_they_say(wanted: list[tuple[int, int]], separator: str) -> None:
    words = [f"{first}-{last}" if first != last else str(first) for first, last in wanted]
    given_words = [",".join(words)] if separator == "," else words
    expected = dict.fromkeys(number for first, last in wanted for number in range(first, last + 1))
    assert parse_ids(given_words) == list(expected)


@given(st.text(max_size=20))
def test_any_word_is_read_or_refused(word: str) -> None:
    if word == "-":
        return
    try:
        found = parse_ids([word])
    except InvalidInputError:
        return
    assert found
    assert all(number >= 1 for number in found)


@pytest.mark.parametrize("word", ["0", "5-3", "x", "1-", "-1", "1-200000", "1.5", ""])
def test_what_is_no_job(word: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_ids([word])


def test_numbers_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("12\n13,14\n20-21\n"))
    assert parse_ids(["-"]) == [12, 13, 14, 20, 21]


@given(st.integers(0, 999_999), st.sampled_from("smhdw"))
def test_ages(count: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    try:
        found = parse_since(f"{count}{unit}", NOW)
    except InvalidInputError:
        assert count * seconds > 60 * 365 * 86400
        return
    assert NOW - found == timedelta(seconds=count * seconds)


def test_dates_are_local_unless_they_say_otherwise() -> None:
    assert parse_since("2026-01-31", NOW) == datetime(2026, 1, 31).astimezone(UTC)
    assert parse_since("2026-01-31T12:00:00Z", NOW) == NOW


@given(st.text(max_size=15))
def test_any_age_is_read_or_refused(text: str) -> None:
    try:
        found = parse_since(text, NOW)
    except InvalidInputError:
        return
    assert found.tzinfo is not None


@given(st.lists(st.sampled_from(list(JobStatus)), min_size=1), st.booleans())
def test_states_in_any_case(states: list[JobStatus], upper: bool) -> None:
    words = [state.upper() if upper else state.lower() for state in states]
    expected = list(dict.fromkeys(state.value for state in states))
    assert parse_states(words, JobStatus) == expected
    assert parse_states([",".join(words)], JobStatus) == expected


def test_a_wrong_state_is_answered_by_the_nearest() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_states(["runing"], JobStatus)
    assert "Running" in (caught.value.hint or "")


names = st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=127), min_size=1, max_size=12)
values = st.text(st.characters(categories=["Lu", "Ll", "Nd"]), max_size=12)


@given(names, st.sampled_from(["=", "!=", "<", ">"]), values)
def test_conditions_are_what_they_say(name: str, sign: str, value: str) -> None:
    operator = {"=": "eq", "!=": "neq", "<": "lt", ">": "gt"}[sign]
    assert parse_where(f" {name} {sign} {value} ") == Condition(name, operator, value)  # type: ignore[arg-type]


A, B = Condition("A", "gte", "3"), Condition("B", "eq", "two words")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MinorStatus~*Input*", Condition("MinorStatus", "like", "%Input%")),
        ("Site!~LCG.*", Condition("Site", "not like", "LCG.%")),
        ("JobName=a=b", Condition("JobName", "eq", "a=b")),
        ("JobName~100%_*", Condition("JobName", "like", "100\\%\\_%")),
        ("A>=3", A),
        ("A >= 3 or B = two words", any_of([A, B])),
        ("A>=3 and B='two words' or A>=3", any_of([all_of([A, B]), A])),
        ('A>=3 and (B="two words" or A>=3)', all_of([A, any_of([B, A])])),
        ("not A>=3", none_of([A])),
        ("NOT(A>=3 AND NOT B=two words)", none_of([all_of([A, none_of([B])])])),
        ("A in (1, 'b, c',d e)", Condition("A", "in", values=["1", "b, c", "d e"])),
        ("A not in (1)", Condition("A", "not in", values=["1"])),
        ("A is null or A is not null", any_of([Condition("A", "is null"), Condition("A", "is not null")])),
        ("A=~^x(y|z)$", Condition("A", "regex", "^x(y|z)$")),
        ("A='x and y'", Condition("A", "eq", "x and y")),
        ("A=land or B=two words", any_of([Condition("A", "eq", "land"), B])),
        ("A<=''", Condition("A", "lte", "")),
        ("JobParameter.CPU(MHz)=1", Condition("JobParameter.CPU(MHz)", "eq", "1")),
        ("notes=1", Condition("notes", "eq", "1")),
        ("not = 1", Condition("not", "eq", "1")),
    ],
)
def test_patterns(text: str, expected: Condition) -> None:
    assert parse_where(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Status",
        "=x",
        "a b=c",
        "(A=1",
        "A=1)",
        "A in (1",
        "A=1 and",
        "A is",
        "A=1 and y and B=2",
        "A in 1",
        "or A=1",
    ],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_where(text)


def test_it_is_said_where_a_condition_ends_to_make_sense() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_where("Site=A and (Owner=b or Status)")
    assert "at 30 is ')', expected one of = !=" in caught.value.message
    assert caught.value.where == "--where"


@given(st.text(max_size=30))
def test_any_condition_is_read_or_refused(text: str) -> None:
    try:
        found = parse_where(text)
    except InvalidInputError:
        return
    assert found.fault() is None or "longer" in str(found.fault())


def test_values_of_one_parameter() -> None:
    assert one_of("Site", None) == []
    assert one_of("Owner", ["A"]) == [Condition("Owner", "eq", "A")]
    assert one_of("Owner", ["A", "B"]) == [Condition("Owner", "in", values=["A", "B"])]
    assert one_of("Site", ["LCG.*"]) == [Condition("Site", "like", "LCG.%")]
    a, b = Condition("Owner", "eq", "a"), Condition("Owner", "like", "b\\_%")
    assert one_of("Owner", ["a", "b_*"]) == [any_of([a, b])]
    assert one_of("Owner", ["!a", "not b_*"]) == [none_of([a, b])]
    assert one_of("Owner", ["b_*,!a"]) == [b, none_of([a])]


def test_a_site_may_be_called_by_the_middle_of_its_name() -> None:
    [either] = one_of("Site", ["CERN"])
    assert either == any_of([Condition("Site", "eq", "CERN"), Condition("Site", "like", "%.CERN.%")])
    assert one_of("Site", ["!LCG.CERN.ch"]) == [none_of([Condition("Site", "eq", "LCG.CERN.ch")])]


def test_an_order() -> None:
    assert parse_order(None) == []
    assert parse_order(["Site,-JobID", "Owner:desc"]) == [
        Sort("Site"),
        Sort("JobID", "desc"),
        Sort("Owner", "desc"),
    ]
    with pytest.raises(InvalidInputError, match="no order"):
        parse_order(["Site:up"])


def test_all_options_together() -> None:
    found = conditions(
        states=["running"],
        known=JobStatus,
        named={"Site": ["A.B.c"], "Owner": None},
        since="2026-01-31T12:00:00Z",
        where=["JobType=User"],
    )
    assert found == [
        Condition("Status", "eq", "Running"),
        Condition("Site", "eq", "A.B.c"),
        Condition("SubmissionTime", "gt", "2026-01-31T12:00:00.000000Z"),
        Condition("JobType", "eq", "User"),
    ]


def test_columns() -> None:
    assert parse_columns(None, {"a": "A"}) == {"a": "A"}
    assert parse_columns("a, b", {"a": "A"}) == {"a": "A", "b": "b"}
