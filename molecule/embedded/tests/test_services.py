# SPDX-License-Identifier: GPL-3.0-or-later
"""What the deployed services do, asked of them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

SITE = Path(os.environ["DIRAC_DEMO_ROOT"])
NOTES = Path(os.environ["DIRAC_MOLECULE_NOTES"])
PROGRAMS = SITE / "environment/current/bin"
PATIENCE = 60.0
USERS = [("astro", "alice"), ("bio", "bob")]
JDL = """\
Executable = "/bin/sh";
Arguments = "-c 'echo I am a job of {vo}'";
StdOutput = "std.out";
OutputSandbox = {{ "std.out" }};
CPUTime = 300;
"""


class User:
    """A user of the deployed site, with the command line."""

    def __init__(self, host: Any, home: Path, user: str) -> None:
        self._host = host
        settings = json.loads(
            host.check_output(f"{PROGRAMS}/dirac-server status -s {SITE}/server/dirac.toml --json")
        )
        values = {
            "DIRAC_URL": settings["url"],
            "DIRAC_CREDENTIALS": home / f"{user}.json",
            "DIRAC_DEMO_PASSWORDS": SITE / "server/secrets/passwords.json",
        }
        self._before = " ".join(["env", *(f"{name}={value}" for name, value in values.items())])

    def run(self, command: str) -> str:
        """Run ``dirac`` and return what it prints."""
        return str(self._host.check_output(f"{self._before} {PROGRAMS}/dirac {command}"))


def test_server_is_ready(host: Any) -> None:
    answer = json.loads(
        host.check_output(f"{PROGRAMS}/dirac-server status --settings {SITE}/server/dirac.toml --json")
    )
    assert answer["ready"]


def test_second_run_restarted_nothing() -> None:
    before = json.loads((NOTES / "server.json").read_text())
    assert json.loads((SITE / "server/server.json").read_text()) == before


@pytest.mark.parametrize(
    "name", ["dirac.toml", "secrets/master.key", "secrets/operator.token", "secrets/passwords.json"]
)
def test_secrets_are_for_their_owner_only(host: Any, name: str) -> None:
    file = host.file(f"{SITE}/server/{name}")
    assert file.mode == 0o600
    assert host.file(f"{SITE}/server").mode == 0o700


@pytest.mark.parametrize(("vo", "user"), USERS)
def test_user_logs_in_and_a_pilot_runs_the_job(host: Any, tmp_path: Path, vo: str, user: str) -> None:
    shell = User(host, tmp_path, user)
    shell.run(f"login {vo} --demo-user {user}")
    (tmp_path / "job.jdl").write_text(JDL.format(vo=vo))
    number = json.loads(shell.run(f"job submit {tmp_path}/job.jdl --json"))[0]["JobID"]
    deadline = time.monotonic() + PATIENCE
    while (state := _state(shell, number)) not in ("Done", "Failed") and time.monotonic() < deadline:
        time.sleep(0.3)
    assert state == "Done", shell.run(f"job describe {number}")
    shell.run(f"job output {number} --dir {tmp_path}/outputs")
    texts = [path.read_text() for path in (tmp_path / "outputs").rglob("std.out")]
    assert texts == [f"I am a job of {vo}\n"]
    assert list((SITE / "pilots").glob("*/*/started.json")), "the factory has started no pilot"


def _state(shell: User, number: int) -> str:
    answer = json.loads(shell.run(f"job status {number} --json"))
    rows = answer.values() if isinstance(answer, dict) else answer
    return str(next(iter(rows))["Status"])
