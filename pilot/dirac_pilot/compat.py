"""The few things that Python 2.7 and 3 spell differently."""

from __future__ import absolute_import, division, print_function

import os
import sys
import time

PY2 = sys.version_info[0] == 2

if PY2:
    from urllib import unquote

    from httplib import HTTPConnection, HTTPException, HTTPSConnection
    from urlparse import urlsplit

    TEXT_TYPES = (str, unicode)  # noqa: F821
    INTEGER_TYPES = (int, long)  # noqa: F821
else:
    from http.client import HTTPConnection, HTTPException, HTTPSConnection
    from urllib.parse import unquote, urlsplit

    TEXT_TYPES = (str,)
    INTEGER_TYPES = (int,)

__all__ = [
    "INTEGER_TYPES",
    "PY2",
    "TEXT_TYPES",
    "HTTPConnection",
    "HTTPException",
    "HTTPSConnection",
    "monotonic",
    "native",
    "to_wire",
    "unquote",
    "urlsplit",
    "write_private",
]

# Python 2 has no clock that never goes back; a step of the wall clock then shifts a deadline, no more.
monotonic = getattr(time, "monotonic", time.time)


def native(value):
    """Return text as this Python's `str`, all the way down lists and dictionaries.

    Python 2 reads JSON as `unicode`, which fails in paths and environments as soon as the locale is C.
    """
    if not PY2:
        return value
    if isinstance(value, TEXT_TYPES[1]):
        return value.encode("utf-8")
    if isinstance(value, list):
        return [native(item) for item in value]
    if isinstance(value, dict):
        return dict((native(key), native(item)) for key, item in value.items())
    return value


def to_wire(seconds):
    """Print seconds since 1970 as RFC 3339 in UTC with microseconds, the form used on all our wires."""
    whole = int(seconds)
    return "%s.%06dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)), (seconds - whole) * 1e6)


def write_private(path, text):
    """Write a file that only its owner may read, replacing one of that name in one step."""
    part = path + ".part"
    if os.path.lexists(part):
        os.unlink(part)
    # Born 0600: a chmod afterwards would leave a moment in which others could open it.
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    os.rename(part, path)
