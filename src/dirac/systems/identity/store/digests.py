"""Keys for texts that others choose: exact on engines that compare without regard to case, and short."""

from __future__ import annotations

import hashlib


def exact_key(text: str) -> str:
    """Return the key of a subject, or of the name of a certificate."""
    return hashlib.sha256(text.encode()).hexdigest()
