"""Calls that end in time, even when the file system or the network does not answer."""

from __future__ import absolute_import, division, print_function

import sys
import threading

from .errors import TimedOut


class Hung(object):
    """Remembers whether a call was given up while it was still going on in its thread.

    Such a thread cannot be ended, and an orderly end of the interpreter could wait for it.
    """

    happened = False


def call_with_deadline(function, seconds, what):
    """Return `function()`, or raise TimedOut after so many seconds.

    The call is made in a daemon thread: a read from a dead mount sleeps in the kernel, where no alarm and
    no exception reaches it.

    Args:
        function: Called without arguments.
        seconds: How long to wait.
        what: What is being done, for the message ("listing /cvmfs").
    """
    outcome = {}

    def run():
        try:
            outcome["value"] = function()
        except BaseException:  # handed over to the caller, whatever it is
            outcome["error"] = sys.exc_info()

    thread = threading.Thread(target=run)
    thread.daemon = True
    thread.start()
    try:
        thread.join(seconds)
    finally:  # a signal may end the wait as well
        if not outcome:
            Hung.happened = True
    if not outcome:
        raise TimedOut("%s did not end within %g s" % (what, seconds))
    if "error" in outcome:
        raise outcome["error"][1]
    return outcome["value"]
