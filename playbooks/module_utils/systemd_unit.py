# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role wants of the unit that its service runs in: asked and done within the role's own module."""

from __future__ import annotations

import grp
import pwd
import subprocess
import time
from pathlib import Path


class UnitError(Exception):
    """It cannot be done; the text says what systemd or the system's tools answered."""


def run(*command: str) -> str:
    """Run a program, and return what it says.

    Raises:
        UnitError: It is not there, or failed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UnitError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise UnitError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout.strip()


class Unit:
    """A unit of systemd, with one process that counts.

    Args:
        name: The unit's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def show(self, *wanted: str) -> dict[str, str]:
        """Return what systemd knows of the unit.

        Args:
            wanted: Its properties; without any, those that the methods below look at.
        """
        names = ",".join(wanted) or "ActiveState,UnitFileState,MainPID,ExecMainStartTimestampMonotonic"
        said = run("systemctl", "show", f"--property={names}", self.name)
        return dict(line.partition("=")[::2] for line in said.splitlines())

    def want_running(self, *, check: bool) -> list[str]:
        """Enable and start the unit if it is not; returns what was done (or would be)."""
        state, did = self.show(), []
        if state["UnitFileState"] == "disabled":
            did.append(f"enabled {self.name}")
            if not check:
                run("systemctl", "enable", "--quiet", self.name)
        if state["ActiveState"] not in ("active", "reloading", "activating"):
            did.append(f"started {self.name}")
            if not check:
                run("systemctl", "start", self.name)
        return did

    def is_stale(self, *files: str, group: str = "") -> bool:
        """Tell whether the process is older than files that it read at its start, or lacks a group.

        Asking the process, and not this run, finds also what an interrupted run has left behind.
        """
        state = self.show()
        started = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
        started += int(state["ExecMainStartTimestampMonotonic"] or 0) / 1e6
        if any(Path(file).stat().st_mtime > started for file in files if Path(file).exists()):
            return True
        return bool(group) and state["MainPID"] != "0" and not is_member(int(state["MainPID"]), group)


def is_member(process: int, group: str) -> bool:
    """Tell whether a process is in a group."""
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
    return str(grp.getgrnam(group).gr_gid) in groups


def want_in_group(user: str, group: str, *, check: bool) -> list[str]:
    """Put a user into a group if it is not; returns what was done (or would be).

    Raises:
        UnitError: There is no such user or group.
    """
    try:
        known = grp.getgrnam(group)
        if user in known.gr_mem or pwd.getpwnam(user).pw_gid == known.gr_gid:
            return []
    except KeyError:
        raise UnitError(
            f"there is no user {user}, or no group {group} (who may read the host's key)"
        ) from None
    if not check:
        run("usermod", "--append", "--groups", group, user)
    return [f"put {user} into the group {group}"]
