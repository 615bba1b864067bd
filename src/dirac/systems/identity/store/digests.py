"""Keys for subjects that others choose: exact on engines that compare texts without regard to case."""

from __future__ import annotations

import hashlib


def sub_digest(sub: str) -> str:
    """Return the key of a subject."""
    return hashlib.sha256(sub.encode()).hexdigest()
