"""Longer answers about jobs, as people read them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from dirac.cli.output import COLOURS, colourful, print_table, text

if TYPE_CHECKING:
    from dirac.systems.workload.models import (
        Capability,
        Explanation,
        Forecast,
        LogEntry,
        PilotExplanation,
        PlaceExplanation,
        SiteExplanation,
    )

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
_HELD = {
    "reason": "REASON",
    "jobs": "KEEPS",
    "jobs_alone": "IT ALONE",
    "wanted": "WANTED",
    "offered": "OFFERED",
}
_PLACE_QUEUES = {
    "queue": "QUEUE",
    "offers": "OFFERS",
    "fitting": "JOBS THAT FIT",
    "pilots_waiting": "PILOTS WAIT",
    "pilots_idle": "IDLE",
    "pilots_busy": "BUSY",
    "takes_pilots": "TAKES MORE",
}
_LIMITS = {
    "name": "LIMIT",
    "max_running": "AT MOST",
    "delay": "PAUSE",
    "running": "RUNNING",
    "waiting": "WAITING",
    "closed": "NOW",
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
        _print_wrapped(f"{reason.reason}: {reason.text}")
    if explanation.forecast is not None:
        _print_wrapped(_start(explanation.forecast))
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


def print_pilot_explanation(found: PilotExplanation) -> None:
    """Print why a pilot has a job or none."""
    where = "/".join(filter(None, (found.site, found.ce, found.queue)))
    print(f"Pilot {found.pilot_stamp} at {where} is {styled(found.status, found.status)}")
    if found.offer is not None:
        who = f"it said so {text(found.measured)}" if found.measured else "by the configuration of its queue"
        _print_wrapped(f"It has {_capability(found.offer)} ({who}).")
    _print_held(found)


def print_site_explanation(found: SiteExplanation) -> None:
    """Print what a site does for a VO, and what keeps jobs from it."""
    print(f"Site {found.site} for {found.vo}")
    _print_held(found)
    if found.only_here:
        print(f"{found.only_here} of the waiting jobs may run nowhere else.")
    if found.queues:
        heading("Queues")
        rows = [
            {name: getattr(each, name, None) for name in _PLACE_QUEUES}
            | {"queue": f"{each.ce}/{each.queue}", "offers": _capability(each.offer)}
            for each in found.queues
        ]
        print_table(rows, _PLACE_QUEUES)
    if found.limits:
        heading("Limits")
        limits = [{name: getattr(each, name) for name in _LIMITS} for each in found.limits]
        print_table([row | {"closed": row["closed"] or "open"} for row in limits], _LIMITS)
    heading("Your jobs there" if found.own_only else f"Jobs of {found.vo} there")
    rows = [{"Status": status, "count": number} for status, number in sorted(found.jobs.items())]
    print_table(rows, {"Status": "STATUS", "count": "JOBS"}, nothing="There are none.")


def _print_held(found: PlaceExplanation) -> None:
    _print_wrapped(found.text)
    if found.reasons:
        heading("What keeps waiting jobs away")
        print_table([{name: getattr(each, name) for name in _HELD} for each in found.reasons], _HELD)
        for each in found.reasons:
            if each.wanted is None:
                _print_wrapped(f"{each.reason}: {each.text}")


def _print_wrapped(line: str) -> None:
    print("\n".join(textwrap.wrap(line, _width(), subsequent_indent="  ")))


def _capability(offer: Capability) -> str:
    """Return what a place has, in one line."""
    parts = [
        f"{offer.processors} processor{'' if offer.processors == 1 else 's'}",
        f"{offer.max_ram} MB" if offer.max_ram else "",
        f"{offer.gpus} GPUs" if offer.gpus else "",
        f"{offer.cpu_time} CPU seconds",
        "a whole node" if offer.whole_node else "",
        f"tags {', '.join(offer.tags)}" if offer.tags else "",
        f"only jobs that ask for {', '.join(offer.required_tags)}" if offer.required_tags else "",
        f"only groups {', '.join(offer.groups)}" if offer.groups else "",
        f"only {offer.users} user{'' if offer.users == 1 else 's'}" if offer.users else "",
        f"platforms {', '.join(offer.platforms)}" if offer.platforms else "",
    ]
    return ", ".join(filter(None, parts))


def _width() -> int:
    return min(get_terminal_size().columns, _WIDEST)
