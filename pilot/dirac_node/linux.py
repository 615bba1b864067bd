"""Calls of the kernel that Python does not have."""

from __future__ import absolute_import, division, print_function

import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38

try:
    import ctypes

    _libc = ctypes.CDLL(None, use_errno=True)
except (ImportError, OSError):
    _libc = None


def _check(result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags):
    """Leave namespaces that are shared with others.

    Raises:
        OSError: That is not allowed here.
    """
    if _libc is None:
        raise OSError("this Python has no ctypes")
    _check(_libc.unshare(flags))


def mount(source, target, kind, flags):
    """Mount a file system; None where there is nothing to say.

    Raises:
        OSError: That is not allowed here.
    """
    words = [None if word is None else word.encode("ascii") for word in (source, target, kind)]
    _check(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), None))


def prctl(option, value):
    """Set a property of this process; nothing happens where there is no such call."""
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)
