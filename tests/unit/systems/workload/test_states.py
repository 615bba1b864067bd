"""The lives of jobs and pilots: what reports do, and what never happens whatever is reported."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.systems.workload.models import JobStatus, JobStatusUpdate, PilotStatus
from dirac.systems.workload.states import (
    ENDED,
    HELD,
    JOB_LIFE,
    PILOT_LIFE,
    Judgement,
    Report,
    Standing,
    deleted,
    judge,
    killed,
    lost,
    rescheduled,
)

S = JobStatus
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def standing(status: JobStatus, **more: object) -> Standing:
    values = {"minor_status": "minor", "application_status": "Unknown"} | more
    return Standing(status=status, **values)  # type: ignore[arg-type]  # as given by the test


def report(seconds: float, status: JobStatus | None = None, minor: str | None = None) -> Report:
    update = JobStatusUpdate(Status=status, MinorStatus=minor, Source="Test")
    return Report(time=NOW + timedelta(seconds=seconds), update=update)


def after(old: JobStatus, *reports: Report, **more: object) -> Judgement:
    return judge(standing(old, **more), reports, now=NOW)


def test_every_state_has_its_moves() -> None:
    assert JOB_LIFE.states == frozenset(JobStatus)
    assert PILOT_LIFE.states == frozenset(PilotStatus)
    assert {state for state in JOB_LIFE.states if not JOB_LIFE.successors(state)} == {S.DELETED}


def test_reports_are_applied_in_the_order_of_their_times() -> None:
    done = after(S.MATCHED, report(-1, S.DONE, "Execution Complete"), report(-5, S.RUNNING, "Application"))
    assert done.standing.status == S.DONE
    assert done.standing.start_exec_time == NOW - timedelta(seconds=5)
    assert done.standing.end_exec_time == NOW - timedelta(seconds=1)
    assert [line.status for line in done.lines] == [S.RUNNING, S.DONE]
    assert done.refusals == ()


def test_what_is_not_said_stays() -> None:
    found = after(S.RUNNING, report(-1, minor="Uploading"))
    assert (found.standing.status, found.standing.minor_status) == (S.RUNNING, "Uploading")
    assert found.standing.application_status == "Unknown"
    assert found.standing.start_exec_time == NOW - timedelta(seconds=1)


def test_the_first_start_counts() -> None:
    first = NOW - timedelta(seconds=50)
    assert after(S.RUNNING, report(-1, S.RUNNING), start_exec_time=first).standing.start_exec_time == first


def test_a_refused_report_changes_nothing_and_is_logged_with_the_reason() -> None:
    found = after(S.RECEIVED, report(-1, S.DONE, "Execution Complete"))
    assert found.standing == standing(S.RECEIVED)
    assert not found.counted
    assert "Received cannot become Done" in found.refusals[0]
    (line,) = found.lines
    assert (line.status, line.minor_status, line.source) == (S.RECEIVED, "minor", "Test(SM)")
    assert line.note is not None


def test_what_follows_a_refused_report_counts() -> None:
    found = after(S.MATCHED, report(-3, S.DONE), report(-2, S.RUNNING))
    assert found.standing.status == S.RUNNING
    assert len(found.refusals) == 1


def test_a_stalled_job_is_judged_as_if_it_ran() -> None:
    for status in (S.RUNNING, S.COMPLETING, S.DONE, S.FAILED, S.KILLED):
        assert after(S.STALLED, report(-1, status)).standing.status == status
    assert after(S.STALLED, report(-1, S.WAITING)).refusals


def test_what_is_said_again_is_not_written_again() -> None:
    first = after(S.RUNNING, report(-5, S.DONE, "Execution Complete"))
    again = judge(first.standing, [report(-5, S.DONE, "Execution Complete")], now=NOW)
    assert (again.standing, again.lines, again.refusals) == (first.standing, (), ())
    more = judge(first.standing, [report(-5, None, "Pending Requests")], now=NOW)
    assert [line.minor_status for line in more.lines] == ["Pending Requests"], (
        "another thing at the same time"
    )


def test_an_older_report_only_goes_to_the_log() -> None:
    found = after(S.RUNNING, report(-9, S.FAILED), newest=NOW - timedelta(seconds=5))
    assert found.standing.status == S.RUNNING
    assert not found.counted
    assert found.refusals == ()
    assert found.lines[0].status == S.FAILED
    assert found.lines[0].note is not None


def test_a_clock_that_is_ahead_does_not_make_later_reports_late() -> None:
    found = after(S.MATCHED, report(3600, S.RUNNING))
    assert found.standing.newest == NOW
    again = judge(found.standing, [report(3601, S.DONE)], now=NOW + timedelta(seconds=1))
    assert again.standing.status == S.DONE


@pytest.mark.parametrize("status", [S.MATCHED, S.RESCHEDULED])
def test_some_states_come_from_deeds_only(status: JobStatus) -> None:
    old = S.WAITING if status == S.MATCHED else S.RUNNING
    assert status in JOB_LIFE.successors(old)
    assert after(old, report(-1, status)).refusals
    assert judge(standing(old), [report(-1, status)], now=NOW, force=True).standing.status == status


def test_force_lets_any_state_follow() -> None:
    forced = judge(standing(S.DONE), [report(-1, S.WAITING)], now=NOW, force=True)
    assert forced.standing.status == S.WAITING


@pytest.mark.parametrize(
    ("old", "runs_left", "path"),
    [
        (S.MATCHED, True, [S.RESCHEDULED, S.WAITING]),
        (S.RUNNING, True, [S.STALLED, S.FAILED, S.RESCHEDULED, S.WAITING]),
        (S.COMPLETING, True, [S.STALLED, S.FAILED, S.RESCHEDULED, S.WAITING]),
        (S.STALLED, True, [S.FAILED, S.RESCHEDULED, S.WAITING]),
        (S.MATCHED, False, [S.FAILED]),
        (S.RUNNING, False, [S.STALLED, S.FAILED]),
        (S.STALLED, False, [S.FAILED]),
    ],
)
def test_a_lost_run(old: JobStatus, runs_left: bool, path: list[JobStatus]) -> None:
    found = lost(standing(old), runs_left=runs_left, now=NOW, source="Leases")
    assert [line.status for line in found.lines] == path
    assert found.refusals == ()
    if runs_left:
        assert (found.standing.start_exec_time, found.standing.end_exec_time) == (None, None)
    else:
        assert found.standing.end_exec_time == NOW


def test_every_held_job_can_be_lost() -> None:
    for status in HELD:
        for runs_left in (True, False):
            assert not lost(standing(status), runs_left=runs_left, now=NOW, source="Leases").refusals


@pytest.mark.parametrize("old", sorted(JobStatus))
def test_killing_ends_what_has_not_ended(old: JobStatus) -> None:
    found = killed(standing(old), now=NOW, source="JobManager")
    if old in ENDED - {S.KILLED} or old == S.DELETED:
        assert found.refusals
        assert found.standing.status == old
    else:
        assert found.standing.status == S.KILLED
        assert not found.refusals


@pytest.mark.parametrize("old", sorted(JobStatus))
def test_deleting_goes_by_killing_where_it_must(old: JobStatus) -> None:
    found = deleted(standing(old), now=NOW, source="JobManager")
    if old == S.COMPLETED:
        assert found.refusals
    else:
        assert found.standing.status == S.DELETED
        assert not found.refusals


@pytest.mark.parametrize("old", sorted(JobStatus))
def test_rescheduling_really_lets_a_job_wait(old: JobStatus) -> None:
    found = rescheduled(standing(old), now=NOW, source="JobManager")
    may = old in (S.CHECKING, S.WAITING, S.MATCHED, S.RUNNING, S.STALLED, S.FAILED, S.RESCHEDULED)
    assert found.standing.status == (S.WAITING if may else old)
    assert bool(found.refusals) != may


reports = st.builds(
    report,
    st.floats(min_value=-100, max_value=100),
    st.none() | st.sampled_from(JobStatus),
    st.none() | st.sampled_from(["a", "b"]),
)


@given(st.sampled_from(JobStatus), st.lists(st.lists(reports, max_size=4), max_size=6))
def test_whatever_is_reported(old: JobStatus, batches: list[list[Report]]) -> None:
    now = standing(old)
    for number, batch in enumerate(batches):
        before = now
        found = judge(now, batch, now=NOW + timedelta(seconds=number))
        now = found.standing
        assert len(found.lines) <= len(batch), "a report has a line, one that is said again has none"
        if before.status == S.DELETED:
            assert now.status == S.DELETED
        if before.status in (S.DONE, S.KILLED):
            assert now.status in (before.status, S.DELETED), "an end is an end"
        assert now.status not in (S.MATCHED, S.RESCHEDULED) or now.status == before.status
        assert before.newest is None or (now.newest is not None and now.newest >= before.newest)
        assert before.start_exec_time is None or now.start_exec_time == before.start_exec_time
        for line in found.lines:
            assert line.time <= NOW + timedelta(seconds=number)


@given(st.sampled_from(JobStatus), st.lists(st.sampled_from(["lost", "kill", "delete", "again"]), max_size=8))
def test_whatever_is_done(old: JobStatus, deeds: list[str]) -> None:
    """Each line of the log follows the one before by a move that exists."""
    now = standing(old)
    for deed in deeds:
        before = now.status
        if deed == "lost" and before not in HELD:
            continue
        found = {
            "lost": lambda: lost(now, runs_left=True, now=NOW, source="x"),  # noqa: B023 - called at once
            "kill": lambda: killed(now, now=NOW, source="x"),  # noqa: B023
            "delete": lambda: deleted(now, now=NOW, source="x"),  # noqa: B023
            "again": lambda: rescheduled(now, now=NOW, source="x"),  # noqa: B023
        }[deed]()
        now = found.standing
        path = [before, *(line.status for line in found.lines)]
        assert path[-1] == now.status
        assert all(JOB_LIFE.refusal(a, b) is None for a, b in itertools.pairwise(path))
        assert not (found.refusals and found.lines), "all or nothing"
