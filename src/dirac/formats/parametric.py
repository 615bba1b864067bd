"""Parametric descriptions: one JDL that stands for many jobs.

``Parameters`` is a list of values or a number of them. A number makes the series that begins with
``ParameterStart`` (1) and goes on by value x ``ParameterFactor`` (1) + ``ParameterStep`` (1). Any number of
further vectors have a name: ``Parameters.energy``, ``ParameterStart.energy`` and so on. All have one length.

In every text of the description, however deep, ``%s`` becomes the value of the unnamed vector,
``%(energy)s`` that of a named one, ``%n`` the index of the job from 0, padded with zeros to equal width;
what names no vector is left alone. A value may itself be a list if the placeholder stands alone: as an item
of a list it is replaced by all of its items. ``%j``, the identifier, is known only when the job is stored:
see `substitute_job_id`.
"""

from __future__ import annotations

import math
import re
from typing import Final

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats.jdl import Bare, Jdl, Value

MAX_CHARACTERS: Final = 64 << 20

SERIES = {"parameterstart": 1, "parameterstep": 1, "parameterfactor": 1}
_UNNAMED = ""
_INDEX = "%n"
_placeholder = re.compile(r"%(?:([sn])|\(([A-Za-z0-9_.]{1,128})\)s)")
_number = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?").fullmatch

_Vectors = dict[str, list[Value]]


def is_parametric(jdl: Jdl) -> bool:
    """Tell whether a description stands for several jobs."""
    return any(name.lower().partition(".")[0] == "parameters" for name in jdl)


def expand(jdl: Jdl, *, limit: int, max_characters: int = MAX_CHARACTERS) -> list[Jdl]:
    """Return the description of each job; the description itself if it is not parametric.

    Values without a placeholder are shared between the results, so treat them as immutable.

    Args:
        jdl: The description.
        limit: Most jobs that one description may stand for.
        max_characters: Most characters that substitution may produce for all jobs together.

    Raises:
        InvalidInputError: The parameters are of the wrong type, of unequal length, none or more than `limit`.
        TooLargeError: The jobs would hold more than `max_characters`.
    """
    if not is_parametric(jdl):
        return [jdl]
    vectors = _vectors(jdl, limit)
    count = len(next(iter(vectors.values())))
    width = len(str(count - 1))
    vectors[_INDEX] = [str(index).zfill(width) for index in range(count)]
    kept = {name: value for name, value in jdl.items() if not is_parameter(name)}
    substitution = _Substitution(vectors, max_characters)
    varying = {name for name, value in kept.items() if substitution.touches(value)}
    jobs = []
    for index in range(count):
        job = Jdl()
        for name, value in kept.items():
            # Not job[name]: the names have been checked when they were read.
            job._put(name, substitution.apply(value, index, name) if name in varying else value)
        jobs.append(job)
    return jobs


def has_placeholder(text: str) -> bool:
    """Tell whether a text holds something that looks like a placeholder."""
    return "%" in text and _placeholder.search(text) is not None


def substitute_job_id(jdl: Jdl, job_id: int) -> Jdl:
    """Return the description with ``%j`` replaced by the job's identifier in every text."""
    replacement = str(job_id)

    def replaced(value: Value) -> Value:
        if isinstance(value, str):
            return type(value)(value.replace("%j", replacement)) if "%j" in value else value
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if isinstance(value, Jdl):
            return substitute_job_id(value, job_id)
        return value

    return Jdl({name: replaced(value) for name, value in jdl.items()})


def is_parameter(name: str) -> bool:
    """Tell whether an attribute is one of those that make a description parametric."""
    kind = name.lower().partition(".")[0]
    return kind == "parameters" or kind in SERIES


def _vectors(jdl: Jdl, limit: int) -> _Vectors:
    """Collect the values of each vector by its name in lower case, all of the same length."""
    vectors: _Vectors = {}
    first = ""
    for attribute, value in jdl.items():
        kind, _, name = attribute.lower().partition(".")
        if kind != "parameters":
            continue
        vector = _vector(jdl, attribute, value, limit)
        if vectors and len(vector) != len(vectors[next(iter(vectors))]):
            raise InvalidInputError(
                f"{attribute} has {len(vector)} values, {first} has {len(vectors[next(iter(vectors))])}",
                where=attribute,
                hint="all parameters of a job need the same number of values",
            )
        first = first or attribute
        vectors[name or _UNNAMED] = vector
    return vectors


