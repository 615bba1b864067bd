"""Series of jobs that differ in a name or in arguments only: one of them is read, the others are filled in.

Reading and checking a description costs far more than storing it, and the descriptions of one submission
are nearly always the same but for such texts. Which of its quoted texts are free is seen from outside the
quotation marks; a description with anything that makes this doubtful is read like any other.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import partial

from dirac.core.errors import InvalidInputError
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.logic.preparation import Prepared, prepare
from dirac.systems.workload.ports.work import NewClass, NewJob, Owner

_LONGEST = 100
_MOST_CHARACTERS = 4_000_000
_MOST_SEEN = 100_000
# What the free texts of the one that is read are called. Nobody writes this, and nothing has to be escaped.
_MARK = "dirac-free-text-{}-"
_marked = re.compile(_MARK.partition("{")[0]).search
_free = re.compile(r"(?:^|;)\s*+(?:Arguments|JobName)\s*+=\s*+\Z").search
_ends = re.compile(r"\s*+;").match
_doubtful = re.compile(r"[\\#\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|//|/\*|%(?!j)").search

Key = tuple[tuple[str, ...], tuple[str, ...]]
"""What is outside of quotation marks, and the quoted texts that are not free."""


class Series:
    """Prepares descriptions, and remembers those that others were like: scripts submit the same all day.

    It may be used by several threads at a time.
    """

    def __init__(self) -> None:
        self._known = _Known(None)

    def recall(self, texts: Sequence[str], owner: Owner, rules: Workload) -> Prepared | None:
        """Return what `prepare` would if all of them are like others before; this takes a moment only."""
        known = self._known
        if known.rules is not rules or not 1 <= len(texts) <= rules.max_jobs_per_submission:
            return None
        try:
            split = _split(texts)
        except _NoSeriesError:
            return None
        if not all((owner, key) in known.models for key in {key for key, _, _ in split}):
            return None
        return _filled(split, owner, rules, known)

    def prepare(self, texts: Sequence[str], owner: Owner, rules: Workload) -> Prepared:
        """Read, expand and check descriptions, as `prepare` does, and with the same result.

        Raises:
            InvalidInputError: One of them is at fault; `where` says which, and where in it.
        """
        known = self._known
        if known.rules is not rules or known.is_full:
            known = self._known = _Known(rules)
        if 1 <= len(texts) <= rules.max_jobs_per_submission:
            try:
                return _filled(_split(texts), owner, rules, known)
            except (InvalidInputError, _NoSeriesError):
                pass  # read one by one: whose fault it is has to be said
        return prepare(texts, owner, rules)


class _Known:
    """What was made under certain rules."""

    def __init__(self, rules: Workload | None) -> None:
        self.rules = rules
        self.models: dict[tuple[Owner, Key], _Model] = {}
        self._seen: set[int] = set()
        self._characters = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to forget all of it."""
        return self._characters > _MOST_CHARACTERS or len(self._seen) > _MOST_SEEN

    def is_repeated(self, owner: Owner, key: Key) -> bool:
        """Tell whether a description came before; to make a model of it takes as long as to read it."""
        sign = hash((owner, key))
        if sign in self._seen:
            return True
        self._seen.add(sign)
        return False

    def model(self, owner: Owner, key: Key, places: Sequence[int], rules: Workload) -> _Model:
        """Return the model of a description, made if it is not there yet.

        Raises:
            InvalidInputError: The description is at fault.
            _NoSeriesError: It cannot stand for others.
        """
        if (model := self.models.get((owner, key))) is None:
            model = self.models[owner, key] = _Model(key, places, owner, rules)
            self._characters += sum(map(len, itertools.chain(*key)))
        return model


class _NoSeriesError(Exception):
    """These have to be read one by one."""


