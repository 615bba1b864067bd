"""Values in conditions, checked and brought to the type of what they are compared with."""

from __future__ import annotations

import math
import re
import warnings
from datetime import UTC, datetime, timedelta

from dirac.core.errors import InvalidInputError

Given = str | int | None

_MOMENT = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{2})(?:-(?P<day>\d{2})(?:[T ](?P<hour>\d{2})(?::(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2})(?:\.(?P<fraction>\d{1,9}))?)?)?)?)?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?"
).fullmatch
_WHOLE = re.compile(r"[+-]?\d{1,19}").fullmatch
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_LONGEST_REGEX = 256
_MOST_REPEATS = 8
# Other escapes of letters and digits, named classes, repetitions without a start or with a far end.
_UNLIKE = re.compile(
    r"\\[\s\S]|\[:\w+:\]|\{,\d*\}|\{(?:\d+,)?(?:25[6-9]|2[6-9]\d|[3-9]\d\d|\d{4,})\b"
).finditer
_ALIKE = re.compile(r"\\[dws\W_]").fullmatch
_REPEAT = re.compile(r"[*+]|\{\d+,\d*\}").match
_DATES_HINT = "Examples: 2026, 2026-11, 2026-11-20, 2026-11-20T09:30, 2026-11-20T09:30:15.5Z"


def integer(value: Given, name: str, bits: int) -> int:
    """Return a whole number that fits so many bits; digits in a text will do, as DiracX has them."""
    if isinstance(value, str):
        if not _WHOLE(value.strip()):
            raise InvalidInputError(f"{value[:80]!r} is no whole number, which {name!r} is")
        value = int(value)
    limit = 1 << (bits - 1)
    if value is None or not -limit <= value < limit:
        raise InvalidInputError(f"{value} is out of range for {name!r}", hint=f"It has {bits} bits")
    return int(value)


def number(value: Given, name: str) -> float:
    """Return a finite number."""
    try:
        found = float(value if value is not None else math.nan)
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InvalidInputError(f"{str(value)[:80]!r} is no number, which {name!r} is")
    return found


def boolean(value: Given, name: str) -> bool:
    """Return a truth value: true, false, 1 or 0, in any case."""
    found = _TRUTH.get(str(value).strip().lower())
    if found is None:
        raise InvalidInputError(f"{str(value)[:80]!r} is not what {name!r} can be", hint="Use true or false")
    return found


def moments(value: Given, name: str) -> tuple[datetime, datetime | None]:
    """Return the stretch of time that a date of any precision stands for, its end excluded.

    The zone, if given, may follow a date of any precision; without one the time is UTC. The end is None
    where the calendar ends.
    """
    match = _MOMENT(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise InvalidInputError(f"{str(value)[:80]!r} is no date, which {name!r} is", hint=_DATES_HINT)
    parts = match.groupdict()
    try:
        begin = datetime(
            int(parts["year"]),
            int(parts["month"] or 1),
            int(parts["day"] or 1),
            int(parts["hour"] or 0),
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            int((parts["fraction"] or "").ljust(6, "0")[:6]),
            tzinfo=UTC,
        )
        shift = _offset(parts["zone"])
        begin -= shift
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"{value!r} is no date: {error}", hint=_DATES_HINT) from None
    try:
        return begin, _end(begin + shift, parts) - shift
    except (ValueError, OverflowError):
        return begin, None


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone == "Z":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError(f"there is no time zone {zone}")
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if zone[0] == "-" else offset


def _end(begin: datetime, parts: dict[str, str | None]) -> datetime:
    if parts["month"] is None:
        return begin.replace(year=begin.year + 1)
    if parts["day"] is None:
        year, month = divmod(begin.year * 12 + begin.month, 12)
        return begin.replace(year=year, month=month + 1)
    if parts["hour"] is None:
        return begin + timedelta(days=1)
    if parts["minute"] is None:
        return begin + timedelta(hours=1)
    if parts["second"] is None:
        return begin + timedelta(minutes=1)
    digits = min(len(parts["fraction"] or ""), 6)
    return begin + timedelta(microseconds=10 ** (6 - digits))


def check_pattern(pattern: str) -> str:
    r"""Check a pattern of ``like``: ``%`` is any text, ``_`` any character, ``\`` takes both literally."""
    index = 0
    while index < len(pattern):
        if pattern[index] == "\\":
            if pattern[index + 1 : index + 2] not in ("%", "_", "\\"):
                raise InvalidInputError(
                    f"the pattern {pattern[:80]!r} has a lone backslash at position {index + 1}",
                    hint=r"Write \\ for a backslash, \% and \_ for these characters",
                )
            index += 1
        index += 1
    return pattern


def check_regex(pattern: str) -> str:
    """Check a regular expression: what all engines understand alike, and none takes for ever to match."""
    if len(pattern) > _LONGEST_REGEX:
        raise InvalidInputError(f"the expression is longer than {_LONGEST_REGEX} characters")
    try:
        with warnings.catch_warnings():
            # What Python may read in another way one day, others do today: sets within sets.
            warnings.simplefilter("error", FutureWarning)
            re.compile(pattern)
    except (re.error, FutureWarning, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"{pattern[:80]!r} is no regular expression: {error}") from None
    if unlike := next((found for found in _UNLIKE(pattern) if not _ALIKE(found[0])), None):
        raise InvalidInputError(
            f"{pattern[:80]!r} uses {unlike[0]!r}, which databases understand differently",
            hint=r"Use what POSIX has, and \d \w \s; repetitions up to {255}",
        )
    if "(?" in pattern:
        raise InvalidInputError(
            f"{pattern[:80]!r} uses an extension '(?...)'",
            hint="Use what POSIX has: ( ) | [ ] * + ? { } ^ $ .",
        )
    if fault := _explosive(pattern):
        raise InvalidInputError(f"{pattern[:80]!r} {fault}", hint="Use a simpler expression, or 'like'")
    return pattern


def _explosive(pattern: str) -> str | None:
    """Say why a text could keep a backtracking engine busy for ever, None if none can."""
    repeats = 0
    groups = [False]  # for each open group: whether it may match in more than one way
    index = 0
    while index < len(pattern):
        character, closed = pattern[index], False
        if character == "\\":
            index += 1
        elif character == "[":
            index = _class_end(pattern, index)
        elif character == "(":
            groups.append(False)
        elif character == "|":
            groups[-1] = True
        elif character == ")":
            closed = groups.pop()
            groups[-1] = groups[-1] or closed
        index += 1
        if character != "(" and (repeat := _REPEAT(pattern, index)):
            if closed:
                return "repeats a group that holds a repetition or alternatives"
            repeats += 1
            groups[-1] = True
            index = repeat.end()
            if repeats > _MOST_REPEATS:
                return f"has more than {_MOST_REPEATS} repetitions"
    return None


def _class_end(pattern: str, index: int) -> int:
    """Return the place of the ``]`` that ends the class that begins at `index`."""
    index += 2 if pattern[index + 1 : index + 2] == "^" else 1
    start = index
    while index < len(pattern) and (pattern[index] != "]" or index == start):
        index += 2 if pattern[index] == "\\" else 1
    return min(index, len(pattern) - 1)
