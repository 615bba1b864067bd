"""What is typed to choose jobs and pilots, and the conditions it stands for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any

import typer

from dirac.cli.where import parse_where, pattern
from dirac.core.errors import InvalidInputError
from dirac.core.search import Condition, Sort, any_of, none_of

_MOST_IDS = 100_000
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_age = re.compile(r"(\d{1,6})([smhdw])").fullmatch
_range = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?").fullmatch
_not = re.compile(r"(?:!|not\s+)\s*(.*)", re.IGNORECASE).fullmatch
_ANYTHING = "repeatable, or with commas; * stands for anything, !NAME and 'not NAME' for all others"

Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="IDS", help="Jobs: numbers, ranges such as 12-15, or - to read them from standard input."
    ),
]
Id = Annotated[int, typer.Argument(metavar="ID", help="The job's number.", min=1)]


def names(long: str, of: str, short: str | None = None) -> Any:
    """Return the declaration of an option that names values of an attribute."""
    words = [long, short] if short else [long]
    return Annotated[list[str] | None, typer.Option(*words, metavar="NAME", help=f"{of} ({_ANYTHING}).")]


Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        "-s",
        metavar="STATUS",
        help="With this status (repeatable, or with commas; '!done' and 'not done' for all others).",
    ),
]
Sites = names("--site", "At this site; a single word such as CERN for the middle of its name")
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="AGE", help="Submitted since: 30m, 12h, 2d, 1w, or a date such as 2026-01-31."
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="CONDITION",
        help="Any attribute: NAME=VALUE, or with != < <= > >= ~ (* for anything) !~ =~ (expression), "
        "'in (A, B)', 'is null'; join with and, or, not and brackets. JobParameter.NAME for parameters.",
    ),
]
Columns = Annotated[
    str | None, typer.Option("--columns", "-c", metavar="NAMES", help="Attributes to show, with commas.")
]
Order = Annotated[
    list[str] | None,
    typer.Option(
        "--sort",
        metavar="NAME",
        help="Sort by this attribute; NAME:desc from the greatest down (repeatable).",
    ),
]
Watch = Annotated[
    float | None,
    typer.Option("--watch", "-W", metavar="SECONDS", min=0.5, help="Show it again and again, until Ctrl-C."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=10_000, help="Rows at most.")]


def parse_ids(words: Iterable[str]) -> list[int]:
    """Return the numbers that words stand for, each once, in the order they were typed.

    Raises:
        InvalidInputError: A word is no number and no range, or these are too many.
    """
    found: dict[int, None] = {}
    for word in words:
        for part in sys.stdin.read().split() if word == "-" else [word]:
            for piece in filter(None, part.split(",")):
                match = _range(piece)
                first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
                if not 1 <= first <= last:
                    raise InvalidInputError(
                        f"{piece!r} is no job", hint="Type numbers such as 12, or ranges: 12-15"
                    )
                if len(found) + last - first >= _MOST_IDS:
                    raise InvalidInputError(f"{piece!r} are too many jobs; at most {_MOST_IDS} at a time")
                found.update(dict.fromkeys(range(first, last + 1)))
    if not found:
        raise InvalidInputError("there are no jobs in the input")
    return list(found)


def parse_since(text: str, now: datetime) -> datetime:
    """Return the moment since which jobs were submitted; see `parse_moment`."""
    return parse_moment(text, now, "--since")


def parse_moment(text: str, now: datetime, where: str) -> datetime:
    """Return the moment that an age or a date stands for; dates and times are local.

    Raises:
        InvalidInputError: It is neither.
    """
    try:
        if age := _age(text.strip().lower()):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInputError(
            f"{text!r} is no age and no date", where=where, hint="Type 30m, 12h, 2d, 1w or 2026-01-31"
        ) from None


def parse_states(words: Iterable[str], known: type[StrEnum]) -> list[str]:
    """Return the states that words name, whatever their case, with a ``!`` where all others are meant.

    Raises:
        InvalidInputError: There is no such state.
    """
    by_name = {state.value.lower(): state.value for state in known}
    found: dict[str, None] = {}
    for typed in _pieces(words):
        other = _not(typed)
        word = other[1] if other else typed
        if word.lower() not in by_name:
            near = get_close_matches(word.lower(), by_name, n=1)
            raise InvalidInputError(
                f"there is no status {word!r}",
                where="--status",
                hint=f"Did you mean {by_name[near[0]]}?"
                if near
                else f"There are {', '.join(by_name.values())}",
            )
        found["!" * bool(other) + by_name[word.lower()]] = None
    return list(found)


def parse_order(words: Iterable[str] | None) -> list[Sort]:
    """Return the order that words stand for: ``NAME``, ``NAME:desc`` or ``-NAME``.

    Raises:
        InvalidInputError: What follows the colon is neither asc nor desc.
    """
    found = []
    for word in _pieces(words or ()):
        name, _, direction = word.removeprefix("-").partition(":")
        if direction not in ("", "asc", "desc"):
            raise InvalidInputError(
                f"{word!r} is no order", where="--sort", hint="Type NAME, NAME:asc or NAME:desc"
            )
        down = direction == "desc" or (not direction and word.startswith("-"))
        found.append(Sort(name, "desc" if down else "asc"))
    return found


def one_of(parameter: str, words: Sequence[str] | None) -> list[Condition]:
    """Return the conditions that a parameter has one of some values, and none of others.

    Args:
        parameter: The parameter.
        words: Values, in which ``*`` stands for anything; ``!VALUE`` and ``not VALUE`` are not wanted.
    """
    wanted, others = list[str](), list[str]()
    for word in _pieces(words or ()):
        other = _not(word)
        (others if other else wanted).append(other[1] if other else word)
    found = [any_of(_values(parameter, wanted))] if wanted else []
    return found + ([none_of(_values(parameter, others))] if others else [])


def _values(parameter: str, words: Sequence[str]) -> list[Condition]:
    plain = [word for word in words if "*" not in word]
    found = [Condition(parameter, "like", pattern(word)) for word in words if "*" in word]
    if parameter in ("Site", "GridSite"):  # people say CERN for LCG.CERN.ch
        found += [Condition(parameter, "like", f"%.{pattern(word)}.%") for word in plain if "." not in word]
    if len(plain) == 1:
        return [Condition(parameter, "eq", plain[0]), *found]
    return [Condition(parameter, "in", values=[*plain]), *found] if plain else found


def _pieces(words: Iterable[str]) -> Iterator[str]:
    """Yield what was typed, repeated or with commas."""
    for word in words:
        yield from filter(None, (piece.strip() for piece in word.split(",")))


def conditions(
    *,
    states: Sequence[str] | None = None,
    known: type[StrEnum] | None = None,
    named: dict[str, list[str] | None] | None = None,
    since: str | None = None,
    where: Sequence[str] | None = None,
) -> list[Condition]:
    """Return the conditions that the options of a list stand for.

    Args:
        states: Words of ``--status``.
        known: The states there are.
        named: For each parameter the values that it may have.
        since: Word of ``--since``.
        where: Words of ``--where``.
    """
    found: list[Condition] = []
    if states and known:
        found += one_of("Status", parse_states(states, known))
    for parameter, values in (named or {}).items():
        found += one_of(parameter, values)
    if since:
        from dirac.core.time import to_wire

        found.append(Condition("SubmissionTime", "gt", to_wire(parse_since(since, datetime.now(UTC)))))
    return found + [parse_where(text) for text in where or ()]


def parse_columns(text: str | None, default: dict[str, str]) -> dict[str, str]:
    """Return the columns of a table, with their titles."""
    if not text:
        return default
    names = [name for name in re.split(r"[,\s]+", text) if name]
    return {name: default.get(name, name) for name in names}
