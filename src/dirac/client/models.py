"""Answers that have no model in a system: shapes that only the client needs to name."""

from __future__ import annotations

from datetime import datetime

import msgspec


class JobText(msgspec.Struct, frozen=True):
    """The description of a job."""

    JobID: int
    jdl: str


class Peek(msgspec.Struct, frozen=True):
    """The end of a running job's standard output.

    Attributes:
        attempt: The run it belongs to.
        text: The last lines.
        time: When the job sent it; None if it has not yet.
    """

    JobID: int
    attempt: int = 0
    text: str = ""
    time: datetime | None = None


class ParkedTask(msgspec.Struct, frozen=True):
    """One entry of the background work.

    Attributes:
        due: Not tried before.
        error: Why the last try failed.
    """

    id: str
    name: str
    state: str
    tries: int
    created: datetime
    due: datetime
    error: str | None = None
