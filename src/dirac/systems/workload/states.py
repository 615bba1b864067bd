"""The lives of jobs and pilots: which moves there are, and what a report does to a job.

All here is pure: a job's standing and what is reported go in; its new standing, what to write into the log
and what was refused come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from dirac.core.search import Condition
from dirac.core.states import LifeCycle
from dirac.core.unit import Event
from dirac.systems.workload.models import JobStatus as S
from dirac.systems.workload.models import JobStatusUpdate, JobVerb, PilotStatus

JOB_LIFE: Final = LifeCycle[S](
    "job",
    {
        S.SUBMITTING: frozenset({S.RECEIVED, S.CHECKING, S.DELETED, S.KILLED}),
        S.RECEIVED: frozenset({S.SCOUTING, S.CHECKING, S.STAGING, S.WAITING, S.FAILED, S.DELETED, S.KILLED}),
        S.CHECKING: frozenset(
            {S.SCOUTING, S.STAGING, S.WAITING, S.RESCHEDULED, S.FAILED, S.DELETED, S.KILLED}
        ),
        S.SCOUTING: frozenset({S.CHECKING, S.FAILED, S.STALLED, S.KILLED}),
        S.STAGING: frozenset({S.CHECKING, S.WAITING, S.FAILED, S.KILLED}),
        S.WAITING: frozenset({S.CHECKING, S.MATCHED, S.RESCHEDULED, S.DELETED, S.KILLED}),
        S.MATCHED: frozenset({S.RUNNING, S.FAILED, S.RESCHEDULED, S.KILLED}),
        S.RESCHEDULED: frozenset({S.WAITING, S.RECEIVED, S.DELETED, S.FAILED, S.KILLED}),
        S.RUNNING: frozenset(
            {S.STALLED, S.DONE, S.FAILED, S.RESCHEDULED, S.COMPLETING, S.KILLED, S.RECEIVED}
        ),
        S.STALLED: frozenset({S.RUNNING, S.FAILED, S.KILLED}),
        S.COMPLETING: frozenset({S.DONE, S.FAILED, S.COMPLETED, S.STALLED, S.KILLED}),
        S.COMPLETED: frozenset({S.DONE, S.FAILED}),
        S.DONE: frozenset({S.DELETED}),
        S.FAILED: frozenset({S.DELETED, S.RESCHEDULED}),
        S.KILLED: frozenset({S.DELETED}),
        S.DELETED: frozenset(),
    },
)
"""The states of a job and the moves between them."""

ENDED: Final = frozenset({S.DONE, S.COMPLETED, S.FAILED, S.KILLED})
"""States in which a job's last run is over."""

HELD: Final = frozenset({S.MATCHED, S.RUNNING, S.STALLED, S.COMPLETING})
"""States in which a pilot has the job; they come from a claim, and losing the lease leaves them."""

OF_A_RUN: Final = HELD | ENDED | {S.DELETED}
"""States that the job's newest run has or has left behind; in all others that run is given up."""

_P = PilotStatus
_PILOT_FINAL: Final = frozenset({_P.DONE, _P.FAILED, _P.DELETED, _P.ABORTED})
PILOT_LIFE: Final = LifeCycle[PilotStatus](
    "pilot",
    {
        _P.SUBMITTED: _PILOT_FINAL | {_P.WAITING, _P.RUNNING, _P.UNKNOWN},
        _P.WAITING: _PILOT_FINAL | {_P.RUNNING, _P.UNKNOWN},
        _P.RUNNING: _PILOT_FINAL | {_P.UNKNOWN},
        _P.UNKNOWN: _PILOT_FINAL | {_P.WAITING, _P.RUNNING},
        **dict.fromkeys(_PILOT_FINAL, frozenset[PilotStatus]()),
    },
)
"""The states of a pilot and the moves between them."""

