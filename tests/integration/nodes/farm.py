"""A worker node beside a real server: its launcher, as an operator would start it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.acceptance.installation import Installation, eventually

SITE, CE = "DIRAC.Farm.org", "farm"
_SITES = """\
sites:
  DIRAC.Farm.org:
    virtual_organisations: [astro, bio]
    computing_elements:
      farm:
        type: node
        queues:
          default: {max_running: 4, max_waiting: 4, max_ram: 1000}
"""


class Farm(Installation):
    """An installation whose only computing element has worker nodes that ask."""

    def __init__(self, directory: Path, **options: int) -> None:
        super().__init__(directory, **options)
        text = self.tree.read_text()
        begin, end = text.index("sites:\n"), text.index("pilot:\n")
        self.tree.write_text(text[:begin] + _SITES + text[end:])

    def deploy(self) -> None:
        """Start the server, and make the node's credential."""
        super().deploy()
        self.credential = self.state / "secrets" / "node.token"
        self.server("node-token", "--site", SITE, "--ce", CE, "--out", str(self.credential))

    def submit(self, user: str, *names: str, seconds: float = 0.1) -> list[int]:
        """Submit jobs that write down, outside of DIRAC, each time that they run."""
        record = self.directory / "record"
        record.mkdir(exist_ok=True)
        record.chmod(0o777)
        script = f"echo $(hostname) >> {record}/$0; sleep {seconds}"
        jdls = [
            f'Executable = "/bin/sh"; Arguments = "-c \'{script}\' {name}"; JobName = "{name}";'
            for name in names
        ]
        return [job.JobID for job in self.client(user).jobs.submit(jdls)]

    def runs(self) -> dict[str, int]:
        """Return how often each job has really run, by its name."""
        record = self.directory / "record"
        return {path.name: len(path.read_text().splitlines()) for path in sorted(record.iterdir())}

    def pilots(self) -> list[dict[str, Any]]:
        """Return all pilots, oldest first."""
        return self.rows("SELECT * FROM workload_pilot ORDER BY pilot_id")


class Node:
    """A worker node.

    Args:
        farm: What it belongs to.
        python: What the launcher runs with.
        name: Its name.
        settings: More of its settings.
    """

    def __init__(self, farm: Farm, python: str, name: str = "wn1", **settings: Any) -> None:
        self.farm = farm
        self.directory = farm.directory / name
        self.directory.mkdir()
        self._python = python
        self._program = farm.directory / "cvmfs/dirac/pilot/dirac-node.py"
        self._file = self.directory / "node.json"
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        content = {
            "url": farm.url,
            "credential_file": str(farm.credential),
            "node": name,
            "work_dir": str(self.directory / "work"),
            "state_dir": str(self.directory / "state"),
            "slots": 2,
            "processors": 2,
            "memory_mb": 4000,
            "allow_root": os.geteuid() == 0,  # the Python of the tests may be closed to other users
            "grace_seconds": 5,
            "wait_seconds": 5,
            "drain_seconds": 60,
        }
        self._file.write_text(json.dumps(content | settings))

    def configure(self, **settings: Any) -> None:
        """Change settings."""
        self._file.write_text(json.dumps(json.loads(self._file.read_text()) | settings))

    def status(self) -> dict[str, Any]:
        """Return what the launcher says of itself."""
        return dict(json.loads(self.call("--status").stdout))

    def log(self) -> str:
        """Return its log."""
        return self._log.read_text()

    def start(self) -> None:
        """Start the launcher."""
        command = [self._python, str(self._program), "--settings", str(self._file)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def signal(self, number: int) -> None:
        """Send the launcher a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, patience: float = 60) -> int:
        """Wait until the launcher has ended; return its exit code."""
        assert self._process is not None
        return self._process.wait(patience)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Call the launcher's program for an answer."""
        command = [self._python, str(self._program), "--settings", str(self._file), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def lines(self) -> list[dict[str, Any]]:
        """Return what the launcher has said: every line is JSON."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def said(self, message: str) -> int:
        """Count how often the launcher has said something."""
        return sum(line["message"] == message for line in self.lines())

    def close(self) -> None:
        """Stop it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.send_signal(signal.SIGTERM)
                self._process.wait(15)
            self._process.kill()
            self._process.wait()

    def is_empty(self) -> bool:
        """Tell whether no slot has anything in it."""
        return not list((self.directory / "work").glob("slot-*"))


def all_done(farm: Farm, users: dict[str, list[int]]) -> None:
    """Wait until all jobs are Done."""

    def states() -> set[str]:
        return {row["status"] for row in farm.rows("SELECT status FROM workload_job")}

    eventually(lambda: states() == {"Done"}, f"all of {users} are Done", 120)
