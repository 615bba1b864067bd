"""Secrets that are kept in files of their own, to which configurations and settings refer."""

from __future__ import annotations

import os
from pathlib import Path

from dirac.core.errors import InvalidInputError


def read_secret(path: Path, option: str, *, forbidden: int, hint: str | None = None) -> bytes:
    """Return the content of a file that is not for everybody.

    Args:
        path: Where it is.
        option: What names it, for messages.
        forbidden: Bits of its mode that must not be set.
        hint: What to do if there is none.

    Raises:
        InvalidInputError: It cannot be read, is empty, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read().strip()
    except OSError as error:
        raise InvalidInputError(f"{option}: {path} cannot be read: {error.strerror}", hint=hint) from None
    if mode & forbidden:
        raise InvalidInputError(f"{option}: others may read {path}", hint=f"chmod 600 {path}")
    if not content:
        raise InvalidInputError(f"{option}: {path} is empty", hint=hint)
    return content