# A job that is Matched has a run behind it and one that is Rescheduled is about to wait: saying so would
# make neither true, and nobody would come back to the job.
_ONLY_BY_DEED: Final = {
    S.MATCHED: "only a pilot's request for work makes a job Matched",
    S.RESCHEDULED: "use the call that reschedules jobs",
}
NO_APPLICATION_STATUS: Final = "Unknown"
WAITING_MINOR: Final = "Pilot Agent Submission"
STALLED_MINOR: Final = "Job stalled: pilot not running"
ON_HOLD: Final = "On hold"
"""Minor status of a job that a person holds back; it is `Checking`, which no pilot is given."""
DELAYED: Final = "Waits before its next run"
"""Minor status of a job whose run was lost and that is not to run again at once; it is `Rescheduled`."""
KILL_ORDERED: Final = "Marked for termination"
KILL_UNCONFIRMED: Final = "Kill not confirmed by the pilot"
REFUSED_MARK: Final = "(SM)"
LATE_NOTE: Final = "came late; changed nothing"
_SPANS: Final = 128


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job is in its life.

    Attributes:
        newest: Time of the newest report that counted; older ones only go to the log.
    """

    status: S
    minor_status: str
    application_status: str
    start_exec_time: datetime | None = None
    end_exec_time: datetime | None = None
    newest: datetime | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a job at one moment."""

    time: datetime
    update: JobStatusUpdate


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line for a job's log.

    Attributes:
        note: What was special about it: that it came late, or why it was refused.
    """

    time: datetime
    status: S
    minor_status: str
    application_status: str
    source: str
    note: str | None = None


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What reports did to a job.

    Attributes:
        standing: Where it is now.
        lines: For the log, in order.
        refusals: Why some of it was refused.
        counted: Whether any report counted, even if it changed nothing.
    """

    standing: Standing
    lines: tuple[Line, ...]
    refusals: tuple[str, ...] = ()
    counted: bool = False


def judge(standing: Standing, reports: Iterable[Report], *, now: datetime, force: bool = False) -> Judgement:
    """Apply reports to a job, in the order of their times.

    A time in the future counts as now: one wrong clock must not make all later reports late. What is said
    again, with the same time, changes nothing and is not written again.

    Args:
        standing: Where the job is.
        reports: What is said of it.
        now: The present moment.
        force: Any state may follow any other.
    """
    lines: list[Line] = []
    refusals: list[str] = []
    counted = False
    for report in sorted(reports, key=lambda each: each.time):
        time, update = min(report.time, now), report.update
        if standing.newest is not None and time < standing.newest:
            lines.append(_late(standing, time, update))
        elif time == standing.newest and _moved(standing, time, update) == standing:
            counted = True  # said again, because its answer was lost
        elif reason := _refusal(standing.status, update.Status, force=force):
            refusals.append(reason)
            lines.append(_line(standing, time, update.Source + REFUSED_MARK, f"refused: {reason}"))
        else:
            standing, counted = _moved(standing, time, update), True
            lines.append(_line(standing, time, update.Source))
    return Judgement(standing=standing, lines=tuple(lines), refusals=tuple(refusals), counted=counted)


def _refusal(old: S, new: S | None, *, force: bool) -> str | None:
    if new is None or new == old or force:
        return None
    if (old, new) == (S.WAITING, S.CHECKING):
        return f"a job that is {old} cannot be declared {new}: use the call that holds jobs"
    if new in _ONLY_BY_DEED:
        return f"a job that is {old} cannot be declared {new}: {_ONLY_BY_DEED[new]}"
    # Whoever reports on a stalled job shows that it is not.
    refusal = JOB_LIFE.refusal(S.RUNNING if old == S.STALLED else old, new)
    return refusal.reason if refusal else None


def _moved(standing: Standing, time: datetime, update: JobStatusUpdate) -> Standing:
    status = update.Status or standing.status
    started, ended = standing.start_exec_time, standing.end_exec_time
    if status == S.RUNNING and started is None:
        started = time
    if status in ENDED and status != standing.status:
        ended = time
    return Standing(
        status=status,
        minor_status=_given(update.MinorStatus, standing.minor_status),
        application_status=_given(update.ApplicationStatus, standing.application_status),
        start_exec_time=started,
        end_exec_time=ended,
        newest=time,
    )


def _given(value: str | None, present: str) -> str:
    return present if value is None else value


