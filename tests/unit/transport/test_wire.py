"""Errors and values on the wire."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import BY_CODE, DiracError, InvalidInputError, InvalidShapeError, UnavailableError
from dirac.core.search import Condition, SearchParams
from dirac.transport.wire import decode, encode, error_body, error_from_wire, status_of


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=lambda kind: kind.code)
def test_an_error_comes_back_as_what_it_was(kind: type[DiracError]) -> None:
    sent = kind("the plate is hot", where="kitchen", hint="Use a glove")
    got = error_from_wire(status_of(sent), encode(error_body(sent)), {})
    assert type(got) is kind
    assert str(got) == "kitchen: the plate is hot. Use a glove"


def test_the_pause_that_the_server_asks_for_arrives() -> None:
    error = error_from_wire(503, b"{}", {"retry-after": "7"})
    assert isinstance(error, UnavailableError)
    assert error.retry_after == 7


@pytest.mark.parametrize(
    ("status", "content", "text"),
    [
        (502, b"<html>bad gateway</html>", "the server answered 502"),
        (400, b'{"error": "invalid_grant", "error_description": "the code is old"}', "the code is old"),
        (400, b"[]", "the server answered 400"),
        (404, b'{"detail": [{"loc": 1}]}', "the server answered 404"),
    ],
)
def test_answers_of_others_make_readable_errors(status: int, content: bytes, text: str) -> None:
    assert str(error_from_wire(status, content, {})) == text


@given(st.binary())
def test_any_body_is_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        decode(content, SearchParams)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"search": [{"parameter": "Status", "operator": "eq", "value": []}]}', "$.search[0].value"),
        (b'{"search": [{"parameter": "Status", "operator": "is", "value": 1}]}', "$.search[0].operator"),
        (b'{"serch": []}', "body"),
    ],
)
def test_a_wrong_shape_names_the_place(content: bytes, where: str) -> None:
    with pytest.raises(InvalidShapeError) as caught:
        decode(content, SearchParams)
    assert caught.value.where == where


@pytest.mark.parametrize("content", [b"", b"{", b'"\\u0000"', b"\x00", b"[" * 100_000, b"\xff"])
def test_no_json_is_refused_as_such(content: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode(content, str)


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        (Condition("Status", "eq", value="Done"), None),
        (Condition("JobID", "in", values=[1, 2]), None),
        (Condition("Status", "eq"), "needs one 'value'"),
        (Condition("JobID", "not in"), "needs a list in 'values'"),
        (Condition("JobID", "in", values=list(range(10_001))), "at most 10000"),
        (Condition("JobName", "like", value="x" * 5000), "longer than"),
    ],
)
def test_a_condition_says_what_is_wrong_with_it(condition: Condition, fault: str | None) -> None:
    found = condition.fault()
    assert found is None if fault is None else fault in str(found)


def test_search_parameters_keep_the_shape_of_diracx() -> None:
    sent = b'{"parameters":["JobID"],"search":[{"parameter":"JobID","operator":"in","values":["6",2]}]}'
    assert encode(decode(sent, SearchParams)) == sent
    assert msgspec.json.decode(encode(SearchParams())) == {}
