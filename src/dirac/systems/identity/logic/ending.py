"""What ends with a session, whoever ends it: its refresh tokens, and the access tokens that it made."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from dirac.systems.identity.ports.tokens import RevocationRecord
from dirac.systems.identity.ports.unit import Unit


async def end_sessions(unit: Unit, families: Collection[str], seconds: int) -> int:
    """End sessions; return how many could have been continued.

    Args:
        unit: Where they are ended.
        families: Which.
        seconds: How long an access token lives.
    """
    # Named by themselves, so that all of their tokens are meant, whenever they were made.
    ends = unit.now + timedelta(seconds=seconds)
    await unit.revocations.put([RevocationRecord("session", "", each, ends, ends) for each in families])
    return await unit.sessions.revoke(sorted(families))
