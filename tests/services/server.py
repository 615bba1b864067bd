"""What the private servers have in common: a directory, a guard, free ports, start until ready, stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from dirac.core.errors import InternalError, UnavailableError

from .packages import Programs

LOOPBACK = "127.0.0.1"
_GREETING_PATIENCE = 1.0  # seconds; a stranger on our port must not hold us up
_PREFIX = "dirac-test-"
_MEMORY_DISK = Path("/dev/shm")
_MEMORY_NEEDED = 1 << 30  # bytes that must be free there to prefer it to the disk
_START_PATIENCE = 90.0  # seconds; a loaded machine is slow, not broken
_START_TRIES = 3  # another process may take a free port before the server does
_LOG_TAIL = 30  # lines of a server's log in an error

T = TypeVar("T")


class Server:
    """One private server; listens on the loopback interface, with a random password.

    `start` returns when it answers. `close` ends it and removes all it left; so does the end of this process.

    Args:
        programs: What to run.
    """

    title: ClassVar[str]
    end_signal: ClassVar[signal.Signals] = signal.SIGKILL  # the data is thrown away
    port_names: ClassVar[tuple[str, ...]] = ("main",)

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.user = "dirac"
        self.password = secrets.token_hex(12)
        self.ports: dict[str, int] = {}
        self.directory, self._lock = _make_directory(type(self).__name__.lower())
        self.log = self.directory / "log"
        self._guard = _GuardLink(self.directory, self._lock)
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port that clients speak to; the same after a restart."""
        return self.ports["main"]

    @property
    def pids(self) -> tuple[int, ...]:
        """Processes that were started directly, to look at."""
        return tuple(self._pids)

    def start(self) -> None:
        """Start and wait until it answers.

        Raises:
            UnavailableError: It does not; says the end of its log.
        """
        chosen_before = bool(self.ports)
        for tries_left in reversed(range(_START_TRIES)):
            if not chosen_before:
                self.ports = dict(zip(self.port_names, free_ports(len(self.port_names)), strict=True))
            try:
                self._launch()
                self._wait_for("answer", self._answers)
            except UnavailableError:
                self.kill()
                if chosen_before or not tries_left or not self._port_was_taken():
                    raise
                self.log.unlink()
            else:
                return

    def stop(self) -> None:
        """End it orderly: what is committed is there after the next start."""
        self._disconnect()
        self._guard.ask("stop", signal=signal.SIGTERM, patience=30.0)
        self._pids.clear()

    def kill(self) -> None:
        """End it by SIGKILL at this moment, as a crash does; the data stays for the next start."""
        self._guard.ask("kill")
        self._pids.clear()
        self._disconnect()

    def restart(self) -> None:
        """Stop it if it runs, start it with the same data, address and password."""
        if self._pids:
            self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove its directory."""
        self._disconnect()
        self._pids.clear()
        self._guard.close()
        os.close(self._lock)

    def log_tail(self) -> str:
        """Return the last lines it wrote."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_LOG_TAIL:])

    def _launch(self) -> None:
        """Start the processes; prepare the data when there is none yet."""
        raise NotImplementedError

    def _answers(self) -> bool:
        """Whether it serves clients now; True only after a real exchange with it."""
        raise NotImplementedError

    def _disconnect(self) -> None:
        """Close our own connections."""

    def _run(
        self,
        *argv: str | Path,
        stdin: Path | None = None,
        uid: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Start a process; return its id."""
        answer = self._guard.ask(
            "start",
            argv=[str(argument) for argument in argv],
            env={**self.programs.environment(), "HOME": str(self.directory), **(env or {})},
            log=str(self.log),
            stdin=str(stdin) if stdin else None,
            uid=uid,
            gid=None if uid is None else pwd.getpwuid(uid).pw_gid,
            end_signal=self.end_signal,
        )
        pid: int = answer["pid"]
        self._pids.append(pid)
        return pid

    def _run_to_end(
        self, what: str, *argv: str | Path, stdin: Path | None = None, uid: int | None = None
    ) -> None:
        """Run a process that ends by itself, and demand success."""
        pid = self._run(*argv, stdin=stdin, uid=uid)
        self._pids.remove(pid)
        for _ in poll(_START_PATIENCE):
            if (code := self._guard.ask("poll", pid=pid)["returncode"]) is not None:
                break
        else:
            raise self._failure(f"did not {what} within {_START_PATIENCE:.0f} s")
        if code:
            raise self._failure(f"could not {what} (exit code {code})")

    def _wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        for _ in poll(_START_PATIENCE):
            if condition():
                return
            for pid in self._pids:
                if (code := self._guard.ask("poll", pid=pid)["returncode"]) is not None:
                    raise self._failure(f"ended while starting (exit code {code})")
        raise self._failure(f"did not {what} within {_START_PATIENCE:.0f} s")

    def _failure(self, what: str) -> UnavailableError:
        return UnavailableError(
            f"{self.title} {self.programs.version} from {self.programs.root} {what}. "
            f"The end of its log:\n{self.log_tail()}\n",
            hint="Mend what the log says; remove .test/services to fetch the programs again",
        )

    def _port_was_taken(self) -> bool:
        log = self.log_tail().lower()
        return "in use" in log or "eaddrinuse" in log


class Administrator:
    """Runs coroutines on a loop of its own, so that tests with and without a running loop can use it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="administrator", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=_START_PATIENCE)

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _GuardLink:
    """Our end of the guard (see guard.py)."""

    def __init__(self, directory: Path, lock: int) -> None:
        guard = Path(__file__).with_name("guard.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[lock],  # held as long as one of us lives
        )

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"error": "it ended"}')
        if "error" in answer:
            raise InternalError(f"the guard of a test server could not {what}: {answer['error']}")
        return answer

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=60)


