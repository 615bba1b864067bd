"""Answers that have no model in a system: shapes that only the client needs to name."""

from __future__ import annotations

from datetime import datetime

import msgspec


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
