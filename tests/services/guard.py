"""Holds the processes of one private server and ends them when the owner is gone, however it went.

Runs as a program of its own (``python -I -S guard.py DIRECTORY``), standard library only, so that it starts
in milliseconds. It reads commands, one JSON object per line, from its standard input and answers each with
one line. End of input means that the owner closed us or died, even by SIGKILL: then every descendant
(we adopt the ones that turned themselves into daemons) is ended and the directory removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)
_LAST_PATIENCE = 5.0  # seconds for a last orderly end before SIGKILL


class Guard:
    """The processes of one server.

    Args:
        directory: What to remove at the end.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.end_signals: dict[int, int] = {}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command."""
        handlers: dict[str, Callable[..., dict[str, Any]]] = {
            "start": self.start,
            "poll": self.poll,
            "stop": self.stop,
            "kill": self.kill,
        }
        try:
            return handlers[command.pop("do")](**command)
        except OSError as error:
            return {"error": str(error)}

    def start(
        self,
        *,
        argv: list[str],
        env: dict[str, str],
        log: str,
        stdin: str | None,
        uid: int | None,
        gid: int | None,
        end_signal: int,
    ) -> dict[str, Any]:
        """Start a process in the directory; its output is appended to `log`, `end_signal` ends it orderly."""

        def die_with_guard() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, end_signal)

        with Path(log).open("ab") as output, Path(stdin or os.devnull).open("rb") as source:
            process = subprocess.Popen(
                argv,
                env=env,
                cwd=self.directory,
                stdin=source,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_guard,  # safe: we have one thread
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
            )
        self.processes[process.pid] = process
        self.end_signals[process.pid] = end_signal
        return {"pid": process.pid}

    def poll(self, *, pid: int) -> dict[str, Any]:
        """Tell how a process ended; null while it runs."""
        return {"returncode": self.processes[pid].poll()}

    def stop(self, *, signal: int, patience: float) -> dict[str, Any]:
        """Ask all processes to end with `signal`, wait at most `patience` seconds, then kill."""
        for process in self.processes.values():
            process.send_signal(signal)
        self._wait(patience)
        return self.kill()

    def kill(self) -> dict[str, Any]:
        """End every descendant at once."""
        deadline = time.monotonic() + 30
        while pids := descendants():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            if time.monotonic() > deadline:
                return {"error": f"these processes survive SIGKILL: {pids}"}
            time.sleep(0.002)
        self.processes.clear()
        return {}

    def close(self) -> None:
        """End everything and leave nothing on disk."""
        for pid, process in self.processes.items():
            process.send_signal(self.end_signals[pid])
        self._wait(_LAST_PATIENCE)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while any(p.poll() is None for p in self.processes.values()) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _reap(self) -> None:
        for process in self.processes.values():
            process.poll()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def descendants() -> list[int]:
    """List all processes below this one that are not yet reaped."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name, second field, may hold anything: what counts comes after its closing bracket.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    level = {os.getpid()}
    while level := {pid for pid, parent in parents.items() if parent in level}:
        found += level
    return found


def lines_from_owner() -> Iterator[bytes]:
    """Yield commands until the owner closes the pipe or is no longer our parent.

    The second case matters when a fork of the owner holds the pipe open beyond the owner's death.
    """
    owner, buffer = os.getppid(), b""
    while os.getppid() == owner:
        if not select.select([0], [], [], 0.5)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *complete, buffer = (buffer + chunk).split(b"\n")
        yield from complete


def main() -> None:
    """Serve the owner, then clean up."""
    # Ctrl-C and a closed terminal concern the owner, which ends us by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    guard = Guard(Path(sys.argv[1]))
    try:
        for line in lines_from_owner():
            sys.stdout.write(json.dumps(guard.answer(json.loads(line))) + "\n")
            sys.stdout.flush()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        guard.close()


if __name__ == "__main__":
    main()
