# SPDX-License-Identifier: GPL-3.0-or-later
"""Which roles are at work: one after the other, or, where hosts go on by themselves, several at once."""

from __future__ import annotations

import time


class Segment:
    """A role at work on some hosts, within one play.

    Attributes:
        role: The role; None for tasks outside of roles.
        key: Names it among all of a run: a role that comes again in a later play is another one.
        hosts: Those it has worked on.
        changed: How many tasks have changed something.
        failed: Whether one has failed.
        would: What check mode has found.
    """

    def __init__(self, role, key):
        self.role, self.key = role, key
        self.hosts, self._active = set(), set()
        self.changed, self.failed, self.would = 0, False, []
        self._begun = self._last = time.monotonic()

    @property
    def seconds(self):
        """How long it has been at work."""
        return time.monotonic() - self._begun

    @property
    def took(self):
        """How long it was at work until its last task ended; it may wait for others after that."""
        return self._last - self._begun

    def touch(self):
        """Note that a task has ended."""
        self._last = time.monotonic()

    def enter(self, host):
        """Note that a host is at work in it."""
        self.hosts.add(host)
        self._active.add(host)

    def leave(self, host):
        """Note that a host has gone on; tells whether it was the last one."""
        self._active.discard(host)
        return not self._active


class Segments:
    """All that are open.

    Args:
        ended: Called with each that has ended.
    """

    def __init__(self, ended):
        self._ended = ended
        self._open = {}
        self._keys = {}
        self._play = ""
        self._is_free = False

    def play(self, name, *, is_free):
        """Begin a play, which ends all of the one before.

        Args:
            name: Its name.
            is_free: Hosts do not wait for each other.
        """
        self.close()
        self._play, self._is_free = name, is_free

    def begin(self, role):
        """Return the one of a role; if hosts wait for each other, all others have ended."""
        if not self._is_free:
            for other in [name for name in self._open if name != role]:
                self._ended(self._open.pop(other))
        if role not in self._open:
            self._open[role] = Segment(role, self._key(role))
        return self._open[role]

    def enter(self, role, host):
        """Note that a host works in a role; one that all hosts have left has ended."""
        for other in [name for name in self._open if name != role]:
            segment = self._open[other]
            if host in segment.hosts and segment.leave(host):
                self._ended(self._open.pop(other))
        self.begin(role).enter(host)

    def close(self):
        """End all."""
        for role in list(self._open):
            self._ended(self._open.pop(role))

    def _key(self, role):
        if (self._play, role) not in self._keys:
            is_known = role in self._keys.values()
            self._keys[self._play, role] = f"{role} ({self._play})" if is_known else role
        return self._keys[self._play, role]
