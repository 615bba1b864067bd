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
_FOLLOWED_BYTES = 32 * 1024
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
    return end_of(path, _TAIL_BYTES, lines)[1].rstrip("\n")


def end_of(path: Path, most_bytes: int, most_lines: int | None = None) -> tuple[int, str]:
    """Return the end of a file, and how many bytes come before it.

    The text is as long in UTF-8 as it is in the file: what is no UTF-8 becomes a question mark per byte.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - most_bytes))
            content = file.read(size - start)
    except OSError:
        return 0, ""
    if start:  # not in the middle of a character
        rest = content.lstrip(bytes(range(0x80, 0xC0)))
        content = rest if len(content) - len(rest) < 4 else content
    if most_lines is not None:
        content = b"".join(content.splitlines(keepends=True)[-most_lines:])
    text = content.decode("utf-8", "surrogateescape").replace("\x00", "?")
    return size - len(content), "".join("?" if "\udc80" <= one <= "\udcff" else one for one in text)


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
        ended = asyncio.create_task(self._the_process().wait())
        self._signal_group(signal.SIGTERM)
        # Whoever calls this may be cancelled already: `asyncio.timeout` of Python 3.11.2 never ends there.
        await asyncio.wait({ended}, timeout=_KILL_GRACE)
        self._signal_group(signal.SIGKILL)
        await ended

    def output(self, *, followed: bool = False) -> tuple[int, str]:
        """Return the end of its standard output, and how many bytes come before it."""
        most = (_FOLLOWED_BYTES, None) if followed else (_TAIL_BYTES, _TAIL_LINES)
        return end_of(self.stdout, *most)

    def vital_signs(self, *, followed: bool = False) -> HeartbeatData:
        """Measure the group, and read the end of its standard output; more of it if somebody follows that."""
        offset, text = self.output(followed=followed)
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
            StandardOutput=text,
            StandardOutputOffset=offset,
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