class _Model:
    """A job that stands for those that differ from it in free texts only.

    Args:
        key: What they have in common.
        free: How many free texts there are.
        owner: Whose jobs they are.
        rules: What is accepted.
    """

    def __init__(self, key: Key, free: Sequence[int], owner: Owner, rules: Workload) -> None:
        text = _with_marks(key, free)
        if _is_doubtful(text) or any("\n" in quoted for quoted in key[1]):
            raise _NoSeriesError
        one = prepare([text], owner, rules)
        others = [name for name in one.__struct_fields__ if name not in ("jobs", "classes", "sandboxes")]
        if len(one.jobs) != 1 or any(getattr(one, name) for name in others):
            raise _NoSeriesError
        job, self.job_class, self.archives = one.jobs[0], one.classes[0], one.sandboxes[0]
        self._pieces = _pieces(job.jdl, len(free))
        marks = [_MARK.format(number) for number in range(len(free))]
        self._name = marks.index(job.job_name) if job.job_name in marks else None
        shown = {name: getattr(job, name) for name in job.__struct_fields__ if name != "jdl"}
        if self._name is not None:
            del shown["job_name"]
        if _marked(repr(shown)):
            raise _NoSeriesError
        self._make = partial(NewJob, **shown)

    def job(self, free: Sequence[str]) -> NewJob:
        """Return the job with these free texts."""
        pieces = self._pieces.copy()
        pieces[1::2] = free
        if self._name is None:
            return self._make(jdl="".join(pieces))
        return self._make(jdl="".join(pieces), job_name=free[self._name])


def _split(texts: Sequence[str]) -> list[tuple[Key, tuple[int, ...], list[str]]]:
    """Return what each text has in common with others, where its free texts are, and these.

    Raises:
        _NoSeriesError: There is something doubtful in one.
    """
    known: dict[tuple[str, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}
    found = []
    for text in texts:
        parts = text.split('"')
        if len(parts) % 2 == 0:
            raise _NoSeriesError
        outside = tuple(parts[::2])
        places = known.get(outside)
        if places is None:
            places = known[outside] = _places(outside)
        free = [parts[place] for place in places[0]]
        if not all(map(_is_free, free)):
            raise _NoSeriesError
        key = (outside, tuple([parts[place] for place in places[1]]))
        found.append((key, places[0], free))
    return found


def _places(outside: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return where the free texts are, and where the others, from what is outside of quotation marks."""
    places = range(1, 2 * len(outside) - 1, 2)
    is_free = [bool(_free(before) and _ends(after)) for before, after in itertools.pairwise(outside)]
    return (
        tuple(itertools.compress(places, is_free)),
        tuple(place for place, free in zip(places, is_free, strict=True) if not free),
    )


def _is_free(value: str) -> bool:
    return (
        1 <= len(value) <= _LONGEST
        and value == value.strip()
        and not _is_doubtful(value)
        and value.isprintable()
    )


def _is_doubtful(text: str) -> bool:
    return _doubtful(text) is not None or "parameter" in text.lower()


def _with_marks(key: Key, places: Sequence[int]) -> str:
    """Return the description with marks for its free texts."""
    outside, quoted = key
    marks = {place: _MARK.format(number) for number, place in enumerate(places)}
    others = iter(quoted)
    inside = [marks[place] if place in marks else next(others) for place in range(1, 2 * len(outside) - 1, 2)]
    return '"'.join(itertools.chain.from_iterable(zip(outside, [*inside, ""], strict=True)))[:-1]


def _pieces(jdl: str, free: int) -> list[str]:
    """Take a description apart at its marks; return what is between them, with the marks in odd places."""
    pieces = re.split(f"({_MARK.format('[0-9]+')})", jdl)
    if pieces[1::2] != [_MARK.format(number) for number in range(free)] or any(map(_marked, pieces[::2])):
        raise _NoSeriesError
    return pieces


def _filled(
    split: Sequence[tuple[Key, tuple[int, ...], list[str]]], owner: Owner, rules: Workload, known: _Known
) -> Prepared:
    """Return what `prepare` would, of descriptions that are like others.

    Raises:
        InvalidInputError: One of them is at fault.
        _NoSeriesError: They have too little in common, or one of them cannot stand for others.
    """
    new = {key for key, _, _ in split if (owner, key) not in known.models}
    if 2 * len(new) > len(split) and [key for key in new if not known.is_repeated(owner, key)]:
        raise _NoSeriesError
    classes: dict[str, NewClass] = {}
    jobs, sandboxes = [], []
    for key, places, free in split:
        model = known.models.get((owner, key)) or known.model(owner, key, places, rules)
        classes.setdefault(model.job_class.digest, model.job_class)
        jobs.append(model.job(free))
        sandboxes.append(model.archives)
    return Prepared(jobs=jobs, classes=list(classes.values()), sandboxes=sandboxes)
