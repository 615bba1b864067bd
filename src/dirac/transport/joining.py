"""Answers in one piece: uvicorn writes head and body apart, and every write is a call of the kernel."""

from __future__ import annotations

import asyncio
from typing import Any

_SMALL = 4096  # bytes; to join larger ones costs more than to send them


class Joining:
    """A transport that sends a small piece together with the next one, if that comes at once.

    Args:
        inner: The transport of the connection.
    """

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner = inner
        self._soon = asyncio.get_running_loop().call_soon
        self._held = b""
        self.is_closing = inner.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        """Send this, now or with what comes next."""
        if self._held:
            held, self._held = self._held, b""
            self._inner.write(held + data)
        elif len(data) <= _SMALL:
            self._held = data
            self._soon(self._flush)
        else:
            self._inner.write(data)

    def close(self) -> None:
        """Close the connection once all is sent."""
        self._flush()
        self._inner.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._inner.write(held)
