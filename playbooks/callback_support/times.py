# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run may still take: from earlier runs of the same kind, else from typical values."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

# Seconds on bare hosts, as estimated for a small virtual machine.
TYPICAL = {
    "base": 20.0,
    "pki": 4.0,
    "runit": 6.0,
    "mariadb": 35.0,
    "postgresql": 30.0,
    "rabbitmq": 40.0,
    "opensearch": 70.0,
    "object_store": 15.0,
    "haproxy": 8.0,
    "diracos": 35.0,
    "dirac_server": 15.0,
    "dirac_scheduler": 6.0,
    "dirac_worker": 6.0,
    "dirac_config": 6.0,
    "dirac_vo": 10.0,
    "prometheus": 15.0,
    "grafana": 25.0,
    "pilot_node": 15.0,
    "log_shipping": 6.0,
    "backup": 6.0,
}
KEPT = 5
KINDS = 100
# A machine is that much slower or faster than the one the figures are from, at most.
_SLOWEST, _FASTEST = 5.0, 0.1
_ENOUGH = 5.0


def shape(groups):
    """Return a short name for how many hosts are in which groups (a mapping of names to numbers)."""
    told = json.dumps({name: count for name, count in sorted(groups.items()) if count})
    return hashlib.sha256(told.encode()).hexdigest()[:12]


class History:
    """The times of earlier runs, in a file: for each kind of run the last few, with seconds per role.

    Args:
        path: The file; what it has that cannot be read counts as nothing.
    """

    def __init__(self, path):
        self._path = Path(path)

    def _read(self):
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def last(self, kind, site):
        """Return the seconds per role of the last run of a kind: of this site, else of another one."""
        runs = self._read().get(kind)
        runs = [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []
        own = [run for run in runs if run.get("site") == site]
        chosen = (own or runs)[-1:]
        roles = chosen[0].get("roles") if chosen else None
        if not isinstance(roles, dict):
            return {}
        return {role: value for role, value in roles.items() if isinstance(value, (int, float))}

    def add(self, kind, site, roles):
        """Keep the times of a run. A file that cannot be written is no reason to fail."""
        every = self._read()
        runs = every.pop(kind, [])
        every[kind] = [*(runs if isinstance(runs, list) else []), {"site": site, "roles": roles}][-KEPT:]
        every = dict(list(every.items())[-KINDS:])
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".", suffix="~")
            with os.fdopen(handle, "w") as file:
                json.dump(every, file)
            Path(name).replace(self._path)


class Forecast:
    """How far a run is, and how long it may still take.

    Args:
        expected: Seconds for each role, in the order they will come.
    """

    def __init__(self, expected):
        self._expected = dict(expected)
        self._done = {}
        self._most = 0.0

    def end(self, role, seconds):
        """Note that a role has ended."""
        self._done[role] = self._done.get(role, 0.0) + seconds

    @property
    def done(self):
        """The seconds that each role took."""
        return dict(self._done)

    def look(self, role, seconds):
        """Return how much is done (from 0 to 1) and how many seconds are left; None where nothing is known.

        Args:
            role: What is being done.
            seconds: For how long already.
        """
        total = sum(self._expected.values())
        if not total:
            return None
        ended = [name for name in self._done if name in self._expected and name != role]
        behind = sum(self._expected[name] for name in ended)
        spent = sum(self._done[name] for name in ended)
        pace = 1.0
        if behind >= _ENOUGH:
            pace = min(max(spent / behind, _FASTEST), _SLOWEST)
        # A role may come in parts, one for each batch of hosts.
        now = min((self._done.get(role, 0.0) + seconds) / pace, self._expected.get(role, 0.0))
        # What was shown as done does not become undone.
        share = self._most = max(min((behind + now) / total, 0.99), self._most)
        return share, max(total - behind - now, 0.0) * pace


def left(seconds):
    """Return a duration as people say it."""
    if seconds < 10:
        return "some seconds left"
    if seconds < 90:
        return f"about {round(seconds / 10) * 10} s left"
    return f"about {round(seconds / 60)} min left"
