"""Ending the demo's pilots.

A pilot on this machine has a directory ``<root>/pilots/<computing element>/<stamp>/`` in which
``started.json`` names its supervisor as ``<boot>:<process>:<start>``; that ends when nothing of the pilot is
left. Told to end, the supervisor gives the pilot its time of grace and clears up behind it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, print_json
from dirac.core.errors import DiracError

_PATIENCE = 40.0
_LOOK = 0.05

Root = Annotated[
    Path, typer.Option("--root", metavar="DIR", envvar="DIRAC_DEMO_ROOT", help="The demo's directory.")
]


@command("dirac demo stop", "dirac demo stop --root .demo --json  # {stopped: N}")
def stop(root: Root = Path(".demo"), as_json: Json = False) -> None:
    """End the demo's pilots and wait until they are gone; their jobs are given back.

    The server should be stopped before, since it starts pilots as long as there is work.
    """
    stopped = stop_pilots(root / "pilots", patience=_PATIENCE)
    if as_json:
        print_json({"stopped": stopped})
    elif stopped:
        print(f"{stopped} pilot{'s' if stopped > 1 else ''} ended.")


def stop_pilots(directory: Path, *, patience: float) -> int:
    """Tell the pilots below a directory to end and wait until they have; returns how many there were.

    Raises:
        DiracError: They have not ended in time.
    """
    asked: dict[Path, str] = {}
    for started in directory.glob("*/*/started.json"):
        name = _supervisor(started)
        if name is not None and _is_alive(name):
            asked[started.parent] = name
            _end(name)
    deadline = time.monotonic() + patience
    left = dict(asked)
    while left := {place: name for place, name in left.items() if _is_alive(name)}:
        if time.monotonic() > deadline:
            numbers = " ".join(name.split(":")[1] for name in left.values())
            raise DiracError(f"{len(left)} pilots do not end", hint=f"kill -9 {numbers}")
        time.sleep(_LOOK)
    return len(asked)


def _supervisor(started: Path) -> str | None:
    try:
        record = json.loads(started.read_bytes())
    except (OSError, ValueError):
        # A file that a loss of power has emptied: that process is gone as well.
        return None
    name = record.get("supervisor") if isinstance(record, dict) else None
    return name if isinstance(name, str) and name.count(":") == 2 else None


def _identity(pid: int) -> str | None:
    """Name a living process so that a later one with its number has another name (proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}:{pid}:{fields[19]}"


def _is_alive(name: str) -> bool:
    return _identity(int(name.split(":")[1])) == name


def _end(name: str) -> None:
    """Signal a supervisor, and never another process that has got its number."""
    pid = int(name.split(":")[1])
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _identity(pid) == name:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
