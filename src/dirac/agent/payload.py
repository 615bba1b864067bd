"""The payload: a process group of its own that is watched, measured and, if need be, ended."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dirac.systems.workload.models import HeartbeatData

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 8192
_TAIL_LINES = 20
_KILL_GRACE = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
# Loaded before any fork: between fork and exec, importing or loading may deadlock.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (prctl(2), Linux)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def tail(path: Path, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a file, empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace").replace("\x00", "\ufffd")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


@dataclass
class Payload:
    """One payload.

    Attributes:
        command: Program and arguments.
        directory: Where it runs.
        environment: All of its environment.
        stdout: File for its standard output.
        stderr: File for its standard error.
    """

    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    stdout: Path
    stderr: Path
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _started: float = field(default=0.0, init=False)

    async def start(self) -> int:
        """Start it; returns its process id.

        Raises:
            OSError: The program is not there, or cannot be executed.
        """
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=self.directory,
                env=dict(self.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._started = time.monotonic()
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end; returns the exit code, 128 + number for a signal. Clears up its children."""
        process = self._the_process()
        code = await process.wait()
        self._signal_group(signal.SIGKILL)
        return 128 - code if code < 0 else code

    async def stop(self) -> None:
        """End it: ask first, then kill the whole group."""
        process = self._the_process()
        self._signal_group(signal.SIGTERM)
        try:
            async with asyncio.timeout(_KILL_GRACE):
                await process.wait()
        except TimeoutError:
            pass
        self._signal_group(signal.SIGKILL)
        await process.wait()

    def vital_signs(self) -> HeartbeatData:
        """Measure the group, and read the end of its standard output."""
        ticks, resident, virtual = 0, 0, 0
        for stat in self._group():
            # Fields of proc(5) /proc/pid/stat, counted from the state: 11 utime, 12 stime, 20 vsize, 21 rss.
            ticks += sum(int(stat[i]) for i in (11, 12, 13, 14))
            virtual += int(stat[20]) // 1024
            resident += int(stat[21]) * _PAGE_KB
        return HeartbeatData(
            LoadAverage=os.getloadavg()[0],
            MemoryUsed=float(resident),
            Vsize=float(virtual),
            AvailableDiskSpace=shutil.disk_usage(self.directory).free / 1024**2,
            CPUConsumed=ticks / _TICKS,
            WallClockTime=time.monotonic() - self._started,
            StandardOutput=tail(self.stdout),
        )

    def _the_process(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the payload has not been started")
        return self._process

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._the_process().pid, number)

    def _group(self) -> list[list[str]]:
        """Return the fields of /proc/pid/stat, from the state on, of every process of the session."""
        session, found = str(self._the_process().pid), []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[3] == session:
                    found.append(fields)
        return found
