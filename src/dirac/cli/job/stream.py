"""Reading along with a job: what happens to it, and what it prints, as it does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dirac.core.errors import ConflictError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from dirac.client import Client
    from dirac.systems.workload.models import LogEntry, Peek

_ENDED = frozenset({"Done", "Failed", "Killed", "Deleted"})
_HELD = frozenset({"Matched", "Running", "Completing", "Stalled"})
_PAUSE = 2.0
_ASK_AGAIN = 60.0
_PATIENCE = 120.0


class OutputStream:
    """Makes a stream of the ends of an output that are seen one after the other."""

    def __init__(self) -> None:
        self._attempt = 0
        self._position = 0
        self._last = ""

    def news(self, peek: Peek) -> str:
        """Return what was not seen before; a note stands for what nobody has seen."""
        if peek.attempt != self._attempt:
            self._attempt, self._position, self._last = peek.attempt, 0, ""
        if peek.offset is None:  # by an agent that does not say where the end begins
            text = "" if peek.text == self._last else peek.text
            self._last = peek.text
            return text
        content = peek.text.encode()
        missed, end = peek.offset - self._position, peek.offset + len(content)
        if end <= self._position:
            return ""
        self._position = end
        if missed > 0:
            return f"[... {missed} bytes were not seen ...]\n{peek.text}"
        return content[-missed:].decode("utf-8", "replace") if missed else peek.text


def read_along(
    dirac: Client,
    job_id: int,
    *,
    on_output: Callable[[str], None],
    on_entry: Callable[[LogEntry], None] | None = None,
) -> dict[str, Any]:
    """Tell what a job prints, and what happens to it, until it has ended; returns its statuses.

    Raises:
        NotFoundError: There is no such job.
        UnavailableError: The server has not answered for two minutes.
    """
    stream, shown, asked = OutputStream(), 0, -_ASK_AGAIN
    heard = time.monotonic()
    while True:
        try:
            row = dirac.jobs.status([job_id]).get(job_id)
            if row is None:
                raise NotFoundError(f"there is no job {job_id}, or none that you may see")
            if row["Status"] in _HELD and time.monotonic() - asked >= _ASK_AGAIN:
                asked = time.monotonic()
                _ask(dirac, job_id)
            if text := stream.news(dirac.jobs.peek(job_id)):
                on_output(text)
            if on_entry is not None:
                entries = dirac.jobs.logging(job_id)
                for entry in entries[shown:]:
                    on_entry(entry)
                shown = len(entries)
            if row["Status"] in _ENDED:
                return row
            heard = time.monotonic()
        except UnavailableError:
            if time.monotonic() - heard > _PATIENCE:
                raise
        time.sleep(_PAUSE)


def _ask(dirac: Client, job_id: int) -> None:
    """Ask the run to send its output often."""
    try:
        dirac.jobs.follow(job_id)
    except ConflictError:
        return  # it has just ended