def _line(standing: Standing, time: datetime, source: str, note: str | None = None) -> Line:
    return Line(
        time=time,
        status=standing.status,
        minor_status=standing.minor_status,
        application_status=standing.application_status,
        source=source,
        note=note,
    )


def _late(standing: Standing, time: datetime, update: JobStatusUpdate) -> Line:
    return Line(
        time=time,
        status=update.Status or standing.status,
        minor_status=_given(update.MinorStatus, standing.minor_status),
        application_status=_given(update.ApplicationStatus, standing.application_status),
        source=update.Source,
        note=LATE_NOTE,
    )


def move(
    standing: Standing, steps: Sequence[tuple[S, str]], *, now: datetime, source: str, note: str | None = None
) -> Judgement:
    """Take a job through some states, by a deed of the system; all or nothing.

    Args:
        standing: Where the job is.
        steps: States to go through, each with its minor status.
        now: The present moment.
        source: Who does it, for the log.
        note: What to add to the first line of the log.
    """
    lines: list[Line] = []
    after = standing
    for status, minor in steps:
        if refusal := JOB_LIFE.refusal(after.status, status):
            return Judgement(standing=standing, lines=(), refusals=(refusal.reason,))
        after = _moved(after, now, JobStatusUpdate(Status=status, MinorStatus=minor))
        if status == S.RESCHEDULED:
            after = msgspec.structs.replace(
                after, application_status=NO_APPLICATION_STATUS, start_exec_time=None, end_exec_time=None
            )
        lines.append(_line(after, now, source, None if lines else note))
    return Judgement(standing=after, lines=tuple(lines), counted=True)


_RESCHEDULE: Final = ((S.RESCHEDULED, "Job Rescheduled"), (S.WAITING, WAITING_MINOR))


def rescheduled(standing: Standing, *, now: datetime, source: str) -> Judgement:
    """Let a job wait again; a stalled one is given up first."""
    steps = _RESCHEDULE
    if standing.status == S.STALLED:
        return move(standing, [(S.FAILED, STALLED_MINOR), *steps], now=now, source=source)
    return move(standing, steps, now=now, source=source)


def lost(
    standing: Standing, *, runs_left: bool, now: datetime, source: str, delayed: bool = False
) -> Judgement:
    """Give up a run of which there is no sign of life any more.

    Args:
        standing: Where the job is; it is held by a pilot.
        runs_left: Whether the job may have another run; otherwise it fails.
        delayed: Do not let it wait at once: it stays `Rescheduled` until it is released.
        now: The present moment.
        source: Who found out, for the log.
    """
    steps: list[tuple[S, str]] = []
    if standing.status in (S.RUNNING, S.COMPLETING):
        steps.append((S.STALLED, STALLED_MINOR))
    if standing.status != S.MATCHED or not runs_left:
        steps.append((S.FAILED, STALLED_MINOR))
    if runs_left:
        steps += [(S.RESCHEDULED, DELAYED)] if delayed else _RESCHEDULE
    return move(standing, steps, now=now, source=source, note="no sign of life from the pilot")


def killed(standing: Standing, *, now: datetime, source: str) -> Judgement:
    """Kill a job; one that was killed before stays so."""
    if standing.status == S.KILLED:
        return Judgement(standing=standing, lines=())
    return move(standing, [(S.KILLED, KILL_ORDERED)], now=now, source=source)


def deleted(standing: Standing, *, now: datetime, source: str) -> Judgement:
    """Delete a job; one that a pilot has, or that cannot be deleted otherwise, is killed first."""
    if standing.status == S.DELETED:
        return Judgement(standing=standing, lines=())
    steps = [(S.DELETED, KILL_ORDERED)]
    successors = JOB_LIFE.successors(standing.status)
    if S.DELETED not in successors and S.KILLED in successors:
        steps.insert(0, (S.KILLED, KILL_ORDERED))
    return move(standing, steps, now=now, source=source)


