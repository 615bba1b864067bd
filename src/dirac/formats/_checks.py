"""What single values of a description may be: each returns what would have been accepted, None if it is."""

from __future__ import annotations

import re
from typing import Final

from dirac.formats import lfn
from dirac.formats._attributes import Check

LOG_LEVELS: Final = ("DEBUG", "VERBOSE", "INFO", "NOTICE", "WARN", "ERROR", "EXCEPT", "FATAL", "ALWAYS")

_name = re.compile(r'[^\s,;"\'{}\[\]]{1,128}').fullmatch
_step = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch
# As apptainer takes it: an address, or a file or directory; never something that it would read as an option.
_image = re.compile(
    r"(?:(?:docker|oras|library|shub|https?)://[A-Za-z0-9][^\s\"'\\]{0,500}|/[^\s\"'\\]{1,500}|"
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.sif)"
).fullmatch


def relative(path: str) -> str | None:
    """Accept a path below the job's directory."""
    if path.startswith(("/", "~")) or ".." in path.split("/"):
        return "a path relative to the job's directory, without '..'"
    return None


def logical(entry: str) -> str | None:
    """Accept a logical file name."""
    found = lfn.fault(entry)
    return f"a logical file name, LFN:/<vo>/<path> ({found})" if found else None


def sandbox_file(entry: str) -> str | None:
    """Accept a local file, or a logical file name with its prefix."""
    return logical(entry) if lfn.is_lfn(entry) else None


def output_file(entry: str) -> str | None:
    """Accept a file or pattern of the job, or where to put it."""
    path = lfn.strip_prefix(entry)
    return logical(path) if lfn.is_lfn(entry) and path.startswith("/") else relative(path)


def plain_name(text: str) -> str | None:
    """Accept a name without blanks and quotes."""
    return None if _name(text) else "a name of at most 128 characters without blanks, quotes and brackets"


def container(text: str) -> str | None:
    """Accept an image that apptainer can run."""
    if _image(text) and ".." not in text.split("/"):
        return None
    return "an address such as docker://debian:12, the path of an image, or a .sif file of the input sandbox"


def step_of(steps: tuple[str, ...]) -> Check:
    """Return the check for steps of the pipeline; without names any will do."""
    known = one_of(steps)
    return lambda text: known(text) if _step(text) else "the name of a step"


def log_level(text: str) -> str | None:
    """Accept a level of messages."""
    return None if text.upper() in LOG_LEVELS else "one of " + ", ".join(LOG_LEVELS)


def one_of(names: tuple[str, ...]) -> Check:
    """Return the check for one of some names; without names any will do."""
    return lambda text: None if not names or text in names else "one of " + ", ".join(names)
