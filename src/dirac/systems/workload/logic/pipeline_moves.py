"""The moves of jobs into the optimisation pipeline, through it and out of it; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.ports.pipeline import Fail, Hold, Verdict
from dirac.systems.workload.states import (
    ENDED,
    NO_APPLICATION_STATUS,
    WAITING_MINOR,
    Judgement,
    Standing,
    move,
)

IN_PIPELINE: Final = frozenset({JobStatus.RECEIVED, JobStatus.CHECKING, JobStatus.STAGING})
"""States in which the pipeline has a job."""

RETRY_MARK: Final = "Failed: "
HELD_MARK: Final = "On Hold: "
_LONGEST = 255
_AGAIN = "Job Rescheduled"


def decided(
    standing: Standing, passed: Sequence[tuple[str, str]], verdict: Verdict, by: str, now: datetime
) -> Judgement:
    """Return what a verdict does to a job, with a line in its log for each step that it has passed.

    Args:
        standing: Where the job is.
        passed: Steps that have judged it, as (name, minor status).
        verdict: What the last one says.
        by: That step's name.
        now: The present moment.
    """
    if isinstance(verdict, Hold):
        return _held(standing, verdict, by, now)
    parts = []
    for name, minor in passed:
        parts.append(move(standing, [(JobStatus.CHECKING, minor)], now=now, source=name))
        standing = parts[-1].standing
    if isinstance(verdict, Fail):
        parts.append(move(standing, [(JobStatus.FAILED, verdict.cause[:_LONGEST])], now=now, source=by))
        return _detailed(parts, verdict.detail)
    parts.append(move(standing, [(JobStatus.WAITING, WAITING_MINOR)], now=now, source="JobScheduling"))
    return _detailed(parts, "")


def _held(standing: Standing, verdict: Hold, by: str, now: datetime) -> Judgement:
    status = JobStatus.STAGING if verdict.staging else JobStatus.CHECKING
    held = _detailed(
        [move(standing, [(status, (HELD_MARK + verdict.cause)[:_LONGEST])], now=now, source=by)],
        verdict.detail,
    )
    same = ("status", "minor_status", "application_status")
    if all(getattr(held.standing, name) == getattr(standing, name) for name in same):
        return Judgement(standing=standing, lines=())  # as before: not a line for every look
    return held


def _detailed(parts: Sequence[Judgement], detail: str) -> Judgement:
    """Return moves in a row as one judgement, that ends with a detail."""
    said = {"application_status": detail[:_LONGEST] or NO_APPLICATION_STATUS}
    lines = [line for part in parts for line in part.lines]
    lines[-1] = msgspec.structs.replace(lines[-1], **said)
    standing = msgspec.structs.replace(parts[-1].standing, **said)
    refusals = tuple(reason for part in parts for reason in part.refusals)
    return Judgement(standing=standing, lines=tuple(lines), refusals=refusals, counted=not refusals)


def is_rescheduled(old: str, judgement: Judgement) -> bool:
    """Tell whether a job is to wait for another run."""
    if not judgement.counted or judgement.standing.status != JobStatus.WAITING:
        return False
    return old == JobStatus.RESCHEDULED or any(
        line.status == JobStatus.RESCHEDULED for line in judgement.lines
    )


def is_news(old: str, judgement: Judgement) -> bool:
    """Tell whether a job has just ended, as far as those are concerned that depend on it."""
    new = judgement.standing.status
    return judgement.counted and new != old and (new in ENDED or new == JobStatus.DELETED)


def undecided(judgement: Judgement) -> Judgement:
    """Return the failure of a job that may run again by itself: until that is known, it has not ended.

    It keeps what it failed with, for the decision and for those who read it if there is no other run.
    """
    minor = (RETRY_MARK + judgement.standing.minor_status)[:_LONGEST]
    said = {"status": JobStatus.RESCHEDULED, "minor_status": minor}
    line = msgspec.structs.replace(judgement.lines[-1], source="Retry", note=None, **said)
    standing = msgspec.structs.replace(judgement.standing, **said)
    return msgspec.structs.replace(judgement, standing=standing, lines=(*judgement.lines, line))


def is_undecided(status: str, minor_status: str) -> bool:
    """Tell whether a job has failed and may run again by itself."""
    return status == JobStatus.RESCHEDULED and minor_status.startswith(RETRY_MARK)


def retried(standing: Standing, *, again: bool, now: datetime) -> Judgement:
    """Let a job that has failed run again, or be Failed for good."""
    if again:
        steps = [(JobStatus.RESCHEDULED, _AGAIN), (JobStatus.WAITING, WAITING_MINOR)]
    else:
        steps = [(JobStatus.FAILED, standing.minor_status.removeprefix(RETRY_MARK))]
    return move(standing, steps, now=now, source="Retry")


def readmitted(judgement: Judgement) -> Judgement:
    """Return a judgement that lets a job wait again, with the pipeline in the place of waiting."""
    said = {"status": JobStatus.RECEIVED, "minor_status": _AGAIN}
    last = msgspec.structs.replace(judgement.lines[-1], **said)
    standing = msgspec.structs.replace(judgement.standing, **said)
    return msgspec.structs.replace(judgement, standing=standing, lines=(*judgement.lines[:-1], last))
