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


def readmitted(judgement: Judgement) -> Judgement:
    """Return a judgement that lets a job wait again, with the pipeline in the place of waiting."""
    said = {"status": JobStatus.RECEIVED, "minor_status": _AGAIN}
    last = msgspec.structs.replace(judgement.lines[-1], **said)
    standing = msgspec.structs.replace(judgement.standing, **said)
    return msgspec.structs.replace(judgement, standing=standing, lines=(*judgement.lines[:-1], last))