def put_on_hold(standing: Standing, *, now: datetime, source: str) -> Judgement:
    """Keep a job that waits from pilots until it is released; one that is on hold stays so."""
    if is_on_hold(standing):
        return Judgement(standing=standing, lines=())
    steps = [(S.CHECKING, ON_HOLD)]
    if standing.status == S.RESCHEDULED:
        steps.insert(0, (S.WAITING, WAITING_MINOR))
    elif standing.status != S.WAITING:
        reason = f"a job that is {standing.status} cannot be held; only one that waits for a pilot can"
        return Judgement(standing=standing, lines=(), refusals=(reason,))
    return move(standing, steps, now=now, source=source)


def released(standing: Standing, *, now: datetime, source: str) -> Judgement:
    """Let a job wait that is on hold, or that was to wait before its next run; one that waits stays so."""
    if standing.status == S.WAITING:
        return Judgement(standing=standing, lines=())
    if standing.status in (S.CHECKING, S.RESCHEDULED) and standing.minor_status in (ON_HOLD, DELAYED):
        return move(standing, [(S.WAITING, WAITING_MINOR)], now=now, source=source)
    reason = f"a job that is {standing.status} is not on hold"
    return Judgement(standing=standing, lines=(), refusals=(reason,))


def is_on_hold(standing: Standing) -> bool:
    """Tell whether a person holds a job back."""
    return standing.status == S.CHECKING and standing.minor_status == ON_HOLD


def unconfirmed(standing: Standing, *, now: datetime, source: str) -> Judgement:
    """Note that nobody has said that a job's run has ended, though it was ordered to."""
    after = _moved(standing, now, JobStatusUpdate(MinorStatus=KILL_UNCONFIRMED))
    note = "no answer within the lease: the payload may still be running"
    return Judgement(standing=after, lines=(_line(after, now, source, note),), counted=True)


def _leading_to(*states: S) -> frozenset[S]:
    return frozenset(old for old in S if JOB_LIFE.successors(old) & set(states))


_AGAIN: Final = (_leading_to(S.RESCHEDULED) | {S.STALLED}) - {S.WAITING, S.CHECKING}
_MOVED_BY: Final[dict[JobVerb, frozenset[S]]] = {
    JobVerb.KILL: _leading_to(S.KILLED),
    JobVerb.HOLD: frozenset({S.WAITING, S.RESCHEDULED}),
    JobVerb.RELEASE: frozenset({S.CHECKING, S.RESCHEDULED}),
    JobVerb.RESCHEDULE: _AGAIN,
    JobVerb.RESET: _AGAIN,
    JobVerb.DELETE: _leading_to(S.DELETED, S.KILLED),
}


def still_to_do(verb: JobVerb) -> list[Condition]:
    """Return the conditions under which a verb changes a job that was chosen by a filter.

    What it has done takes a job out of them, so that doing it again to all that fit comes to an end.
    """
    found = [Condition("Status", "in", values=sorted(map(str, _MOVED_BY[verb])))]
    if verb == JobVerb.RELEASE:
        found.append(Condition("MinorStatus", "in", values=[ON_HOLD, DELAYED]))
    return found


def series_slot(elapsed: float, period: int) -> int:
    """Return the span of a run that a moment falls into, by its begin; of each span one sign of life is kept.

    Spans are as long as the period of the signs at first, and twice as long whenever the run has lasted twice
    as long: a series grows with the logarithm of a run's length only.

    Args:
        elapsed: Seconds since the run began.
        period: Seconds between two signs of life.
    """
    width = max(period, 1)
    while elapsed >= width * _SPANS:
        width *= 2
    return int(max(elapsed, 0) // width) * width


def line_event(line: Line, *, vo: str, job_id: int, attempt: int, actor: str) -> Event:
    """Return a line of a job's log as an event of its history."""
    data = {
        "Status": str(line.status),
        "MinorStatus": line.minor_status,
        "ApplicationStatus": line.application_status,
        "Source": line.source,
    }
    return Event(
        kind="workload.job.status",
        vo=vo,
        subject_kind="job",
        subject_id=str(job_id),
        time=line.time,
        actor=actor,
        attempt=attempt or None,
        data=data | {"Note": line.note} if line.note else data,
    )
