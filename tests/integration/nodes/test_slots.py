"""What a pilot sees and may do in its slot: the launcher with a pilot that looks around."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilot.build import build
from tests.acceptance.installation import eventually

CREDENTIAL = "dirac-node." + "0" * 32 + ".secret-of-the-node"
PYTHON = "/usr/bin/python3"  # one that other users may run
LOOK = """
import json, os, subprocess, sys
child = subprocess.Popen(["/bin/sleep", "300"], start_new_session=True)
open("/tmp/mine", "w").write("x")
seen = {
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "argv": sys.argv[1:],
    "environ": dict(os.environ), "files": {n: oct(os.stat(n).st_mode & 0o777) for n in os.listdir(".")},
    "secret": open("pilot.secret").read(), "settings": json.load(open("pilot.json")),
    "processes": [n for n in os.listdir("/proc") if n.isdigit()],
    "cgroup": open("/proc/self/cgroup").read(), "status": open("/proc/self/status").read(),
}
for name in sys.argv[1].split(":"):
    try:
        seen["opened " + name] = open(name).read()
    except OSError as error:
        seen["opened " + name] = type(error).__name__
print("LOOK" + json.dumps(seen))
sys.stdout.flush()
if sys.argv[2] == "eat":
    food = [bytearray(1 << 20) for _ in range(400)]
sys.exit(int(sys.argv[3]))
"""


class Desk:
    """A server that gives one pilot and remembers what it was told."""

    def __init__(self) -> None:
        self.pilots: list[dict[str, Any]] = []
        self.ended: dict[str, Any] = {}
        self.requests: list[dict[str, Any]] = []
        desk = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.headers["Authorization"] == f"Bearer {CREDENTIAL}"
                answer: dict[str, Any]
                if self.path.endswith("/ask"):
                    desk.requests.append(body)
                    given, desk.pilots = desk.pilots[: body["slots"]], desk.pilots[body["slots"] :]
                    answer = {"pilots": given, "stop": [], "ask_again": 0.2}
                else:
                    desk.ended.update(body["ended"])
                    answer = {"noted": list(body["ended"]), "unknown": []}
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def give(self, stamp: str, *arguments: str, **changes: Any) -> None:
        self.pilots.append(
            {
                "stamp": stamp, "vo": "astro", "queue": "q", "secret": f"secret-of-{stamp}",
                "arguments": list(arguments), "settings": {"release": "pro"}, "processors": 1,
                "max_ram_mb": 200, "wall_seconds": 1000,
            }
            | changes
        )  # fmt: skip


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that users of slots can reach, outside of /tmp, which they have for themselves."""
    base = Path(__file__).parents[3] / ".test"
    base.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=base, prefix="slots-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.server.shutdown()
    desk.server.server_close()


@pytest.fixture
def launch(place: Path, desk: Desk, launcher_python: str) -> Iterator[Callable[..., Path]]:
    """Start a launcher whose pilots look around; returns its state directory."""
    build(place)
    (place / "look.py").write_text(LOOK)
    (place / "credential").write_text(CREDENTIAL)
    (place / "credential").chmod(0o600)
    running: list[subprocess.Popen[bytes]] = []

    def start(**settings: Any) -> Path:
        content = {
            "url": desk.url, "credential_file": str(place / "credential"), "work_dir": str(place / "work"),
            "state_dir": str(place / "state"), "slots": 1, "processors": 1, "memory_mb": 1000,
            "python": PYTHON, "pilot_program": str(place / "look.py"), "slot_users": "#7000%d",
            "wait_seconds": 1, "drain_seconds": 0, "grace_seconds": 1,
        }  # fmt: skip
        (place / "node.json").write_text(json.dumps(content | settings))
        with (place / "log").open("wb") as log:
            command = [launcher_python, str(place / "dirac-node.py"), "--settings", str(place / "node.json")]
            running.append(subprocess.Popen(command, stdout=log, stderr=log))
        return place / "state"

    yield start
    for process in running:
        process.terminate()
        process.wait(30)


def seen_by(state: Path, stamp: str) -> dict[str, Any]:
    text = (state / "output" / f"{stamp}.log").read_text()
    line = next(line for line in text.splitlines() if line.startswith("LOOK"))
    found: dict[str, Any] = json.loads(line.removeprefix("LOOK"))
    return found


def test_a_pilot_is_alone_with_what_is_its_own(launch: Callable[..., Path], desk: Desk, place: Path) -> None:
    hidden = [str(place / "credential"), f"/proc/{os.getpid()}/environ", str(place / "state/status.json")]
    desk.give("aa" * 16, ":".join(hidden), "sleep", "3")
    state = launch()
    eventually(lambda: desk.ended, "the end is reported")
    assert desk.ended == {"aa" * 16: {"exit_code": 3, "reason": ""}}
    seen = seen_by(state, "aa" * 16)
    assert seen["secret"] == "secret-of-" + "aa" * 16
    assert set(seen["files"].values()) == {"0o600"}
    assert "secret-of-" not in str(seen["argv"]) + str(seen["environ"])
    assert CREDENTIAL not in json.dumps(seen)
    assert seen["settings"]["agent_seconds"] == 1000
    status = json.loads((state / "status.json").read_text())
    if os.geteuid() == 0:
        assert (seen["uid"], seen["gid"], seen["groups"]) == (70001, 70001, [])
        assert "NoNewPrivs:\t1" in seen["status"]
        assert {seen[f"opened {name}"] for name in hidden} <= {"PermissionError", "FileNotFoundError"}
    if status["isolation"] == "namespaces":
        assert len(seen["processes"]) <= 4, "it sees its own processes only"
        assert not Path("/tmp/mine").exists(), "its /tmp is its own"
    if status["limits"] in ("v1", "v2"):
        assert "dirac-node/slot-01" in seen["cgroup"]
    assert not list((place / "work").iterdir()), "nothing is left"
    assert not [pid for pid in sleepers() if pid not in BEFORE], "and nobody"


def sleepers() -> list[str]:
    """Return the processes that pilots of these tests leave behind."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == b"/bin/sleep\x00300\x00":
                found.append(entry.name)
        except OSError:
            continue
    return found


BEFORE = sleepers()


def test_who_eats_more_than_its_share_is_ended_and_the_reason_is_known(
    launch: Callable[..., Path], desk: Desk
) -> None:
    desk.give("bb" * 16, "/none", "eat", "0")
    state = launch()
    eventually(lambda: desk.ended, "the end is reported")
    end = desk.ended["bb" * 16]
    assert end["exit_code"] != 0
    if json.loads((state / "status.json").read_text())["limits"] in ("v1", "v2"):
        assert end["reason"] == "used more than the 200 MB of its slot"


def test_pilots_that_fail_one_after_the_other_are_not_asked_for(
    launch: Callable[..., Path], desk: Desk, place: Path
) -> None:
    for number in range(5):
        desk.give(f"{number:032x}", "/none", "sleep", "1")
    launch()
    eventually(lambda: "pilots fail at once" in (place / "log").read_text(), "the launcher has noticed")
    eventually(lambda: desk.requests[-1]["slots"] == 0, "it asks for none")
    assert len(desk.ended) <= 4


def test_a_name_that_two_launchers_share_is_refused(launch: Callable[..., Path], place: Path) -> None:
    state = launch()
    eventually(lambda: (state / "status.json").exists(), "the first runs")
    command = [sys.executable, str(place / "dirac-node.py"), "--settings", str(place / "node.json")]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "a launcher runs already" in second.stderr
