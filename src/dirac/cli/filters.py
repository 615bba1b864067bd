"""What is typed to choose jobs and pilots, and the conditions it stands for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated

import typer

from dirac.core.errors import InvalidInputError
from dirac.core.search import Condition

_MOST_IDS = 100_000
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_age = re.compile(r"(\d{1,6})([smhdw])").fullmatch
_range = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?").fullmatch
_where = re.compile(r"\s*(\w+)\s*(!=|!~|=|<|>|~)\s*(.*?)\s*").fullmatch
_OPERATORS = {"=": "eq", "!=": "neq", "<": "lt", ">": "gt", "~": "like", "!~": "not like"}

Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="IDS", help="Jobs: numbers, ranges such as 12-15, or - to read them from standard input."
    ),
]
Id = Annotated[int, typer.Argument(metavar="ID", help="The job's number.", min=1)]
Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", "-s", metavar="STATUS", help="With this status (repeatable, or with commas)."),
]
Sites = Annotated[
    list[str] | None,
    typer.Option("--site", metavar="SITE", help="At this site (repeatable; * stands for any)."),
]
Owners = Annotated[
    list[str] | None, typer.Option("--owner", metavar="NAME", help="Of this user (repeatable).")
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", "-g", metavar="NAME", help="Of this JobGroup (repeatable; * stands for any)."),
]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="NAME", help="Of this JobName (repeatable; * stands for any)."),
]
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
        help="Any attribute: NAME=VALUE, or with != < > ~ (like, * for any) !~.",
    ),
]
Columns = Annotated[
    str | None, typer.Option("--columns", "-c", metavar="NAMES", help="Attributes to show, with commas.")
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
    """Return the states that words name, whatever their case.

    Raises:
        InvalidInputError: There is no such state.
    """
    by_name = {state.value.lower(): state.value for state in known}
    found: dict[str, None] = {}
    for word in (piece.strip() for typed in words for piece in typed.split(",")):
        if word.lower() not in by_name:
            near = get_close_matches(word.lower(), by_name, n=1)
            raise InvalidInputError(
                f"there is no status {word!r}",
                where="--status",
                hint=f"Did you mean {by_name[near[0]]}?"
                if near
                else f"There are {', '.join(by_name.values())}",
            )
        found[by_name[word.lower()]] = None
    return list(found)


def parse_where(text: str) -> Condition:
    """Return the condition that ``NAME=VALUE`` and the like stand for.

    Raises:
        InvalidInputError: It is none.
    """
    match = _where(text)
    if match is None:
        raise InvalidInputError(
            f"{text!r} is no condition", where="--where", hint="Type NAME=VALUE, or one of != < > ~ !~"
        )
    name, sign, value = match.groups()
    if sign in ("~", "!~"):
        value = _pattern(value)
    return Condition(name, _OPERATORS[sign], value)  # type: ignore[arg-type]


def one_of(parameter: str, values: Sequence[str] | None) -> list[Condition]:
    """Return the condition that a parameter has one of some values, in which ``*`` stands for anything."""
    if not values:
        return []
    if len(values) == 1 and "*" in values[0]:
        return [Condition(parameter, "like", _pattern(values[0]))]
    if any("*" in value for value in values):
        choices = "|".join(".*".join(map(re.escape, value.split("*"))) for value in values)
        return [Condition(parameter, "regex", f"^({choices})$")]
    if len(values) == 1:
        return [Condition(parameter, "eq", values[0])]
    return [Condition(parameter, "in", values=[*values])]


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


def _pattern(text: str) -> str:
    """Return a pattern of SQL for one with stars."""
    return text.replace("*", "%")
