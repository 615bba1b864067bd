"""Logical file names: ``/<vo>/<directories>/<file>``, with ``LFN:`` in front where other names may stand."""

from __future__ import annotations

import re

from dirac.core.errors import InvalidInputError

MAX_DIRECTORY = 255
MAX_FILE_NAME = 128

_PREFIX = "LFN:"
_control = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search


def is_lfn(text: str) -> bool:
    """Tell whether `text` carries the prefix of logical file names, in any case."""
    return text[:4].upper() == _PREFIX


def strip_prefix(text: str) -> str:
    """Return the path alone."""
    return text[4:] if is_lfn(text) else text


def fault(text: str) -> str | None:
    """Say what is wrong with a logical file name, with or without its prefix; None if nothing is."""
    path = strip_prefix(text)
    directory, _, name = path.rpartition("/")
    if not path.startswith("/"):
        return "must be absolute: LFN:/<vo>/..."
    if _control(path):
        return "must not hold control characters"
    parts = path[1:].split("/")
    if "" in parts:
        return "must not hold '//' nor end with '/'"
    if "." in parts or ".." in parts:
        return "must not hold '.' or '..' as a directory"
    if len(parts) < 2:
        return "must name a file below the directory of a VO: LFN:/<vo>/..."
    if len(directory) > MAX_DIRECTORY:
        return f"its directory is longer than {MAX_DIRECTORY} characters"
    if len(name) > MAX_FILE_NAME:
        return f"its file name is longer than {MAX_FILE_NAME} characters"
    return None


def parse(text: str) -> str:
    """Return the path of a logical file name that is written with or without its prefix.

    Raises:
        InvalidInputError: It is relative, not in its normal form, outside the directory of a VO, or too long.
    """
    if found := fault(text):
        raise InvalidInputError(f"logical file name {text[:80]!r}: {found}")
    return strip_prefix(text)


def vo_of(text: str) -> str:
    """Return the VO in whose directory a file is.

    Raises:
        InvalidInputError: As `parse`.
    """
    return parse(text).split("/", 2)[1]
