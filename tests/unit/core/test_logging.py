from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.logging import JsonLines, configure, request_id


def printed(message: str, *args: object, extra: dict[str, Any] | None = None, **options: Any) -> Any:
    record = logging.getLogger("test.oven").makeRecord(
        "test.oven", logging.WARNING, "file", 1, message, args, options.get("exc_info"), extra=extra
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_a_record_is_one_object() -> None:
    entry = printed("%s of %d", "loaf", 3, extra={"pilot": "p1", "heat": 400})
    assert datetime.fromisoformat(entry.pop("time")).utcoffset() is not None
    assert entry == {
        "level": "WARNING",
        "logger": "test.oven",
        "message": "loaf of 3",
        "pilot": "p1",
        "heat": 400,
    }


@given(st.text(), st.text())
def test_nothing_that_is_logged_can_make_a_line_of_its_own(message: str, value: str) -> None:
    entry = printed("%s", message, extra={"value": value})
    assert (entry["message"], entry["value"]) == (message, value)


def test_what_is_no_json_is_printed_as_text() -> None:
    assert printed("x", extra={"value": {1}})["value"] == "{1}"


def test_an_exception_comes_with_its_trace() -> None:
    try:
        raise ValueError("the oven is cold")
    except ValueError:
        entry = printed("failed", exc_info=sys.exc_info())
    assert "Traceback" in entry["exception"]
    assert entry["exception"].endswith("ValueError: the oven is cold")


def test_the_request_is_named_while_there_is_one() -> None:
    token = request_id.set("r-1")
    try:
        assert printed("x")["request"] == "r-1"
    finally:
        request_id.reset(token)
    assert "request" not in printed("x")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root of the logs, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_all_logs_go_to_standard_error_from_their_level_on(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("WARNING")
    configure("WARNING")
    logging.getLogger("a").info("not this")
    logging.getLogger("b").warning("this")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "this"
