"""Events of the identity system."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from dirac.core.unit import Event

_LONGEST_ID = 64


def subject_id(name: str) -> str:
    """Return a name, or the digest that the history has for a longer one."""
    return name if len(name) <= _LONGEST_ID else hashlib.sha256(name.encode()).hexdigest()


def about_user(kind: str, time: datetime, vo: str, sub: str, *, actor: str = "", **data: Any) -> Event:
    """Make an event about a user, caused by that user if no actor is given."""
    return Event(
        kind=f"identity.{kind}",
        vo=vo,
        subject_kind="user",
        subject_id=subject_id(sub),
        time=time,
        actor=actor or f"{vo}:{sub}",
        data={"sub": sub, **data},
    )
