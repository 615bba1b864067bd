"""The process that starts one pilot of this machine, waits for it and writes down how it ended.

``python -I -S supervisor.py DIRECTORY...`` makes one supervisor per directory and ends as soon as each of
their pilots was started or refused. A supervisor belongs to nobody: it goes on when the server is gone.
Only the standard library is used, because the file is run by its path in an isolated interpreter.

Files of a directory, each of which appears complete or not at all:

=================  ===================================================================================
``spec.json``      what to run; written by the server before the directory gets its name
``started.json``   who owns the pilot: its supervisor, or the server that cancelled it before its start
``pilot.json``     the pilot's process; written by that process before it becomes the pilot's program
``cancel``         the wish that it ends; written by the server
``exit.json``      how it ended; written by the supervisor when nothing of the pilot is left
=================  ===================================================================================

``started.json`` is made with link(2), which one process only can win: that is what makes a second start
harmless, whoever was killed in between and tries again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

# Names of the files, used by the server as well.
SPEC, STARTED, PILOT, CANCEL, EXIT = "spec.json", "started.json", "pilot.json", "cancel", "exit.json"
WORK, TEMPORARY, STDOUT, STDERR = "work", "tmp", "stdout", "stderr"

_SET_CHILD_SUBREAPER = 36
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_WATCHED = _ENDING | {signal.SIGCHLD}
_IDLE = 3600.0
_LAST_WAIT = 10.0  # seconds for killed processes to go away; longer only if the kernel holds them


def identity(pid: int) -> str | None:
    """Name a living process so that another one with the same number has another name.

    The name is made of the boot, the number and the start in clock ticks since boot (proc(5)). None if there
    is no such process or it is a zombie.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{pid}:{fields[19]}"


def is_alive(name: str) -> bool:
    """Tell whether the process of that `identity` still is."""
    return identity(int(name.split(":")[1])) == name


def send(name: str, number: signal.Signals) -> bool:
    """Send a signal to the process of that `identity`; False if it is gone. Never hits another process."""
    pid = int(name.split(":")[1])
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if identity(pid) != name:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def write(directory: Path, name: str, record: dict[str, object]) -> None:
    """Write a record so that it is there as a whole or not at all."""
    temporary = directory / f".{name}.{os.getpid()}"
    temporary.write_text(json.dumps(record))
    temporary.replace(directory / name)


def claim(directory: Path, record: dict[str, object]) -> bool:
    """Become the one owner of the pilot; False if it has one already."""
    temporary = directory / f".{STARTED}.{os.getpid()}"
    temporary.write_text(json.dumps(record))
    try:
        os.link(temporary, directory / STARTED)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def supervise(directory: Path, ready: int) -> None:
    """Run the pilot of a directory unless it has an owner; close `ready` once it was started or refused."""
    # Blocked from here on: a wish to end that comes before the start waits until the loop looks for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    if not claim(directory, {"supervisor": identity(os.getpid())}):
        return
    _adopt_orphans()
    try:
        spec = json.loads((directory / SPEC).read_text())
        pilot = _start(directory, spec)
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        _write_exit(directory, {"error": f"the pilot could not be started: {error}"})
        return
    os.close(ready)
    code, stopped = _wait(pilot, float(spec["grace"]))
    _end_descendants()
    _write_exit(directory, {"exit_code": code, "stopped": stopped})


def _adopt_orphans() -> None:
    # What a pilot leaves behind becomes a child of ours instead of init's, whatever session it is in.
    try:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        traceback.print_exc()  # the process group of the pilot is still ended


def _start(directory: Path, spec: dict[str, object]) -> int:
    def before_program() -> None:
        write(directory, PILOT, {"pilot": identity(os.getpid())})
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    with (directory / STDOUT).open("wb") as stdout, (directory / STDERR).open("wb") as stderr:
        process = subprocess.Popen(
            spec["command"],  # type: ignore[call-overload]
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=directory / WORK,
            env=spec["environment"],
            start_new_session=True,
            preexec_fn=before_program,  # safe: this process has one thread
        )
    process.returncode = 0  # we wait for it ourselves
    return int(process.pid)


def _wait(pilot: int, grace: float) -> tuple[int, bool]:
    """Return how the pilot ended, -n for signal n, and whether it was told to."""
    deadline: float | None = None
    while (status := _reap(pilot)) is None:
        remaining = _IDLE if deadline is None else deadline - time.monotonic()
        if remaining <= 0:
            os.killpg(pilot, signal.SIGKILL)
            remaining = _IDLE
        caught = signal.sigtimedwait(_WATCHED, remaining)
        if caught and caught.si_signo in _ENDING and deadline is None:
            deadline = time.monotonic() + grace
            os.killpg(pilot, signal.SIGTERM)
    return os.waitstatus_to_exitcode(status), deadline is not None


def _reap(pilot: int) -> int | None:
    """Collect ended children; return the wait status of the pilot if it is among them."""
    while True:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        if info.si_pid == pilot:
            # As long as the pilot is not collected its number cannot belong to another group.
            os.killpg(pilot, signal.SIGKILL)
            return os.waitpid(pilot, 0)[1]
        os.waitpid(info.si_pid, 0)


def _end_descendants() -> None:
    """Kill what the pilot left behind; a killed parent's children become ours and follow it."""
    deadline = time.monotonic() + _LAST_WAIT
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while time.monotonic() < deadline:
        try:
            for pid in children.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        except FileNotFoundError:  # a kernel without this file
            return
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _write_exit(directory: Path, record: dict[str, object]) -> None:
    # A full disk must not turn a pilot that ended into one that runs for ever.
    while directory.exists():
        try:
            write(directory, EXIT, record)
        except OSError:
            time.sleep(1)
        else:
            return


def _detach(directory: Path) -> None:
    os.setsid()
    os.chdir(directory)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open("supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in enumerate((null, log, log)):
        os.dup2(source, target)


def launch(directory: Path) -> int:
    """Make a supervisor for a directory; returns a descriptor that reads as ended once it is under way."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.close(reading)
            _detach(directory)
            supervise(directory, writing)
        except BaseException:  # nobody else is there to report it
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    return reading


def main(directories: list[str]) -> None:
    """Make a supervisor for each directory and wait until each is under way."""
    os.umask(0o077)
    for reading in [launch(Path(directory)) for directory in directories]:
        os.read(reading, 1)


if __name__ == "__main__":
    main(sys.argv[1:])
