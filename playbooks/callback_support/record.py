# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run did, as data: for the report in JSON and for the summary."""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

LISTS = ("addresses", "accounts", "jobs", "checks", "warnings", "next")
_LONGEST = 20_000
# How far a change reaches, by the word that the name of its task begins with.
_RISKS = {
    "Restart": "restarts",
    "Bring": "restarts",
    "Reload": "safe",
    "Remove": "careful",
    "Drop": "careful",
}


class Record:
    """One run.

    Args:
        site: The site, if it is one.
        verb: What was asked for.
        check: Nothing is changed, only looked at.
        log: The log of the run, if it has one.
    """

    def __init__(self, site, verb, *, check=False, log=None):
        self.site, self.verb, self.check, self.log = site, verb, check, log
        self.started = time.time()
        self._clock = time.monotonic()
        self.hosts = {}
        self.roles = []
        self.failures = []
        self.changes = []
        self.report = {name: [] for name in LISTS} | {"facts": {}}
        self.tasks = self.changed = 0
        self.ended = False

    @property
    def seconds(self):
        """How long it has taken so far."""
        return time.monotonic() - self._clock

    def result(self, host, *, role, task, changed):
        """Note the result of a task on a host."""
        self.tasks += 1
        if changed:
            self.changed += 1
            self.changes.append({"host": host, "role": role, "task": task, "risk": risk(task)})

    def role(self, name, hosts, seconds, changed, *, failed):
        """Note that a role has ended."""
        self.roles.append(
            {
                "role": name,
                "hosts": sorted(hosts),
                "seconds": round(seconds, 1),
                "changed": changed,
                "ok": not failed,
            }
        )

    def failure(self, host, *, role, task, where, message, unreachable=False):
        """Note a failure."""
        self.failures.append(
            {
                "host": host,
                "role": role,
                "task": task,
                "where": where,
                "message": message[:_LONGEST],
                "unreachable": unreachable,
                "look": self.log,
            }
        )

    def add(self, host, told):
        """Merge what a task has told with `set_stats`: lists grow, facts are merged."""
        if not isinstance(told, dict):
            return
        for name in LISTS:
            values = told.get(name) or []
            for value in values if isinstance(values, list) else [values]:
                if name == "checks" and isinstance(value, dict):
                    value = {"host": host, **value}
                if value not in self.report[name]:
                    self.report[name].append(value)
        if isinstance(told.get("facts"), dict):
            merge(self.report["facts"], told["facts"])

    def document(self):
        """Return all of it."""
        bad = [name for name, host in self.hosts.items() if host["failed"] or host["unreachable"]]
        return {
            "site": self.site,
            "verb": self.verb,
            "ok": self.ended and not bad and not self.failures,
            "complete": self.ended,
            "check": self.check,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(self.seconds, 1),
            "tasks": self.tasks,
            "changed": self.changed,
            "hosts": self.hosts,
            "roles": self.roles,
            "failures": self.failures,
            "changes": self.changes,
            "report": self.report,
            "log": self.log,
        }

    def write(self, path):
        """Write it as a whole, for its owner only; a report that cannot be written is no reason to fail."""
        with suppress(OSError):
            handle, name = tempfile.mkstemp(dir=Path(path).parent, prefix=".", suffix="~")
            with os.fdopen(handle, "w") as file:
                json.dump(self.document(), file, default=str)
            Path(name).replace(path)


def risk(task):
    """Return how far a change reaches: `safe`, `careful` (something is taken away) or `restarts`."""
    return _RISKS.get(task.split(" ")[0], "safe")


def merge(into, new):
    """Merge mappings, lists in them joined."""
    for name, value in new.items():
        old = into.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            old += [one for one in value if one not in old]
        else:
            into[name] = value
