"""The directory in which one pilot of this machine lives: all that is known about it is there.

The files are described in `dirac.resources.computing.supervisor`. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from dirac.core.trust import TRUST_VARIABLES
from dirac.resources.computing import supervisor
from dirac.resources.computing.base import STAMP_VARIABLE, Output, PilotJob, PilotState, PilotStatus

_SAFE_PATH = "/usr/local/bin:/usr/bin:/bin"


class Spool:
    """One pilot's directory.

    Whoever calls anything but `exists` and `output` holds the lock of the element.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def stamp(self) -> str:
        """The pilot's stamp."""
        return self.directory.name

    def exists(self) -> bool:
        """Whether the pilot is known."""
        return self.directory.is_dir()

    def create(self, job: PilotJob, temporary: Path, grace: float) -> None:
        """Write everything the start needs; the directory appears complete or not at all.

        Nothing is forced to disk: after a loss of power there is no pilot left to know about.
        """
        temporary.mkdir(mode=0o700)
        work = temporary / supervisor.WORK
        work.mkdir(mode=0o700)
        (temporary / supervisor.TEMPORARY).mkdir(mode=0o700)
        for name, content in job.files.items():
            _write_private(work / name, content)
        spec = {
            "command": [job.executable, *job.arguments],
            "environment": self._environment(job),
            "grace": grace,
        }
        _write_private(temporary / supervisor.SPEC, json.dumps(spec).encode())
        temporary.rename(self.directory)

    def _environment(self, job: PilotJob) -> dict[str, str]:
        return {
            "PATH": _SAFE_PATH,
            "HOME": str(self.directory / supervisor.WORK),
            "TMPDIR": str(self.directory / supervisor.TEMPORARY),
            "LANG": "C.UTF-8",
            # Whom this machine believes is no secret, and the pilot speaks to the server as well.
            **{name: os.environ[name] for name in TRUST_VARIABLES if name in os.environ},
            **job.environment,
            STAMP_VARIABLE: job.stamp,
        }

    def state(self) -> PilotState:
        """Work out the state from what is written and which processes live.

        A pilot whose supervisor was killed and that ended since is put on record as such.
        """
        if (record := self._read(supervisor.EXIT)) is not None:
            return self._ended(record)
        started = self._read(supervisor.STARTED)
        if started is None:
            if self.exists():
                return PilotState(PilotStatus.WAITING)
            return PilotState(PilotStatus.UNKNOWN, reason="there is no such pilot here")
        if "cancelled" in started:
            return PilotState(PilotStatus.DELETED, reason="cancelled before its start")
        pilot = self._read(supervisor.PILOT)
        for name in (started.get("supervisor"), pilot and pilot.get("pilot")):
            if name and supervisor.is_alive(name):
                return PilotState(PilotStatus.RUNNING)
        # The supervisor may have written its last words after we looked for them and before it ended.
        if (record := self._read(supervisor.EXIT)) is None:
            record = {"lost": pilot is not None}
            self.kill_strays()
            with contextlib.suppress(OSError):  # a full disk: we say the same again the next time
                supervisor.write(self.directory, supervisor.EXIT, record)
        return self._ended(record)

    def _ended(self, record: dict[str, Any]) -> PilotState:
        if "error" in record:
            return PilotState(PilotStatus.ABORTED, reason=record["error"])
        if "exit_code" not in record:
            return self._lost(started=record.get("lost", True))
        code: int = record["exit_code"]
        reason = f"ended by signal {-code} ({_signal_name(-code)})" if code < 0 else f"exit status {code}"
        shell_code = 128 - code if code < 0 else code
        if record["stopped"]:
            if self.is_unwanted():
                return PilotState(PilotStatus.DELETED, shell_code, f"cancelled: {reason}")
            reason = f"its supervisor was told to stop: {reason}"
        elif code == 0:
            return PilotState(PilotStatus.DONE, 0)
        return PilotState(PilotStatus.FAILED, shell_code, reason)

    def _lost(self, *, started: bool) -> PilotState:
        if self.is_unwanted():
            return PilotState(PilotStatus.DELETED, reason="cancelled")
        if started:
            return PilotState(
                PilotStatus.FAILED, reason="its supervisor was killed; how the pilot ended is not known"
            )
        return PilotState(PilotStatus.ABORTED, reason="its supervisor was killed before the pilot started")

    def is_unwanted(self) -> bool:
        """Whether somebody asked for the pilot's end."""
        return (self.directory / supervisor.CANCEL).exists()

    def cancel(self) -> None:
        """Put the wish for the end on record, then act on it."""
        (self.directory / supervisor.CANCEL).touch(mode=0o600)
        self.act_on_cancel()

    def act_on_cancel(self) -> None:
        """Bring a pilot to its end whose end is on record as a wish; safe to repeat."""
        if supervisor.claim(self.directory, {"cancelled": True}):
            return
        owner = (self._read(supervisor.STARTED) or {}).get("supervisor")
        if owner is None or supervisor.send(owner, signal.SIGTERM):
            return
        self.kill_strays()

    def kill_strays(self) -> None:
        """Kill whatever carries the pilot's stamp in its environment.

        The last resort, for a pilot whose supervisor was killed: nobody is left to wait out a grace period,
        and the stamp tells the pilot's processes from those that later got the same numbers.
        """
        mark = f"{STAMP_VARIABLE}={self.stamp}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                name = supervisor.identity(int(entry.name))
                if name and mark in (entry / "environ").read_bytes().split(b"\0"):
                    supervisor.send(name, signal.SIGKILL)

    def output(self, limit: int) -> Output:
        """Return the ends of both streams; empty before the start."""
        stdout, more_stdout = _tail(self.directory / supervisor.STDOUT, limit)
        stderr, more_stderr = _tail(self.directory / supervisor.STDERR, limit)
        return Output(stdout, stderr, more_stdout or more_stderr)

    def remove(self, trash: Path) -> None:
        """Take the directory away: first its name, so that a crash leaves none with half its files."""
        with contextlib.suppress(FileNotFoundError):
            self.directory.rename(trash)
        remove_tree(trash)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads((self.directory / name).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:  # a loss of power can leave an empty file: it was there, and nothing is known
            return {}
        return record


def remove_tree(path: Path) -> None:
    """Remove a directory, also one in which a pilot made directories that may not be written."""
    for parent, directories, _ in os.walk(path):
        for name in directories:
            child = Path(parent, name)
            if not child.is_symlink():
                child.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _tail(path: Path, limit: int) -> tuple[str, bool]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            return file.read(limit).decode(errors="replace"), size > limit
    except FileNotFoundError:
        return "", False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "real-time signal"
