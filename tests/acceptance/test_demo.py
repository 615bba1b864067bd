"""`bin/demo`: what it promises, again and again, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.installation import BIN, free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 600
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class Demo:
    """The demo, below a directory and on a port of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "demo"
        self.port = free_port()
        self.home = directory / "home"
        self.home.mkdir()
        self.bin = directory / "bin"
        self.bin.mkdir()
        (self.bin / "python3").symlink_to(_base_python())

    def run(self, *words: str, code: int = 0, **variables: str) -> str:
        """Run ``bin/demo`` as a user who has just logged in; return all that it prints."""
        done = subprocess.run(
            [ROOT / "bin/demo", *words],
            env=self._environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, f"{done.returncode}:\n{done.stdout}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        # How this machine reaches its package index is the machine's own affair.
        network = re.compile(
            r"(?i)^(https?|no|all)_proxy$|^PIP_(INDEX|EXTRA|TRUSTED|CERT)|^UV_(INDEX|DEFAULT|NATIVE)|^SSL_"
        )
        kept: Mapping[str, str] = {name: text for name, text in os.environ.items() if network.match(name)}
        return {
            **kept,
            "PATH": f"{self.bin}:{SYSTEM_PATH}",
            "HOME": str(self.home),
            "DIRAC_DEMO_ROOT": str(self.root),
            "DIRAC_DEMO_PORT": str(self.port),
            "UV_CACHE_DIR": _cache(),
        }

    def program(self, name: str, text: str) -> None:
        """Put a program first on the PATH."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def processes(self) -> dict[int, str]:
        """Return what runs out of the demo's directory."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                if str(self.root) in words:
                    found[int(entry.name)] = words
        return found

    def close(self) -> None:
        """End what a failed test has left."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _base_python() -> Path:
    """Return the interpreter below the tests' virtual environment."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _cache() -> str:
    """Return the installer's cache, which the tests share; a user's demo has one of its own."""
    return os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv"))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    one = Demo(tmp_path)
    yield one
    one.close()


def _require_story(said: str) -> None:
    """Check that all is there that a first look at DIRAC should show."""
    for words in (
        r"Logged in: alice, VO astro",
        r"Logged in: bob, VO bio",
        r"pi = 3\.1\d+ \+- 0\.00\d+ from \d+,000,000 points of 20 jobs.*Checked\.",
        r"Waiting(.*\n)+.*Done +Execution Complete",
        r"cannot run: none of the \d+ queues of astro fits",
        r"Tags +Cray, GPU",
        r"If you lower CPUTime .*and drop the tags Cray, GPU",
        r"Failed: Application Finished With Errors, Failed \(exit code 3\)",
        r"without a calibration the results would be wrong",
        r"http://127\.0\.0\.1:\d+/api/docs",
        r"dirac job list",
    ):
        assert re.search(words, said), f"{words}\n\n{said}"


def test_demo_from_the_first_run_to_its_removal(demo: Demo) -> None:
    said = demo.run()
    assert "installing Ansible" in said
    assert set(re.findall(r"http://127\.0\.0\.1:(\d+)", said)) == {str(demo.port)}, "of all addresses shown"
    _require_story(said)

    again = demo.run()
    assert "installing" not in again
    assert re.search(r"\d+ tasks, 0 changed", again)
    _require_story(again)

    assert "Stopped" in demo.run("--stop")
    assert demo.processes() == {}
    assert (demo.root / "server/dirac.db").exists()
    assert "Stopped" in demo.run("--stop"), "again is no error"

    third = demo.run()
    assert "installing" not in third
    _require_story(third)

    # The server moves to another port, and never to one that is taken.
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        assert f"port {taken} cannot be used" in demo.run("--port", taken, code=1)
    assert "0 changed" in demo.run()

    assert "Removed" in demo.run("--remove")
    assert demo.processes() == {}
    assert not demo.root.exists()
    assert "There is no demo" in demo.run("--remove"), "again is no error"
    assert list(demo.home.iterdir()) == [], "everything was below one directory"


def test_port_in_use_is_named_with_a_way_out(demo: Demo) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = demo.run("--port", str(port), code=1)
    assert f"error: port {port} cannot be used" in said
    assert f"bin/demo --port {port + 1}" in said
    assert not demo.root.exists()


@pytest.mark.parametrize("port", ["0", "65536", "99999999", "-1", "http", ""])
def test_what_is_no_port_is_refused(demo: Demo, port: str) -> None:
    assert "error: " in demo.run(f"--port={port}", code=1)
    assert not demo.root.exists()


def test_python_without_venv_names_the_package(demo: Demo) -> None:
    demo.program(
        "python3",
        f"""#!/bin/sh
case "$2" in *ensurepip*) echo "No module named ensurepip" >&2; exit 1 ;; esac
exec {_base_python()} "$@"
""",
    )
    said = demo.run(code=1)
    assert "cannot make virtual environments" in said
    assert "apt install python3-venv" in said
    assert not demo.root.exists()


def test_old_python_is_named(demo: Demo) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        demo.program(name, "#!/bin/sh\nexit 1\n")
    said = demo.run(code=1)
    assert "Python 3.11 or newer was not found" in said
    assert "DIRAC_PYTHON=" in said
    assert not demo.root.exists()


def test_no_network_is_said_and_leaves_nothing(demo: Demo, tmp_path: Path) -> None:
    said = demo.run(
        code=1,
        UV_OFFLINE="1",
        PIP_NO_INDEX="1",
        UV_CACHE_DIR=str(tmp_path / "empty"),
    )
    assert "the packages could not be installed" in said
    assert "Is there a network" in said
    assert not demo.root.exists()
    assert demo.processes() == {}


def test_network_lost_after_the_tools_leaves_no_half_made_environment(demo: Demo, tmp_path: Path) -> None:
    # A cache with the tools and nothing else: offline, the demo comes as far as to the environment.
    cache = str(tmp_path / "cache")
    scratch = tmp_path / "scratch"
    uv = [BIN / "uv", "--quiet", "--cache-dir", cache]
    subprocess.run([*uv, "venv", "--no-project", "--python", _base_python(), scratch], check=True)
    lock = ROOT / "requirements/deploy.txt"
    subprocess.run([*uv, "pip", "install", "--python", scratch / "bin/python", "-r", lock], check=True)
    said = demo.run(code=1, UV_OFFLINE="1", UV_CACHE_DIR=cache)
    assert "the environment could not be made" in said
    assert "is the package index reachable" in said
    assert f"All of it is in {demo.root}/deploy.log" in said
    assert "the environment could not be made" in (demo.root / "deploy.log").read_text()
    assert not list((demo.root / "environment").glob("*"))
    assert demo.processes() == {}
    assert "Removed" in demo.run("--remove")
    assert not demo.root.exists()


def test_full_disk_is_said_before_anything_is_made(demo: Demo) -> None:
    demo.program(
        "df",
        "#!/bin/sh\necho Filesystem 1M-blocks Used Available Capacity Mounted on\necho tiny 20 2 18 10% /\n",
    )
    said = demo.run(code=1)
    assert "only 18 MB are free" in said
    assert "DIRAC_DEMO_ROOT=" in said
    assert not demo.root.exists()


def test_unknown_option_is_refused(demo: Demo) -> None:
    said = demo.run("--frobnicate", code=2)
    assert "unknown option: --frobnicate" in said
    assert "usage: bin/demo" in said
    assert not demo.root.exists()


def test_help_is_no_error(demo: Demo) -> None:
    assert "usage: bin/demo" in demo.run("--help")


@pytest.mark.parametrize("action", ["--remove", ""])
def test_directory_that_is_not_a_demo_is_left_alone(demo: Demo, action: str) -> None:
    demo.root.mkdir()
    (demo.root / "thesis.tex").write_text("years of work")
    said = demo.run(*([action] if action else []), code=1)
    assert "error: " in said
    assert [path.name for path in demo.root.iterdir()] == ["thesis.tex"]


def test_stop_without_a_demo_is_no_error(demo: Demo) -> None:
    assert "There is no demo" in demo.run("--stop")
    assert not demo.root.exists()
