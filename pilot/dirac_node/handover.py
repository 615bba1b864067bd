"""Another version of the launcher takes the place of the one that runs, in the same process, with all its pilots.

A pilot may run for days, and a release does not wait for it. The process stays the parent of the pilots, since it
only becomes another program; what the new one has to know is in a file.
"""

from __future__ import absolute_import, division, print_function

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

from dirac_pilot.compat import monotonic, native, write_private

from .log import warning

CAN_TAKE_OVER = "--can-take-over"
FORMAT = "1"
NOW, WHEN_IDLE = "now", "when idle"
_LOOK = 2.0
_TRIAL = 30.0


def identity(files):
    """Return a digest of these files: what a launcher is, or would be, started with."""
    total = hashlib.sha256()
    for name in files:
        try:
            with open(name, "rb") as source:
                total.update(source.read())
        except (IOError, OSError):
            pass
        total.update(b"\0")
    return native(total.hexdigest())


class Watch(object):
    """Looks whether the program or its settings are others than those that run.

    Args:
        settings_file: The file of the settings.

    Attributes:
        running: Identity of what runs.
    """

    def __init__(self, settings_file):
        self._settings_file = settings_file
        self._files = (sys.argv[0], settings_file)
        self._stamps = self._look()
        self._next = 0.0
        self._verdict = None
        self.running = identity(self._files)

    def verdict(self):
        """Return whether the new program can take over: NOW, only WHEN_IDLE, or not at all (None)."""
        if monotonic() < self._next:
            return self._verdict
        self._next = monotonic() + _LOOK
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            self._verdict = None if identity(self._files) == self.running else self._try()
        return self._verdict

    def _look(self):
        stamps = []
        for name in self._files:
            try:
                found = os.stat(name)
                stamps.append((found.st_ino, found.st_size, found.st_mtime))
            except OSError:
                stamps.append(None)
        return stamps

    def _try(self):
        """Try the new program before anything depends on it."""
        code, said = _run(["--settings", self._settings_file, CAN_TAKE_OVER])
        speaks = said.splitlines()[:1] == [FORMAT]
        if speaks and code == 0:
            return NOW
        if not speaks and _run(["--version"])[0] == 0:
            return WHEN_IDLE
        warning("the launcher goes on as it is: its new program or settings are not usable", reason=said[-300:])
        return None


def _run(words):
    """Run the program; return its exit code (None if it takes too long) and what it says."""
    process = subprocess.Popen([sys.executable, sys.argv[0]] + words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = monotonic() + _TRIAL
    while process.poll() is None and monotonic() < end:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
    said = process.communicate()[0].decode("utf-8", "replace")
    return (process.returncode if process.returncode >= 0 else None), said


def hand_over(path, facts):
    """Become the new program; returns only if that fails.

    Args:
        path: Where the facts are left.
        facts: What the successor has to know.
    """
    write_private(path, json.dumps(dict(facts, pid=os.getpid())))
    sys.stdout.flush()
    sys.stderr.flush()
    _mask(signal_block=True)  # a signal that came before the successor can handle it would end it
    try:
        os.execv(sys.executable, [sys.executable] + sys.argv)  # noqa: S606 - that is the purpose
    except OSError as error:
        _mask(signal_block=False)
        os.unlink(path)
        warning("the launcher goes on as it is: the new program cannot be started", reason=str(error))


def take_over(path):
    """Return what a predecessor has left for this very process, None if there was none."""
    try:
        with open(path) as source:
            facts = native(json.load(source))
        os.unlink(path)
    except (IOError, OSError, ValueError):
        facts = {}
    _mask(signal_block=False)
    return facts if facts.get("pid") == os.getpid() else None


def _mask(signal_block):
    """Hold back the signals that ask for an end, where Python can (not 2)."""
    if hasattr(signal, "pthread_sigmask"):
        how = signal.SIG_BLOCK if signal_block else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, [signal.SIGTERM, signal.SIGINT])


class Child(object):
    """A child that was started before the program of this process changed; used like `subprocess.Popen`."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        """Return how it has ended, None if it has not."""
        return self._wait(os.WNOHANG)

    def wait(self):
        """Wait for its end and return how."""
        return self._wait(0)

    def _wait(self, options):
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except OSError:
                self.returncode = -signal.SIGKILL  # it is no child of this process
            else:
                if pid:
                    self.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return self.returncode
