"""What can go wrong, as exceptions whose text is meant for the person who reads the pilot's output."""

from __future__ import absolute_import, division, print_function


class PilotError(Exception):
    """Something that ends the pilot; the text says what was wrong and what to do."""


class UsageError(PilotError):
    """The command line or the settings file cannot be understood."""


class TimedOut(PilotError):  # noqa: N818
    """A step did not end in the time it was given."""


class Stopped(BaseException):  # noqa: N818
    """A signal asked the pilot to stop before the agent was started.

    No error: it may arise anywhere, and nobody who deals with errors is to catch it.
    """

    def __init__(self, signum):
        BaseException.__init__(self, "stopped by signal %d" % signum)
        self.signum = signum
