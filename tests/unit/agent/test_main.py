from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.fakes import is_alive, words_of


class Server(ThreadingHTTPServer):
    """As much of a server as a pilot with one job needs, over real sockets."""

    daemon_threads = True

    def __init__(self, script: str | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.pilot: list[dict[str, Any]] = []
        self.matches = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: Any) -> Any:
        if path == "/api/pilots/metadata":
            self.pilot.append(body["a1"])
            return None
        if path == "/api/jobs/match":
            self.matches += 1
            if self.script is None:
                return {"reasons": {}}
            jdl = f'Executable = "/bin/sh"; Arguments = "{self.script}";'
            job = {"job_id": 42, "attempt": 1, "jdl": jdl, "owner": "ada", "owner_group": "g", "vo": "astro"}
            limits = {"token_expires_in": 60, "lease_seconds": 60, "heartbeat_seconds": 60}
            return {"job": {**job, **limits, "token": "job-token"}}
        if path == "/api/jobs/heartbeat":
            return []
        return {"success": {"42": {}}, "failed": {}}


class Handler(BaseHTTPRequestHandler):
    def do_PATCH(self) -> None:
        length = int(self.headers["Content-Length"])
        server = self.server
        assert isinstance(server, Server)
        content = json.dumps(server.answer(self.path.partition("?")[0], json.loads(self.rfile.read(length))))
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    do_POST = do_PATCH  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[str | None], Server]]:
    started: list[Server] = []

    def start(script: str | None) -> Server:
        server = Server(script)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def launch(directory: Path, server: Server, **changes: Any) -> subprocess.Popen[str]:
    settings = {
        "server": server.url,
        "vo": "astro",
        "site": "DIRAC.X.org",
        "pilot_stamp": "a1",
        "workdir": str(directory / "work"),
        "token": {"access_token": "secret", "expires_at": "2099-01-01T00:00:00Z"},
    }
    file = directory / "agent.json"
    file.write_text(json.dumps(settings | changes))
    command = [sys.executable, "-m", "dirac.agent.main", str(file)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def eventually(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_told_to_stop_it_ends_the_payload_says_so_and_goes(
    tmp_path: Path, serve: Callable[[str | None], Server]
) -> None:
    pid = tmp_path / "pid"
    server = serve(f"-c 'echo $$ > {pid}; exec sleep 600'")
    with launch(tmp_path, server) as agent:
        eventually(lambda: words_of(pid))
        agent.send_signal(signal.SIGTERM)
        _, stderr = agent.communicate(timeout=30)
    assert agent.returncode == 143, stderr
    assert [entry["Status"] for entry in server.pilot] == ["Running", "Aborted"]
    assert not any(map(is_alive, words_of(pid)))
    assert list((tmp_path / "work").iterdir()) == []
    assert "secret" not in stderr
    assert "job-token" not in stderr


def test_without_work_it_ends_well(tmp_path: Path, serve: Callable[[str | None], Server]) -> None:
    server = serve(None)
    with launch(tmp_path, server, idle_limit_seconds=0) as agent:
        _, stderr = agent.communicate(timeout=30)
    assert agent.returncode == 0, stderr
    assert server.matches == 1
    assert [entry["Status"] for entry in server.pilot] == ["Running", "Done"]


def test_settings_that_cannot_be_read_end_it_with_a_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dirac.agent.main", str(tmp_path / "gone.json")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "gone.json" in run.stderr
    assert "Traceback" not in run.stderr
    run = subprocess.run(command[:-1], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "usage" in run.stderr