def _vector(jdl: Jdl, attribute: str, value: Value, limit: int) -> list[Value]:
    count: int | float | None
    if isinstance(value, list):
        count = len(value)
        if any(isinstance(item, Jdl) for item in value):
            raise InvalidInputError(
                f"{attribute} holds a [ ]; accepted are texts, numbers and lists", where=attribute
            )
    else:
        count = as_number(value)
    if count is None or not isinstance(count, int) or count < 1:
        raise InvalidInputError(
            f"{attribute} = {str(value)[:40]!r} does not say how many jobs there are",
            where=attribute,
            hint='give a number from 1, or a list of values { "a", "b" }',
        )
    if count > limit:
        raise InvalidInputError(
            f"{attribute} makes {count} jobs; at most {limit} are accepted in one submission",
            where=attribute,
            hint="split the submission",
        )
    return value if isinstance(value, list) else _series(jdl, attribute, count)


def _series(jdl: Jdl, attribute: str, count: int) -> list[Value]:
    suffix = attribute[len("parameters") :]
    settings = []
    for key, default in SERIES.items():
        given = jdl.get(key + suffix, default)
        number = as_number(given)
        if number is None:
            name = f"Parameter{key[9:].capitalize()}{suffix}"
            raise InvalidInputError(f"{name} = {str(given)[:40]!r} is not a number", where=name)
        settings.append(number)
    start, step, factor = settings
    # One float makes all values floats, so that the series does not change its look on the way.
    value = float(start) if any(isinstance(number, float) for number in settings) else start
    values: list[Value] = []
    for _ in range(count):
        if not math.isfinite(value) or abs(value) >= 1 << 63:
            raise InvalidInputError(
                f"{attribute}: value {len(values)} of the series is out of range",
                where=attribute,
                hint="use a smaller ParameterFactor or fewer jobs",
            )
        values.append(value)
        value = value * factor + step
    # Twelve digits: 0.1 + 0.2 is meant to be 0.3.
    return [float(f"{value:.12g}") if isinstance(value, float) else value for value in values]


def as_number(value: Value) -> int | float | None:
    """Return a number that may be written as a text; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and (match := _number(value.strip())):
        return float(match[0]) if match[1] else int(match[0])
    return None


class _Substitution:
    """Replaces placeholders by the values of one index, within a budget of characters."""

    def __init__(self, vectors: _Vectors, budget: int) -> None:
        self.vectors = vectors
        self.budget = self.max_characters = budget
        self.templates: dict[str, list[str]] = {}

    def touches(self, value: Value) -> bool:
        """Tell whether `value` differs from job to job."""
        if isinstance(value, str):
            return "%" in value and len(self.template(value)) > 1
        if isinstance(value, list):
            return any(self.touches(item) for item in value)
        return isinstance(value, Jdl) and any(self.touches(item) for item in value.values())

    def template(self, text: str) -> list[str]:
        """Split a text: literal parts at even places, names of vectors at odd ones."""
        parts = self.templates.get(text)
        if parts is None:
            parts, end = [], 0
            for match in _placeholder.finditer(text):
                key = {"s": _UNNAMED, "n": _INDEX}[match[1]] if match[1] else match[2].lower()
                if key in self.vectors:
                    parts += [text[end : match.start()], key]
                    end = match.end()
            parts.append(text[end:])
            self.templates[text] = parts
        return parts

    def apply(self, value: Value, index: int, name: str) -> Value:
        if isinstance(value, str):
            return self.text(value, index, name)
        if isinstance(value, list):
            return self.items(value, index, name)
        if isinstance(value, Jdl):
            return Jdl({key: self.apply(item, index, f"{name}.{key}") for key, item in value.items()})
        return value

    def items(self, values: list[Value], index: int, name: str) -> list[Value]:
        result: list[Value] = []
        self.spend(len(values))
        for value in values:
            new = self.apply(value, index, name)
            if isinstance(new, list) and not isinstance(value, list):
                result += new
            else:
                result.append(new)
        return result

    def text(self, text: str, index: int, name: str) -> Value:
        parts = self.template(text)
        if len(parts) == 1:
            self.spend(len(text))
            return text
        if len(parts) == 3 and not parts[0] and not parts[2]:
            value = self.vectors[parts[1]][index]
            if isinstance(value, list):
                self.spend(sum(len(str(item)) for item in value))
                return list(value)
        pieces = [
            part if place % 2 == 0 else self.piece(part, index, name) for place, part in enumerate(parts)
        ]
        # Counted before they are joined: a description can ask for far more than fits in memory.
        self.spend(sum(map(len, pieces)))
        joined = "".join(pieces)
        return Bare(joined) if isinstance(text, Bare) else joined

    def piece(self, key: str, index: int, name: str) -> str:
        value = self.vectors[key][index]
        if isinstance(value, list):
            raise InvalidInputError(
                f"{name} puts a list of {len(value)} values into the midst of a text",
                where=name,
                hint="let the placeholder stand alone, as a value or as an item of a list",
            )
        return str(value).lower() if isinstance(value, bool) else str(value)

    def spend(self, characters: int) -> None:
        self.budget -= characters
        if self.budget < 0:
            raise TooLargeError(
                f"the jobs of this description hold more than {self.max_characters} characters",
                hint="make the description smaller or split the submission",
            )
