"""A server to talk to, and a way to run commands."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dirac.cli.main import run
from tests.integration.cli.fake_server import TOKEN, FakeServer, State, job


@dataclass(frozen=True)
class Outcome:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    running = FakeServer()
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def state(server: FakeServer) -> State:
    state = server.state
    for job_id, status in enumerate(("Waiting", "Running", "Done", "Failed"), start=1):
        state.jobs[job_id] = job(job_id, status)
    return state


@pytest.fixture
def command(
    server: FakeServer,
    state: State,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Callable[..., Outcome]:
    """Runs ``dirac`` with some words, logged in; ``given`` is its standard input."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    for name, value in {
        "HOME": str(tmp_path),
        "DIRAC_URL": server.url,
        "DIRAC_TOKEN_FILE": str(token),
        "DIRAC_CREDENTIALS": str(tmp_path / "credentials.json"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("DIRAC_VO", "DIRAC_DEBUG", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words: str, given: str = "") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        capsysbinary.readouterr()
        code = run(list(words))
        seen = capsysbinary.readouterr()
        return Outcome(code, seen.out.decode(), seen.err.decode())

    return call
