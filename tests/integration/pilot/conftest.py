"""The built pilot under every Python there is, a release, and a server that does as it is told."""

from __future__ import annotations

import functools
import glob
import http.server
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pilot.release import make_release

SECRET = "one-time-4f1d2c9b7a6e5038"
ACCESS = "access-9c0b1a2d3e4f5061"
REFRESH = "refresh-77aa66bb55cc44dd"
HOW_TO_MEND = (
    "The pilot must be tested with Python 2.7 and with at least one of 3.6 or later. Install them, for "
    "instance with `pyenv install 2.7.18`, or name them in DIRAC_TEST_PYTHONS (paths or glob patterns, "
    "separated by ':')."
)
PATIENCE = 15.0


@functools.cache
def interpreters() -> dict[tuple[int, int], str]:
    """One interpreter for each version that the pilot supports, by (major, minor)."""
    named = os.environ.get("DIRAC_TEST_PYTHONS")
    if named:
        patterns = named.split(":")
    else:
        patterns = [sys.executable]
        pyenv = shutil.which("pyenv")
        if pyenv:
            root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip()
            patterns.append(f"{root}/versions/*/bin/python")
        for folder in os.get_exec_path():
            # pyenv's shims stand for versions that are found above, or for none
            if not folder.endswith("/shims"):
                patterns += [f"{folder}/python2.7", f"{folder}/python3.[0-9]", f"{folder}/python3.[0-9][0-9]"]
    found: dict[tuple[int, int], str] = {}
    for path in sorted({path for pattern in patterns for path in glob.glob(pattern)}):  # noqa: PTH207
        answer = subprocess.run(
            [path, "-c", "import sys; print('%d %d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        if answer.returncode == 0:
            major, minor = (int(part) for part in answer.stdout.split())
            if (major, minor) == (2, 7) or (major, minor) >= (3, 6):
                found.setdefault((major, minor), path)
    return found


def label(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`python`: 2.7 and the newest 3; `other_python`: all the others."""
    versions = sorted(interpreters())
    newest = versions[-1] if versions and versions[-1][0] == 3 else (3, 0)
    full = [(2, 7), newest]
    if "python" in metafunc.fixturenames:
        metafunc.parametrize("python", full, indirect=True, ids=[label(one) for one in full])
    if "other_python" in metafunc.fixturenames:
        others = [version for version in versions if version not in full] or [newest]
        metafunc.parametrize("other_python", others, indirect=True, ids=[label(one) for one in others])


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    if request.param not in interpreters():
        pytest.fail(f"no Python {request.param} found, only {sorted(interpreters())}. {HOW_TO_MEND}")
    return interpreters()[request.param]


@pytest.fixture
def other_python(request: pytest.FixtureRequest) -> str:
    if request.param not in interpreters():
        pytest.fail(f"no Python {request.param} found, only {sorted(interpreters())}. {HOW_TO_MEND}")
    return interpreters()[request.param]


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true result of `condition`; fail if there is none in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.005)
    pytest.fail(f"waited in vain for {what}")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# What it writes is what a payload could see. Its behaviour is the content of the file `agent-mode`.
AGENT = """#!{python} -IS
import json, os, signal, sys
mode = open("agent-mode").read() if os.path.exists("agent-mode") else "exit 0"
def read(path):
    return open(path, "rb").read().decode("latin-1")
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif mode.startswith("obey"):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    signal.signal(signal.SIGINT, lambda *_: os._exit(8))
seen = {{
    "argv": sys.argv, "pid": os.getpid(), "group": os.getpgrp(), "parent": os.getppid(),
    "environ": read("/proc/self/environ"), "settings": json.load(open(sys.argv[1])),
    "settings_mode": os.stat(sys.argv[1]).st_mode & 0o777,
    "parent_group": os.getpgid(os.getppid()), "files": sorted(os.listdir(".")),
    "parent_cmdline": read("/proc/%d/cmdline" % os.getppid()),
    "parent_environ": read("/proc/%d/environ" % os.getppid()),
}}
json.dump(seen, open("seen.part", "w"))
os.rename("seen.part", "seen.json")
print("agent on stdout")
print("agent on stderr", file=sys.stderr)
sys.stdout.flush()
if mode.startswith("exit"):
    os._exit(int(mode.split()[1]))
if mode.startswith("die"):
    os.kill(os.getpid(), int(mode.split()[1]))
while True:
    signal.pause()
"""


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a release whose environment holds the agent above."""
    top = tmp_path_factory.mktemp("pilot")
    agent = top / "env" / "bin" / "dirac-agent"
    agent.parent.mkdir(parents=True)
    agent.write_text(AGENT.format(python=sys.executable))
    agent.chmod(0o755)
    make_release(top / "cvmfs", "1.2.3", agent.parent)
    return top / "cvmfs"


@dataclass
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    broken: bool = False


GOOD = Reply(
    body={"access_token": ACCESS, "expires_in": 3600, "refresh_token": REFRESH, "token_type": "Bearer"}
)


class Server(http.server.ThreadingHTTPServer):
    """Answers with the replies in `script`, the last one again and again; remembers what it was asked."""

    daemon_threads = True

    def __init__(self, *, listen: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server_bind()
        self.script: list[Reply] = [GOOD]
        self.requests: list[dict[str, Any]] = []
        self.over = threading.Event()
        self.scheme = "http"
        self._thread: threading.Thread | None = None
        if listen:
            self.listen()

    def listen(self) -> None:
        self.server_activate()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A pilot that hangs up, or does not trust us, is part of the tests."""

    def close(self) -> None:
        self.over.set()
        if self._thread:
            self.shutdown()
            self._thread.join()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        number = len(self.server.requests)
        self.server.requests.append(
            {"path": self.path, "body": json.loads(content), "headers": dict(self.headers.items())}
        )
        reply = self.server.script[min(number, len(self.server.script) - 1)]
        if reply.after:
            self.server.over.wait(reply.after)
        body = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if reply.broken else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture
def silent_server() -> Iterator[Server]:
    """Refuses connections until `listen()`; its port is reserved meanwhile."""
    one = Server(listen=False)
    yield one
    one.close()


class Pilot:
    """A pilot in a directory of its own.

    Attributes:
        settings: Written to `pilot.json`.
        secret: Written to `pilot.secret`.
        environ: Added to a bare environment.
    """

    def __init__(self, python: str, release: Path, workdir: Path, url: str) -> None:
        self.python = python
        self.workdir = workdir
        self.settings: dict[str, Any] = json.loads((release / "dirac/pilot/pilot.json").read_text())
        self.settings |= {"url": url, "min_disk_mb": 1, "exchange_seconds": 10}
        self.arguments = [
            "-n",
            "LCG.Here.org",
            "-N",
            "ce.here.org",
            "-Q",
            "long",
            "--wnVO=astro",
            "--pilotUUID=stamp1",
        ]
        self.environ: dict[str, str] = {}
        self.secret: str | None = SECRET + "\n"
        self.process: subprocess.Popen[bytes] | None = None
        shutil.copy(release / "dirac/pilot/dirac-pilot.py", workdir)

    def start(self, *more: str, mode: str = "exit 0") -> Pilot:
        (self.workdir / "agent-mode").write_text(mode)
        (self.workdir / "pilot.json").write_text(json.dumps(self.settings))
        if self.secret is not None:
            descriptor = os.open(self.workdir / "pilot.secret", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, self.secret.encode())
            os.close(descriptor)
        bare = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": str(self.workdir)}
        with (self.workdir / "out").open("wb") as out, (self.workdir / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [self.python, "dirac-pilot.py", *self.arguments, *more],
                cwd=self.workdir,
                env=bare | self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self

    def run(self, *more: str, mode: str = "exit 0") -> int:
        return self.start(*more, mode=mode).wait()

    def wait(self) -> int:
        assert self.process
        # Popen.wait(timeout) sleeps up to 50 ms at a time
        descriptor = os.pidfd_open(self.process.pid)
        select.select([descriptor], [], [], PATIENCE)
        os.close(descriptor)
        code = self.process.wait(0.1)
        self.assert_nothing_leaked()
        return code

    def assert_nothing_leaked(self) -> None:
        for path in self.workdir.iterdir():
            if path.is_file() and path.name != "pilot.secret":
                text = path.read_bytes().decode("latin-1")
                assert SECRET not in text, path
                if path.name not in ("agent.json", "seen.json"):
                    assert ACCESS not in text, path
                    assert REFRESH not in text, path

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def out(self) -> str:
        return (self.workdir / "out").read_text()

    @property
    def err(self) -> str:
        return (self.workdir / "err").read_text()

    @property
    def report(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.workdir / "pilot-report.json").read_text())
        return result

    @property
    def last(self) -> dict[str, Any]:
        """The last step in the report."""
        result: dict[str, Any] = self.report["steps"][-1]
        return result

    @property
    def seen(self) -> dict[str, Any]:
        """What the agent saw, once it has started."""
        path = self.workdir / "seen.json"
        wait_until(path.exists, f"the agent; {self.out}{self.err}")
        result: dict[str, Any] = json.loads(path.read_text())
        return result

    def wait_for(self, words: str) -> None:
        wait_until(lambda: words in self.out, f"{words!r} in the output: {self.out}{self.err}")


@pytest.fixture
def pilot(python: str, release: Path, tmp_path: Path, server: Server) -> Iterator[Pilot]:
    one = Pilot(python, release, tmp_path, server.url)
    yield one
    one.close()


@pytest.fixture
def other_pilot(other_python: str, release: Path, tmp_path: Path, server: Server) -> Iterator[Pilot]:
    one = Pilot(other_python, release, tmp_path, server.url)
    yield one
    one.close()


@dataclass
class Tools:
    """What tests need by name; modules here cannot import each other."""

    reply: type[Reply] = Reply
    good: Reply = field(default_factory=lambda: GOOD)
    secret: str = SECRET
    access: str = ACCESS
    refresh: str = REFRESH
    alive: Callable[[int], bool] = alive
    wait_until: Callable[[Callable[[], Any], str], Any] = wait_until
    how_to_mend: str = HOW_TO_MEND
    interpreters: Callable[[], dict[tuple[int, int], str]] = interpreters


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()