def poll(patience: float, interval: float = 0.01) -> Iterator[None]:
    """Yield until the time is over, at most 100 times a second."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        yield
        time.sleep(interval)


def greeting(port: int, hello: bytes) -> bytes:
    """Send `hello` to a port and return the first byte of the answer, nothing when there is none."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_GREETING_PATIENCE) as connection:
            connection.sendall(hello)
            return connection.recv(1)
    except OSError:
        return b""


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def reachable_by_all(path: Path) -> bool:
    """Whether a user without privileges can get to `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


def copy_for_all(programs: Programs, directory: Path) -> Programs:
    """Copy fetched programs to where a user without privileges can run them."""
    root = directory / "programs"
    shutil.copytree(programs.root, root, symlinks=True)
    return Programs(root, programs.version)


def _make_directory(name: str) -> tuple[Path, int]:
    """Make the server's directory and lock it; first clear those whose owner and guard were both killed."""
    places = [Path(tempfile.gettempdir())]
    if _memory_disk_serves():
        places.insert(0, _MEMORY_DISK)
    for place in places:
        for lock_file in place.glob(f"{_PREFIX}*/lock"):
            _remove_abandoned(lock_file)
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-", dir=places[0]))
    # Appears under its final name when it is locked, so that nobody takes the directory for abandoned.
    lock = os.open(directory / "lock.new", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (directory / "lock.new").rename(directory / "lock")
    return directory, lock


def _memory_disk_serves() -> bool:
    if not os.access(_MEMORY_DISK, os.W_OK):
        return False
    status = os.statvfs(_MEMORY_DISK)
    # Programs may have to be copied there (copy_for_all), and must then be able to run.
    return status.f_bavail * status.f_frsize >= _MEMORY_NEEDED and not status.f_flag & os.ST_NOEXEC


def _remove_abandoned(lock_file: Path) -> None:
    with contextlib.suppress(OSError):  # another user's, or just removed
        if lock_file.stat().st_uid != os.getuid():
            return
        with lock_file.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock_file.parent, ignore_errors=True)
