"""Randomness, as something that is handed in, so that a simulation repeats itself from its seed."""

from __future__ import annotations

import secrets
import uuid
from typing import Protocol

_VERSION_7 = 0x7 << 76
_VARIANT_RFC = 0b10 << 62


class Entropy(Protocol):
    """Where a component gets unpredictable bytes from."""

    def bytes(self, count: int) -> bytes:
        """Return `count` unpredictable bytes."""
        ...


class SystemEntropy:
    """The operating system's source."""

    def bytes(self, count: int) -> bytes:
        """Return `count` unpredictable bytes."""
        return secrets.token_bytes(count)


def uuid7(entropy: Entropy, unix_seconds: float) -> uuid.UUID:
    """Make an identifier that sorts by time (RFC 9562, section 5.7)."""
    milliseconds = int(unix_seconds * 1000) & ((1 << 48) - 1)
    noise = int.from_bytes(entropy.bytes(10), "big")
    rand_a, rand_b = (noise >> 62) & 0xFFF, noise & ((1 << 62) - 1)
    return uuid.UUID(int=milliseconds << 80 | _VERSION_7 | rand_a << 64 | _VARIANT_RFC | rand_b)
