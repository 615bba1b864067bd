"""What commands print, and what they end with."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from dirac.cli.config.changes import lines
from dirac.cli.live import Scene, all_ended, picture
from dirac.cli.main import exit_code
from dirac.cli.output import moment, print_table, text
from dirac.cli.parameters import Reader
from dirac.cli.report import print_explanation, print_log
from dirac.core import errors
from dirac.systems.configuration.models import Change
from dirac.systems.workload.models import Explanation, Forecast, JobStatus, LogEntry, WaitReason, WhyWaiting

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("kind", sorted(errors.BY_CODE.values(), key=lambda kind: kind.code))
def test_every_error_has_its_exit_code(kind: type[errors.DiracError]) -> None:
    expected = {"not_found": 3, "unauthenticated": 4, "not_allowed": 4, "unavailable": 5}
    invalid = issubclass(kind, errors.InvalidInputError)
    assert exit_code(kind("x")) == expected.get(kind.code, 2 if invalid else 1)


def test_values_as_people_read_them() -> None:
    assert text(None) == ""
    assert text("Unknown") == ""
    assert text(["a", 1]) == "a, 1"
    assert text("not-a-timeT at all, only long") == "not-a-timeT at all, only long"
    now = datetime.now(UTC)
    assert moment(now) == now.astimezone().strftime("%H:%M:%S")
    old = now - timedelta(days=30)
    assert text(old.isoformat()) == old.astimezone().strftime("%Y-%m-%d %H:%M")


def test_a_table_is_aligned_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"a": 1, "b": "x"}, {"a": 200, "b": None}], {"a": "A", "b": "LONG"})
    assert capsys.readouterr().out == "A    LONG\n1    x\n200\n"
    print_table([], {"a": "A"}, nothing="No jobs fit.")
    assert capsys.readouterr().out == "No jobs fit.\n"


def test_a_log_leaves_out_what_it_never_says(capsys: pytest.CaptureFixture[str]) -> None:
    print_log([LogEntry("Waiting", "x", "Unknown", NOW, "JobManager")])
    head = capsys.readouterr().out.splitlines()[0].split()
    assert head == ["TIME", "STATUS", "DETAIL", "SOURCE"]


def test_why_a_job_waits_is_said_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    print_explanation(
        Explanation(
            job_id=1,
            status="Waiting",
            minor_status="",
            text="The job waits for a pilot.",
            queues=1,
            fitting=1,
            requirements=[],
            reasons=[
                WaitReason(WhyWaiting.SHARE, 2, "By their shares, it is the turn of 2 other users first."),
                WaitReason(WhyWaiting.OWN_JOBS, 3, "3 jobs of the same owner are older."),
            ],
        )
    )
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "Share: By their shares, it is the turn of 2 other users first.",
        "OwnJobs: 3 jobs of the same owner are older.",
    ]


def test_when_a_job_may_start_is_said_with_its_ground(capsys: pytest.CaptureFixture[str]) -> None:
    known = Forecast(earliest=95, likely=300, latest=9000, before=4, started=50, within=200_000)
    print_explanation(
        Explanation(
            job_id=1,
            status="Waiting",
            minor_status="",
            text="The job waits for a pilot.",
            queues=1,
            fitting=1,
            requirements=[],
            forecast=known,
        )
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "It may start in 5 min: of ten such jobs, eight start within 95 s to 2 hours" in said
    assert "the last 50 starts took 2 days; 4 jobs like it come first" in said


def test_changes_as_lines() -> None:
    changes = [Change("a/b", 1, 2), Change("c", None, {"x": "y"}), Change("d", "old", None)]
    assert list(lines(changes)) == [("-", "a/b: 1"), ("+", "a/b: 2"), ("+", 'c: {"x": "y"}'), ("-", "d: old")]


def test_events_are_the_differences() -> None:
    scene = Scene(labels={1: "astro", 2: ""})
    waiting: dict[str, Any] = {"Status": "Waiting", "MinorStatus": "m"}
    assert scene.update({1: waiting, 2: waiting}, NOW)
    assert not scene.update({1: waiting}, NOW)
    assert scene.update({2: {"Status": "Done", "MinorStatus": "e"}}, NOW)
    assert [event[1:3] for event in scene.events] == [(1, "Waiting"), (2, "Waiting"), (2, "Done")]
    assert not all_ended(scene.rows)
    assert scene.states() == {"Waiting": 1, "Done": 1}


def test_the_picture_has_all_parts() -> None:
    from rich.console import Console

    scene = Scene(labels={1: "astro", 2: "astro"}, trouble="the server does not answer")
    scene.update(
        {1: {"Status": "Done", "MinorStatus": "fine"}, 2: {"Status": "Running", "MinorStatus": "r"}}, NOW
    )
    scene.pilots["Running"] = 3
    out = io.StringIO()
    Console(width=100, file=out).print(picture(scene))
    shown = out.getvalue()
    for part in (
        "1 of 2 ended",
        "1 Running",
        "3 Running",
        "astro 1",
        "fine",
        "does not answer; trying again",
    ):
        assert part in shown


class _Bounds:
    min, max = 1, 10

    def get_error_hint(self) -> str:
        return "'--limit'"


def test_words_are_read_by_kind() -> None:
    assert Reader(str, many=True).coerce(("a", "b"), None, None) == ["a", "b"]
    assert Reader(str, many=True).coerce(None, None, None) == []
    assert Reader(int, many=False).coerce(None, None, None) is None
    assert Reader(int, many=False).coerce("7", _Bounds(), None) == 7
    assert Reader(Path, many=False).coerce("a/b", None, None) == Path("a/b")
    assert Reader(JobStatus, many=False).coerce("Done", None, None) is JobStatus.DONE


@pytest.mark.parametrize(
    ("kind", "word", "expected"),
    [(int, "x", "not a number"), (int, "11", "from 1 to 10"), (JobStatus, "Gone", "one of Submitting")],
)
def test_wrong_words_are_refused(kind: type, word: str, expected: str) -> None:
    with pytest.raises(typer.BadParameter, match=expected):
        Reader(kind, many=False).coerce(word, _Bounds(), None)
