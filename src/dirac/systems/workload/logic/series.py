"""Series of jobs that differ in a name or in arguments only: one of them is read, the others are filled in.

Reading and checking a description costs far more than storing it, and the descriptions of one submission
are nearly always the same but for such texts. Which of its quoted texts are free is seen from outside the
quotation marks; a description with anything that makes this doubtful is read like any other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from dirac.core.errors import InvalidInputError
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.logic.preparation import Prepared, prepare
from dirac.systems.workload.ports.work import NewClass, NewJob, Owner

_LONGEST = 100
# What the free texts of the one that is read are called. Nobody writes this, and nothing has to be escaped.
_MARK = "dirac-free-text-{}-"
_free = re.compile(r"(?:^|;)\s*+(?:Arguments|JobName)\s*+=\s*+\Z").search
_ends = re.compile(r"\s*+;").match
_doubtful = re.compile(r"[\\#\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|//|/\*").search
_parametric = re.compile(r"%(?!j)|parameter", re.IGNORECASE).search

Key = tuple[str, ...]


def prepare_series(texts: Sequence[str], owner: Owner, rules: Workload) -> Prepared:
    """Read, expand and check descriptions, as `prepare` does, and with the same result.

    Raises:
        InvalidInputError: One of them is at fault; `where` says which, and where in it.
    """
    if 1 < len(texts) <= rules.max_jobs_per_submission:
        split = [_split(text) for text in texts]
        keys = {found[0] for found in split if found is not None}
        if None not in split and 2 * len(keys) <= len(texts):
            try:
                return _filled([found for found in split if found is not None], owner, rules)
            except (InvalidInputError, _NoSeriesError):
                pass  # read one by one: whose fault it is has to be said
    return prepare(texts, owner, rules)


class _NoSeriesError(Exception):
    """What was read cannot stand for the others."""


def _split(text: str) -> tuple[Key, list[str]] | None:
    """Return a description without its free texts, and these; None if it has to be read."""
    if _doubtful(text) or _parametric(text):
        return None
    parts = text.split('"')
    if len(parts) % 2 == 0:
        return None
    free = []
    for place in range(1, len(parts), 2):
        value = parts[place]
        if "\n" in value:
            return None
        if _free(parts[place - 1]) and _ends(parts[place + 1]):
            if not 1 <= len(value) <= _LONGEST or value != value.strip():
                return None
            free.append(value)
            parts[place] = _MARK.format(len(free))
    return tuple(parts), free


def _filled(split: Sequence[tuple[Key, list[str]]], owner: Owner, rules: Workload) -> Prepared:
    models: dict[Key, tuple[NewJob, list[str], tuple[str, ...]]] = {}
    classes: dict[str, NewClass] = {}
    jobs, sandboxes = [], []
    for key, free in split:
        model = models.get(key)
        if model is None:
            one = prepare(['"'.join(key)], owner, rules)
            model = models[key] = _model(one, len(free))
            classes |= {each.digest: each for each in one.classes}
        job, pieces, archives = model
        text = pieces[0] + "".join([value + piece for value, piece in zip(free, pieces[1:], strict=True)])
        name = job.job_name
        for number, value in enumerate(free, start=1):
            name = value if name == _MARK.format(number) else name
        jobs.append(_with(job, text, name))
        sandboxes.append(archives)
    return Prepared(jobs=jobs, classes=list(classes.values()), sandboxes=sandboxes)


def _model(one: Prepared, free: int) -> tuple[NewJob, list[str], tuple[str, ...]]:
    """Take a job apart at its free texts."""
    others = [name for name in one.__struct_fields__ if name not in ("jobs", "classes", "sandboxes")]
    if len(one.jobs) != 1 or any(getattr(one, name) for name in others):
        raise _NoSeriesError
    job, rest, pieces = one.jobs[0], one.jobs[0].jdl, []
    for number in range(1, free + 1):
        mark = _MARK.format(number)
        piece, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise _NoSeriesError
        pieces.append(piece)
    shown = msgspec.structs.replace(job, jdl="", job_name="")
    if _MARK.partition("{")[0] in repr(shown) + rest or any(
        _MARK.partition("{")[0] in piece for piece in pieces
    ):
        raise _NoSeriesError
    return job, [*pieces, rest], one.sandboxes[0]


def _with(job: NewJob, text: str, name: str) -> NewJob:
    return NewJob(
        digest=job.digest,
        jdl=text,
        status=job.status,
        minor_status=job.minor_status,
        site=job.site,
        job_name=name,
        job_group=job.job_group,
        job_type=job.job_type,
        priority=job.priority,
    )
