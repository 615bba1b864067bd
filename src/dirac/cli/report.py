"""Longer answers about jobs, as people read them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from dirac.cli.output import COLOURS, colourful, print_table, text

if TYPE_CHECKING:
    from dirac.systems.workload.models import Explanation, Forecast, LogEntry

_LOG = {
    "StatusTime": "TIME",
    "Attempt": "RUN",
    "Status": "STATUS",
    "MinorStatus": "DETAIL",
    "ApplicationStatus": "APPLICATION",
    "Source": "SOURCE",
    "Note": "NOTE",
}
_EFFECT = {
    "requirement": "REQUIREMENT",
    "wanted": "WANTED",
    "removes": "REMOVES",
    "removes_alone": "IT ALONE",
}
_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "bold": 1, "dim": 2}
_WIDEST = 100
_LONG = 60


def paint(line: str, colour: str) -> str:
    """Return a line in a colour, if standard output takes colours."""
    return f"\x1b[{_CODES[colour]}m{line}\x1b[0m" if colour and colourful(sys.stdout) else line


def styled(line: str, value: Any) -> str:
    """Return a line in the colour of a state."""
    return paint(line, COLOURS.get(value, "")) if isinstance(value, str) else line


def heading(title: str) -> None:
    """Print the title of a part."""
    print(f"\n{paint(title, 'bold')}")


def print_log(entries: Sequence[LogEntry]) -> None:
    """Print the life of a job as a table; columns that say nothing are left out."""
    rows = [{name: getattr(entry, name) for name in _LOG} for entry in entries]
    shown = {name: title for name, title in _LOG.items() if any(text(row[name]) for row in rows)}
    print_table(rows, shown, nothing="Nothing has happened to it yet.")


def log_line(entry: LogEntry) -> str:
    """Return one entry of a job's life as a line."""
    parts = (entry.MinorStatus, text(entry.ApplicationStatus), entry.Note)
    return f"{text(entry.StatusTime)}  {styled(entry.Status, entry.Status)}  {', '.join(filter(None, parts))}"


def print_parameters(known: Mapping[str, Any]) -> None:
    """Print the parameters of a job; long ones below their names."""
    if not known:
        print("It has no parameters.")
        return
    width = max(map(len, known)) + 2
    for name, value in known.items():
        lines = text(value).splitlines() or [""]
        if len(lines) == 1 and len(lines[0]) <= _LONG:
            print(f"  {name:<{width}}{lines[0]}")
        else:
            print(f"  {name}")
            print("\n".join(f"    {line}" for line in lines))


def print_explanation(explanation: Explanation) -> None:
    """Print why a job does or does not run."""
    print(f"Job {explanation.job_id} is {styled(explanation.status, explanation.status)}", end="")
    print(f": {explanation.minor_status}" if explanation.minor_status else "")
    print()
    for line in explanation.text.splitlines():
        print("\n".join(textwrap.wrap(line, _width()) or [""]))
    for reason in explanation.reasons:
        print("\n".join(textwrap.wrap(f"{reason.reason}: {reason.text}", _width(), subsequent_indent="  ")))
    if explanation.forecast is not None:
        print("\n".join(textwrap.wrap(_start(explanation.forecast), _width(), subsequent_indent="  ")))
    if explanation.requirements:
        heading(f"Of {explanation.queues} queue{'' if explanation.queues == 1 else 's'} you may use")
        rows = [{name: getattr(effect, name) for name in _EFFECT} for effect in explanation.requirements]
        print_table(rows, _EFFECT)
        for effect in explanation.requirements:
            for example in effect.examples:
                print(paint(f"  {effect.requirement}: {example}", "dim"))
    if explanation.suggestion is not None:
        heading("What would help")
        print(paint("\n".join(textwrap.wrap(explanation.suggestion.text, _width())), "green"))


def _start(forecast: Forecast) -> str:
    """Say when a job may start, and how well that is known."""
    likely, earliest, latest, within = map(
        _lasting, (forecast.likely, forecast.earliest, forecast.latest, forecast.within)
    )
    return (
        f"It may start in {likely}: of ten such jobs, eight start within {earliest} to {latest}, "
        f"if it goes on as lately (the last {forecast.started} starts took {within}; {forecast.before} "
        "jobs like it come first)."
    )


def _lasting(seconds: float) -> str:
    """Return a time that has passed, or will, roughly."""
    for unit, length in (("days", 86400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _width() -> int:
    return min(get_terminal_size().columns, _WIDEST)
