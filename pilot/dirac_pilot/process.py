"""Child processes that do not outlive the pilot."""

from __future__ import absolute_import, division, print_function

import os
import signal

from .compat import PY2

PR_SET_PDEATHSIG = 1
# Python 2 tries every number up to the limit of open files, which takes half a second where that is a
# million; the pilot itself holds no file open when it starts a child.
CLOSE_FDS = not PY2

try:
    import ctypes

    # Loaded before the fork: between fork and exec as little as possible may be done.
    _prctl = ctypes.CDLL(None).prctl
except (ImportError, OSError, AttributeError):
    _prctl = None  # not Linux, or a Python without ctypes: the batch system has to clean up


def prepare_child(new_session):
    """Return a function to be run in the child before its program starts.

    The kernel then kills the child when the thread that started it ends, however it ends: so children are
    to be started from the main thread.
    """
    parent = os.getpid()

    def prepare():
        # Python ignores these two, and Python 2 hands that down to its children.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        if new_session:
            os.setsid()
        if _prctl is not None:
            _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:  # it ended before the kernel knew
                os._exit(128 + signal.SIGKILL)

    return prepare


def exit_code_of(returncode):
    """Return the exit code for a `returncode` of subprocess, as a shell would: 128 + n for signal n."""
    return 128 - returncode if returncode < 0 else returncode


def find_program(name, path):
    """Return the first executable file of that name in a search path, or None."""
    for directory in path.split(os.pathsep):
        candidate = os.path.join(directory or ".", name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None
