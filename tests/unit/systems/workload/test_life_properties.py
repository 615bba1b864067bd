"""Whatever happens to a job, in whatever order, its life stays one that there is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.search import Condition
from dirac.systems.workload.models import JobStatus, JobStatusUpdate, JobVerb
from dirac.systems.workload.states import (
    DELAYED,
    HELD,
    JOB_LIFE,
    ON_HOLD,
    Judgement,
    Report,
    Standing,
    deleted,
    is_on_hold,
    judge,
    killed,
    lost,
    put_on_hold,
    released,
    rescheduled,
    series_slot,
    still_to_do,
    unconfirmed,
)

S = JobStatus
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
VERBS: dict[JobVerb, Callable[..., Judgement]] = {
    JobVerb.KILL: killed,
    JobVerb.DELETE: deleted,
    JobVerb.HOLD: put_on_hold,
    JobVerb.RELEASE: released,
    JobVerb.RESCHEDULE: rescheduled,
    JobVerb.RESET: rescheduled,
}
_FINAL = {S.DELETED: frozenset[S](), S.KILLED: {S.DELETED}, S.DONE: {S.DELETED}}

statuses = st.sampled_from(sorted(S))
standings = st.builds(
    Standing,
    status=statuses,
    minor_status=st.sampled_from(["x", ON_HOLD, DELAYED]),
    application_status=st.just("Unknown"),
    newest=st.just(NOW),
)
events = st.one_of(
    st.tuples(st.just("verb"), st.sampled_from(sorted(VERBS))),
    st.tuples(st.just("report"), st.none() | statuses, st.integers(-5, 5)),
    st.tuples(st.just("lost"), st.booleans(), st.booleans()),
    st.tuples(st.just("unconfirmed")),
)


def happens(standing: Standing, what: tuple[Any, ...], now: datetime) -> Judgement | None:
    """Let something happen; None if it does not happen to a job like this."""
    match what:
        case ("verb", verb):
            return VERBS[verb](standing, now=now, source="Test")
        case ("report", status, late):
            update = JobStatusUpdate(Status=status, Source="Test")
            return judge(standing, [Report(time=now - timedelta(seconds=late), update=update)], now=now)
        case ("lost", left, delayed) if standing.status in HELD:
            return lost(standing, runs_left=left, delayed=delayed, now=now, source="Test")
        case ("unconfirmed",) if standing.status in (S.KILLED, S.DELETED):
            return unconfirmed(standing, now=now, source="Test")
    return None


@given(standings, st.lists(events, max_size=30))
def test_every_step_is_one_that_there_is(standing: Standing, story: list[tuple[Any, ...]]) -> None:
    now = NOW
    for what in story:
        now += timedelta(seconds=2)
        judgement = happens(standing, what, now)
        if judgement is None:
            continue
        after = judgement.standing
        if not judgement.counted:
            assert after == standing, "what is refused or late changes nothing"
            assert judgement.refusals or not judgement.lines or judgement.lines[0].note
        else:
            last = S.RUNNING if standing.status == S.STALLED and what[0] == "report" else standing.status
            for line in judgement.lines:
                assert JOB_LIFE.refusal(last, line.status) is None
                last = line.status
            if judgement.lines:
                assert judgement.lines[-1].status == after.status
            else:
                assert after == standing, "it was said before"
        if standing.status in _FINAL:
            assert after.status in {standing.status, *_FINAL[standing.status]}
        assert (after.status == S.MATCHED) <= (standing.status == S.MATCHED), "only a claim does that"
        standing = after


@given(standings, st.sampled_from(sorted(VERBS)))
def test_a_verb_does_all_or_nothing_and_is_told(standing: Standing, verb: JobVerb) -> None:
    judgement = VERBS[verb](standing, now=NOW, source="Test")
    assert judgement.counted == bool(judgement.lines)
    if judgement.refusals:
        assert judgement.standing == standing
        assert not judgement.lines
        assert str(standing.status) in judgement.refusals[0]


@given(standings, st.sampled_from([JobVerb.KILL, JobVerb.DELETE, JobVerb.HOLD, JobVerb.RELEASE]))
def test_doing_it_again_does_nothing(standing: Standing, verb: JobVerb) -> None:
    first = VERBS[verb](standing, now=NOW, source="Test")
    again = VERBS[verb](first.standing, now=NOW, source="Test")
    assert again.standing == first.standing
    assert again.lines == ()
    assert again.refusals == first.refusals


def fits(standing: Standing, conditions: list[Condition]) -> bool:
    values = {"Status": str(standing.status), "MinorStatus": standing.minor_status}
    return all(values[each.parameter] in (each.values or ()) for each in conditions)


@given(standings, st.sampled_from(sorted(VERBS)))
def test_what_a_filter_chooses_can_be_done_and_is_then_done(standing: Standing, verb: JobVerb) -> None:
    """So a preview counts what will change, and a repetition comes to an end."""
    judgement = VERBS[verb](standing, now=NOW, source="Test")
    waits = standing.status in (S.WAITING, S.CHECKING, S.RESCHEDULED)
    if fits(standing, still_to_do(verb)):
        assert judgement.counted
        assert not fits(judgement.standing, still_to_do(verb))
    elif judgement.counted:
        assert (verb in (JobVerb.RESCHEDULE, JobVerb.RESET) and waits) or (
            verb == JobVerb.RELEASE and standing.status == S.RESCHEDULED
        ), "nothing that could be done is left out, but what waits anyway"


@given(standings)
def test_hold_and_release_are_each_others_end(standing: Standing) -> None:
    held = put_on_hold(standing, now=NOW, source="Test")
    if held.refusals:
        return
    assert is_on_hold(held.standing)
    free = released(held.standing, now=NOW, source="Test").standing
    assert free.status == S.WAITING
    assert not is_on_hold(free)


@pytest.mark.parametrize("status", sorted(set(S) - {S.WAITING}))
def test_only_waiting_jobs_are_given_to_pilots(status: JobStatus) -> None:
    """What is on hold or delayed has another state, so that a claim does not see it."""
    assert (S.MATCHED in JOB_LIFE.successors(status)) is False


@given(st.integers(1, 3600), st.floats(0, 10**8), st.floats(0, 10**8))
def test_slots_are_in_the_order_of_time(period: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert series_slot(low, period) <= series_slot(high, period)
    assert series_slot(low, period) <= low
    assert series_slot(low, period) % period == 0


def test_a_series_grows_with_the_logarithm_of_the_run() -> None:
    day = {series_slot(60 * minute, 60) for minute in range(24 * 60)}
    month = {series_slot(60 * minute, 60) for minute in range(30 * 24 * 60)}
    assert len(day) < 128 + 64 * 4
    assert len(month) < 128 + 64 * 9
    assert series_slot(-5, 60) == 0
