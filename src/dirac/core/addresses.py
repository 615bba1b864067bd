"""What an address says of the way there."""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that are this machine."""


def in_the_clear(url: str) -> bool:
    """Tell whether others could read on the way what is sent to an address of the web, or to none at all."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return parts.scheme != "https" and parts.hostname not in LOOPBACK
