"""A whole installation on this machine for acceptance tests: server, pilots, users, their command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dirac.client import Client
from dirac.client.session import find_session
from dirac.server import control
from dirac.server.settings import load
from pilot.release import make_release
from tests.services.authority import Authority

BIN = Path(sys.executable).parent
PATIENCE = 60.0

TREE = """\
virtual_organisations:
  astro:
    default_group: astro_user
    groups:
      astro_user: {{properties: [NormalUser]}}
      astro_admin: {{properties: [NormalUser, JobAdministrator]}}
    users:
      alice: {{groups: [astro_user, astro_admin]}}
      adam: {{groups: [astro_user]}}
  bio:
    default_group: bio_user
    groups:
      bio_user: {{properties: [NormalUser]}}
      bio_admin: {{properties: [NormalUser, JobAdministrator]}}
    users:
      bob: {{groups: [bio_user, bio_admin]}}
sites:
  DIRAC.Observatory.org:
    virtual_organisations: [astro]
    computing_elements:
      telescope:
        type: local
        queues:
          default: {{max_running: {pilots}, max_waiting: {pilots}}}
  DIRAC.Greenhouse.org:
    virtual_organisations: [bio]
    computing_elements:
      microscope:
        type: local
        queues:
          default: {{max_running: {pilots}, max_waiting: {pilots}}}
pilot:
  locations: ["{cvmfs}"]
  idle_seconds: {idle}
  min_disk: 10
workload:
  lease_seconds: {lease}
  heartbeat_seconds: {heartbeat}
  max_reschedules: {reschedules}
  reschedule_delays: []
"""
USERS = {"astro": ["alice", "adam"], "bio": ["bob"]}


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(happened: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until something is true and return it."""
    deadline = time.monotonic() + patience
    while not (result := happened()):
        assert time.monotonic() < deadline, f"this did not happen within {patience} s: {what}"
        time.sleep(0.05)
    return result


class Installation:
    """An installation below one directory.

    Args:
        directory: An empty directory.
        tls: Serve TLS, with a certificate of an authority of its own.
        options: Values for the configuration: pilots, idle, lease, heartbeat, reschedules.
    """

    def __init__(self, directory: Path, *, tls: bool = False, **options: int) -> None:
        self.directory = directory
        self.port = free_port()
        self.authority = Authority(directory / "pki") if tls else None
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.state = directory / "server"
        self.settings_file = self.state / "dirac.toml"
        self.passwords = self.state / "secrets" / "passwords.json"
        self._clients: dict[tuple[str, int], Client] = {}
        self._options = {"pilots": 2, "idle": 4, "lease": 20, "heartbeat": 2, "reschedules": 3} | options
        self._lay_out()

    def _lay_out(self) -> None:
        cvmfs = self.directory / "cvmfs"
        make_release(cvmfs, "test", BIN)
        (self.state / "secrets").mkdir(parents=True)
        self.settings_file.write_text(
            f'state = "{self.state}"\n'
            'master_key_file = "secrets/master.key"\n'
            f'[http]\nurl = "{self.url}"\nport = {self.port}\n{self._certificate()}'
            f'[pilots]\nprogram = "{cvmfs}/dirac/pilot/dirac-pilot.py"\n'
            f'directory = "{self.directory}/pilots"\n'
        )
        self.tree = self.directory / "configuration.yml"
        self.tree.write_text(TREE.format(cvmfs=cvmfs, **self._options))

    def _certificate(self) -> str:
        if self.authority is None:
            return ""
        certificate, key = self.authority.certificate(stem="server")
        return f'tls_certificate = "{certificate}"\ntls_key = "{key}"\n'

    def _trust(self) -> dict[str, str]:
        return {} if self.authority is None else {"DIRAC_CA_FILE": str(self.authority.ca)}

    # The server

    def server(self, *words: str, given: str | None = None) -> dict[str, Any]:
        """Run ``dirac-server`` and return what it says."""
        done = subprocess.run(
            [BIN / "dirac-server", *words, "--settings", self.settings_file, "--json"],
            env=os.environ | self._trust(),
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"dirac-server {words}: {done.stdout}{done.stderr}"
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def deploy(self) -> None:
        """Start the server, apply the configuration, make the accounts and log the users in."""
        self.server("up")
        self.server("token", "--out", str(self.state / "secrets" / "operator.token"))
        self.run("config", "apply", str(self.tree), "--yes", operator=True)
        self.server("accounts", "--passwords", str(self.passwords), given=json.dumps(USERS))
        for vo, users in USERS.items():
            for user in users:
                self.run("login", vo, "--demo-user", user, *self._group(vo, user), user=user)

    @staticmethod
    def _group(vo: str, user: str) -> list[str]:
        return ["--group", f"{vo}_admin"] if user != "adam" else []

    def pid(self) -> int | None:
        """Return the server's process."""
        found = control.running(load(self.settings_file))
        return found.pid if found else None

    def kill_server(self) -> None:
        """Kill the server without any warning, and wait until it is gone."""
        pid = self.pid()
        assert pid is not None, "the server was not running"
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.pid() is None, "the killed server is gone")

    def pilot_pids(self) -> list[int]:
        """Return the processes of pilots of this installation (the pilot program itself)."""
        return self._processes(lambda words: any(word.endswith("dirac-pilot.py") for word in words))

    def _processes(self, fits: Callable[[list[str]], bool]) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if any(str(self.directory) in word for word in words) and fits(words):
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Stop everything."""
        for client in self._clients.values():
            client.close()
        with contextlib.suppress(Exception):
            control.stop(load(self.settings_file))
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            left = self._processes(lambda words: True)
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    # Its users

    def environment(self, user: str = "alice", *, operator: bool = False) -> dict[str, str]:
        """Return the environment of a user's shell."""
        home = self.directory / "home" / ("operator" if operator else user)
        home.mkdir(parents=True, exist_ok=True)
        values = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "DIRAC_URL": self.url,
            "DIRAC_CREDENTIALS": str(home / "credentials.json"),
            "DIRAC_DEMO_PASSWORDS": str(self.passwords),
        } | self._trust()
        if operator:
            values["DIRAC_TOKEN_FILE"] = str(self.state / "secrets" / "operator.token")
        return values

    def run(
        self, *words: str, user: str = "alice", operator: bool = False, cwd: Path | None = None, code: int = 0
    ) -> str:
        """Run ``dirac`` as a user and return its standard output."""
        done = subprocess.run(
            [BIN / "dirac", *words],
            env=self.environment(user, operator=operator),
            cwd=cwd or self.directory,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        assert done.returncode == code, (
            f"dirac {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def token(self, user: str) -> str:
        """Return an access token of a user."""
        if user == "operator":
            return (self.state / "secrets" / "operator.token").read_text().strip()
        return self.client(user).auth.access_token()

    def client(self, user: str) -> Client:
        """Return the calling thread's client of a logged-in user; closed with the installation."""
        key = (user, threading.get_ident())
        if key not in self._clients:
            with _environment(self.environment(user)):
                self._clients[key] = Client(session=find_session(self.url), deadline=300)
        return self._clients[key]

    # Looking inside, for counting

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Read the server's SQLite database."""
        with contextlib.closing(sqlite3.connect(self.state / "dirac.db", timeout=30)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query, values)]


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    old = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(old)
