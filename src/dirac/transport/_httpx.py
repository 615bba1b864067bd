"""What the asynchronous and the blocking HTTP client share of httpx: imported late, and lean."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any

_COMMAND = "httpx._main"
_USER_AGENT = "dirac"


def load() -> ModuleType:
    """Import httpx without its own command line, which costs a third of the time and is never used.

    A None in `sys.modules` makes an import fail (The import system, 5.3.1), and httpx is prepared for that.
    """
    known = sys.modules.get("httpx")
    if known is not None:
        return known
    hidden = _COMMAND not in sys.modules
    if hidden:
        sys.modules[_COMMAND] = None  # type: ignore[assignment]
    try:
        import httpx
    finally:
        if hidden:
            del sys.modules[_COMMAND]
    return httpx


def client_options(
    scheme: str, ca_file: Path | None = None, certificate: Path | None = None
) -> dict[str, Any]:
    """Return the options of an httpx client for addresses of one scheme.

    Loading the certificate authorities takes its time: plain http has no use for them.

    Args:
        scheme: http or https.
        ca_file: Authorities to believe beside those of the machine.
        certificate: A certificate or proxy and its key (PEM) to show.

    Raises:
        InvalidInputError: They cannot be read.
    """
    options: dict[str, Any] = {"headers": {"User-Agent": _USER_AGENT}, "follow_redirects": False}
    options["verify"] = False
    if scheme == "https":
        from dirac.transport.tls import client_context

        options["verify"] = client_context(ca_file, certificate)
    return options


class Counted:
    """A file that tells how much of it has been read.

    Args:
        inner: The file.
        size: Its size in bytes.
        progress: Called with the bytes read and the size; None to tell nobody.
    """

    def __init__(self, inner: IO[bytes], size: int, progress: Callable[[int, int], None] | None) -> None:
        self._inner = inner
        self._size = size
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        data = self._inner.read(size)
        if self._progress is not None and data:
            self._progress(self._inner.tell(), self._size)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._inner.tell()

    def fileno(self) -> int:
        """Return the descriptor, from which httpx learns the size."""
        return self._inner.fileno()

    def __iter__(self) -> Any:
        return iter(lambda: self.read(65536), b"")
