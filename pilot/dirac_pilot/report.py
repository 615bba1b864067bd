"""What the pilot says: lines for people and programs, and `pilot-report.json`."""

from __future__ import absolute_import, division, print_function

import json
import os
import time

from .compat import TEXT_TYPES, native, to_wire
from .version import VERSION

REPORT_FILE = "pilot-report.json"


class Report(object):
    """Collects the results of the steps, prints them, and keeps the report file up to date.

    Secrets that were announced to it are blanked in whatever it prints or writes: an error message of the
    server might repeat one.

    Args:
        directory: Where the report file goes.
        descriptor: Where lines go.
    """

    def __init__(self, directory, descriptor=1):
        self._path = os.path.join(directory, REPORT_FILE)
        self._descriptor = descriptor
        self._secrets = []
        self._writable = True
        self.content = {"version": VERSION, "started": to_wire(time.time()), "exit_code": None, "steps": []}

    def hide(self, *secrets):
        """Blank these texts from now on."""
        for secret in secrets:
            if secret:
                # Inside JSON and repr() a text may look different from itself.
                self._secrets.extend({secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]})
        self._secrets.sort(key=len, reverse=True)

    def say(self, text):
        """Print a line for people.

        Past the buffers of Python: signal handlers speak as well, in the middle of anything, and the agent
        writes to the same place.
        """
        text = self._blank(text.rstrip()).replace("\n", "\n    ")
        line = ("%s pilot: %s\n" % (to_wire(time.time()), text)).encode("ascii")
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError:
            pass  # the reader of our output is gone; the work is not

    def about(self, settings):
        """Put into the report which pilot this is."""
        for key in ("pilot_stamp", "vo", "site", "ce", "queue"):
            self.content[key] = self._clean(settings[key])

    def step(self, name, seconds, facts=None, reason=None):
        """Add the result of a step: facts if it went well, else the reason why not."""
        result = {"step": name, "ok": reason is None, "seconds": round(seconds, 4)}
        if reason is None:
            result["facts"] = self._clean(facts)
        else:
            result["reason"] = self._clean(reason)
        self.content["steps"].append(result)
        self.say("step " + json.dumps(result, sort_keys=True))
        self.write()

    def end(self, exit_code):
        """Put the exit code into the report."""
        self.content["exit_code"] = exit_code
        self.content["ended"] = to_wire(time.time())
        self.write()

    def write(self):
        """Write the report file; after each step, so that it tells how far a killed pilot got."""
        if not self._writable:
            return
        try:
            with open(self._path + ".part", "w") as out:
                out.write(self._blank(json.dumps(self.content, indent=1, sort_keys=True)) + "\n")
            os.rename(self._path + ".part", self._path)
        except (IOError, OSError) as error:
            self._writable = False
            self.say("cannot write %s, going on without: %s" % (self._path, error))

    def _clean(self, value):
        if isinstance(value, dict):
            return dict((key, self._clean(item)) for key, item in value.items())
        if isinstance(value, list):
            return [self._clean(item) for item in value]
        return self._blank(value) if isinstance(value, TEXT_TYPES) else value

    def _blank(self, text):
        # Whatever cannot be printed in ASCII is escaped: the node's locale may be anything.
        if not isinstance(text, str):
            text = native(text)
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        text = native(text.encode("ascii", "backslashreplace").decode("ascii"))
        for secret in self._secrets:
            text = text.replace(secret, "[hidden]")
        return text
