# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees: lines that stay, and on a terminal one that lives."""

from __future__ import annotations

import os
import re
import sys
import threading
from contextlib import suppress
from shutil import get_terminal_size

GREEN, YELLOW, RED, DIM, BOLD, PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[2m", "\033[1m", "\033[0m"
_colours = re.compile(r"\033\[[0-9;]*m")
_CLEAR = "\r\033[K"
_PERIOD = 1.0
_NAMES = 3


def plain(text):
    """Return a text without colours."""
    return _colours.sub("", text)


def some(hosts):
    """Name hosts, or count them if they are many."""
    hosts = sorted(hosts)
    return ", ".join(hosts) if len(hosts) <= _NAMES else f"{len(hosts)} hosts"


class Screen:
    """Standard output.

    Args:
        keep: Called with each line, without colours, for the log.
        live: Gives the text of the line that lives, or None.
    """

    def __init__(self, keep, live):
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.colours = self.terminal and not os.environ.get("NO_COLOR")
        self._keep, self._live = keep, live
        self._is_shown = False
        self._lock = threading.Lock()
        self._end = threading.Event()
        if self.terminal:
            threading.Thread(target=self._run, daemon=True).start()

    def paint(self, colour, text):
        """Return a text in a colour, where there are colours."""
        return colour + text + PLAIN if self.colours else text

    def line(self, text=""):
        """Print lines that stay."""
        with self._lock:
            start = _CLEAR if self._is_shown else ""
            self._is_shown = False
            _write(f"{start}{text}\n")
        self._keep(plain(text))

    def refresh(self):
        """Draw the line that lives."""
        if not self.terminal or self._end.is_set():
            return
        text = self._live()
        # A child that is forked meanwhile must not find Python's own buffer locked: nothing goes through it.
        with self._lock:
            if text:
                width = get_terminal_size().columns - 1
                _write(_CLEAR + self.paint(DIM, plain(text)[:width]))
                self._is_shown = True

    def close(self):
        """Take the line that lives away."""
        self._end.set()
        with self._lock:
            if self._is_shown:
                _write(_CLEAR)
            self._is_shown = False

    def _run(self):
        while not self._end.wait(_PERIOD):
            # A line that cannot be drawn just now is drawn in a second.
            with suppress(Exception):
                self.refresh()


def _write(text):
    data = text.encode(errors="replace")
    # Whoever reads may have seen enough; the run, its log and its report go on.
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        while data:
            try:
                data = data[os.write(sys.stdout.fileno(), data) :]
            except BlockingIOError:
                continue


_JOB = ("vo", "user", "job", "host")


def summary(record, paint, *, complete):
    """Give the lines of the summary: what the roles have told, then what to do next.

    After a failure there is no talk of addresses and next steps: they are for a site that works.
    """
    report = record.report
    if complete:
        yield from _table("Addresses", report["addresses"], ("name", "url"), paint)
        yield from _table("Accounts", report["accounts"], ("vo", "user", "where"), paint)
        yield from _table("Jobs that ran: VO, user, number, host", report["jobs"], _JOB, paint)
    yield from _checks(report["checks"], paint)
    for name, value in report["facts"].items():
        yield from _fact(str(name), value, paint)
    for warning in report["warnings"]:
        yield paint(YELLOW, f"warning: {warning}")
    if complete and report["next"]:
        yield from ("", paint(BOLD, "Next"))
        yield from (f"  {paint(GREEN, str(command))}" for command in report["next"])


def _table(title, rows, columns, paint):
    rows = [row for row in rows if isinstance(row, dict)]
    if not rows:
        return
    cells = [[_text(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    yield from ("", paint(BOLD, title))
    for row in cells:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _checks(checks, paint):
    checks = [check for check in checks if isinstance(check, dict)]
    if not checks:
        return
    bad = [check for check in checks if not check.get("ok")]
    # One that has a cause though it is well is something that one should know.
    odd = [check for check in checks if check.get("ok") and check.get("cause")]
    yield from ("", paint(BOLD, f"{len(checks)} checks, {len(bad)} failed"))
    for word, colour, some_checks in (("failed", RED, bad), ("look", YELLOW, odd)):
        for check, others in _alike(some_checks):
            place = f"{check['host']}: " if check.get("host") else ""
            said = f"{_text(check.get('check'))}: {_text(check.get('detail'))}"
            yield f"  {paint(colour, f'{word:<6}')}  {place}{said}"
            for name in ("cause", "mend"):
                if check.get(name):
                    yield f"          {name:<6} {_text(check[name])}"
            if others:
                yield f"          the same for {', '.join(others)}"
    well = {}
    for check in checks:
        if check.get("ok") and not check.get("cause"):
            well.setdefault(str(check.get("host") or ""), []).append(_text(check.get("check")))
    for place, names in well.items():
        # The checks of a server come as CONCERN.WHAT: the concern is enough.
        short = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
        yield f"  {paint(GREEN, 'ok    ')}  {place + ': ' if place else ''}{short}"


def _alike(checks):
    """Give each finding once, with the names of the other checks of the host that say the same."""
    found = {}
    for check in checks:
        key = tuple(_text(check.get(name)) for name in ("host", "detail", "cause", "mend"))
        found.setdefault(key, []).append(check)
    for same in found.values():
        yield same[0], [_text(check.get("check")) for check in same[1:]]


def _fact(name, value, paint):
    if value in ([], {}, "", None):
        return
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        columns = list(dict.fromkeys(key for row in value for key in row))
        titles = {key: str(key).upper() for key in columns}
        yield from _table(name, [titles, *value], columns, paint)
    elif isinstance(value, dict):
        yield from ("", paint(BOLD, name))
        width = max((len(str(key)) for key in value), default=0)
        yield from (f"  {key!s:<{width}}  {_text(one)}" for key, one in value.items())
    else:
        yield from ("", f"{paint(BOLD, name)}  {_text(value)}")


def _text(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)
