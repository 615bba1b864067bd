# SPDX-License-Identifier: GPL-3.0-or-later
"""Services under runit: what their directories hold, and how they are started, asked and stopped.

A service directory has ``run`` (limits, user, environment; then ``program``), ``program`` (the text that
was given), ``env/`` (a file for each variable), ``finish``, ``check``, ``log/run`` and ``applied``, the
digest of what the running process was started with. A run that was interrupted between writing and
restarting is thus made good by the next one.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import re
import shlex
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.host_files import Files, HostError

STATUS = re.compile(
    r"^(run|down|finish): \S+ (?:\(pid (\d+)\) )?(\d+)s(.*?)(?:; (run|down|finish): log: .*)?$"
)
LIMITS = {"nofile": "-o", "processes": "-p", "memory": "-m", "core": "-c"}
SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Wanted:
    """One service as it should be.

    Attributes:
        limits: Of each process: ``nofile`` and ``processes`` (numbers), ``memory`` and ``core`` (bytes).
        log_size: Bytes after which a log file is put aside.
        log_keep: Log files that are kept besides the current one.
        log_age: Seconds after which a log file is put aside, however small; 0 for never.
        restart_if: Any text; another one restarts the service.
        restart_on: Paths; other content, or another target of a link, restarts the service.
    """

    name: str
    run: str
    user: str = ""
    directory: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    umask: str = "0027"
    finish: str = ""
    check: str = ""
    log: bool = True
    log_dir: str = ""
    log_user: str = ""
    log_group: str = ""
    log_size: int = 10_000_000
    log_keep: int = 20
    log_age: int = 0
    log_timestamps: bool = False
    restart_if: str = ""
    restart_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """What the supervisor says: ``run``, ``down``, ``finish``; ``unknown`` if it does not see the service."""

    state: str
    pid: int = 0
    seconds: int = 0
    log: str = ""
    wants: str = ""

    @property
    def at_rest(self) -> bool:
        """Whether nothing runs and nothing will, unlike a service between two crashes."""
        return self.state == "unknown" or (self.state == "down" and "want up" not in self.wants)


def program_text(text: str) -> str:
    """Return what is given as a complete program."""
    return text if text.startswith("#!") else f"#!/bin/sh\nset -eu\n{text.rstrip()}\n"


def run_text(wanted: Wanted, place: str) -> str:
    """Return the script by which the supervisor starts a service.

    The program is a file of its own, so that it may be any text in any language.
    """
    options = [word for name, value in sorted(wanted.limits.items()) for word in (LIMITS[name], str(value))]
    options += ["-e", f"{place}/env"]
    if wanted.user:
        options += ["-u", ":".join([wanted.user, *groups_of(wanted.user)])]
    lines = ["#!/bin/sh", "# Written by Ansible.", "exec 2>&1", f"umask {wanted.umask}"]
    lines += [f"cd {shlex.quote(wanted.directory)}"]
    return "\n".join([*lines, f"exec chpst {shlex.join(options)} {place}/program"]) + "\n"


def log_run_text(wanted: Wanted) -> str:
    """Return the script that starts a service's logger, as a user of its own."""
    before = f"chpst -u {wanted.log_user} " if wanted.log_user else ""
    stamps = "-tt " if wanted.log_timestamps else ""
    place = shlex.quote(wanted.log_dir)
    return f"#!/bin/sh\n# Written by Ansible.\nexec 2>&1\nexec {before}svlogd {stamps}{place}\n"


def log_config_text(wanted: Wanted) -> str:
    """Return the logger's settings."""
    age = f"t{wanted.log_age}\n" if wanted.log_age else ""
    return f"s{wanted.log_size}\nn{wanted.log_keep}\n{age}"


def groups_of(user: str) -> list[str]:
    """Return a user's primary group, then the others it is in; nothing if there is no such user (yet)."""
    try:
        entry = pwd.getpwnam(user)
        primary = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return []
    return [primary, *sorted(each.gr_name for each in grp.getgrall() if user in each.gr_mem)]


def environment_of(wanted: Wanted) -> dict[str, str]:
    """Return the variables of a service; a home is what many programs cannot do without."""
    try:
        home = pwd.getpwnam(wanted.user).pw_dir if wanted.user else "/"
    except KeyError:
        home = "/"
    given = {"HOME": home, **wanted.environment}
    for name, value in given.items():
        if "\n" in value or "\0" in value or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise HostError(f"{wanted.name}: the variable {name!r} has a name or a value of several lines")
    return given


def digest_of_path(path: str) -> str:
    """Return what tells whether something was changed: a link's target, or a digest of a file."""
    place = Path(path)
    if place.is_symlink():
        return f"link {place.readlink()}"
    try:
        return hashlib.sha256(place.read_bytes()).hexdigest()
    except OSError as error:
        return f"not readable: {error.strerror}"


def parse_status(said: str) -> Status:
    """Return what a line of ``sv status`` means."""
    found = STATUS.match(said.strip())
    if found is None:
        return Status("unknown")
    return Status(found[1], int(found[2] or 0), int(found[3]), found[5] or "", found[4])


def look(place: str) -> Status:
    """Ask the supervisor of a service; it is unknown where nothing supervises at all."""
    with contextlib.suppress(OSError):
        return parse_status(
            subprocess.run(["sv", "status", place], capture_output=True, text=True, check=False).stdout
        )
    return Status("unknown")


class Service:
    """A service directory and its supervisor.

    Args:
        sv_root: Where service directories are written.
        enabled_root: Where the supervisor looks for links to them.
    """

    def __init__(
        self, wanted: Wanted, files: Files, sv_root: str = "/etc/sv", enabled_root: str = "/etc/service"
    ) -> None:
        self.wanted, self.files = wanted, files
        self.place = f"{sv_root}/{wanted.name}"
        self.enabled = f"{enabled_root}/{wanted.name}"
        self.killed = False
        self.objection = ""

    def write(self) -> None:
        """Write all files, whole or not at all; nothing is started or stopped."""
        wanted, files = self.wanted, self.files
        files.directory(self.place)
        files.directory(f"{self.place}/env", mode=0o700)
        variables = environment_of(wanted)
        files.only(f"{self.place}/env", set(variables))
        for name, value in sorted(variables.items()):
            files.file(f"{self.place}/env/{name}", value + "\n", mode=0o600, secret=True)
        # The check is also run by `sv check`, which knows nothing of the service's variables.
        check = (
            f"#!/bin/sh\nexec chpst -e {self.place}/env {self.place}/check-program\n" if wanted.check else ""
        )
        for name, text in (("finish", wanted.finish), ("check-program", wanted.check), ("check", check)):
            if text:
                files.file(f"{self.place}/{name}", program_text(text), mode=0o755)
            else:
                files.absent(f"{self.place}/{name}")
        if wanted.log:
            self._write_log()
        files.file(f"{self.place}/program", program_text(wanted.run), mode=0o755)
        files.file(f"{self.place}/run", run_text(wanted, self.place), mode=0o755)

    def _write_log(self) -> None:
        wanted, files = self.wanted, self.files
        files.directory(f"{self.place}/log")
        files.directory(str(Path(wanted.log_dir).parent))
        files.directory(wanted.log_dir, 0o2750, wanted.log_user, wanted.log_group)
        settings = files.file(f"{wanted.log_dir}/config", log_config_text(wanted))
        script = files.file(f"{self.place}/log/run", log_run_text(wanted), mode=0o755)
        if not files.check and self.status().log == "run":
            # The supervisor holds the pipe meanwhile, so that no line is lost.
            if script:
                self._sv("term", f"{self.enabled}/log")
            elif settings:
                self._sv("hup", f"{self.enabled}/log")

    def digest(self) -> str:
        """Return a digest of all that a process is started with."""
        wanted = self.wanted
        parts = [
            run_text(wanted, self.place),
            program_text(wanted.run),
            repr(sorted(environment_of(wanted).items())),
        ]
        parts += [wanted.restart_if, *(f"{path}={digest_of_path(path)}" for path in wanted.restart_on)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def applied(self) -> str:
        """Return the digest of what the process was last started with."""
        try:
            return Path(f"{self.place}/applied").read_text("ascii").strip()
        except FileNotFoundError:
            return ""

    def mark_applied(self) -> None:
        """Remember that the process runs with what is written now."""
        unseen = Files()  # bookkeeping, not a change of its own
        unseen.file(f"{self.place}/applied", self.digest() + "\n")

    def status(self) -> Status:
        """Ask the supervisor."""
        return parse_status(self._sv("status", self.enabled).stdout)

    def wait_seen(self, timeout: float) -> None:
        """Wait until the supervisor has found a new service, which it looks for every five seconds.

        Raises:
            HostError: It has not; most probably it does not run.
        """
        if not _until(lambda: self.status().state != "unknown", timeout):
            raise HostError(
                f"{self.wanted.name}: the supervisor has not seen {self.enabled} within {timeout:.0f} s; "
                "does it run? systemctl status runit"
            )

    def wait_stable(self, timeout: float, stable: float) -> int:
        """Wait until one process has been up for a moment and its check, if there is one, is content.

        Returns:
            The process's number.

        Raises:
            HostError: It did not come up, or does not stay; with the end of its log.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            now = self.status()
            up = now.state == "run" and now.seconds >= stable and (now.log == "run" or not self.wanted.log)
            if up and (not self.wanted.check or self._checked(deadline)):
                return now.pid
            time.sleep(SECONDS_BETWEEN_LOOKS)
        now = self.status()
        said = f"its check says: {self.objection}; " if self.objection else ""
        raise HostError(
            f"{self.wanted.name} is not up and stable within {timeout:.0f} s "
            f"(state {now.state}, for {now.seconds} s, log {now.log or 'none'}); "
            f"{said}the end of its log:\n{self.log_end()}"
        )

    def _checked(self, deadline: float) -> bool:
        left = max(deadline - time.monotonic(), 1.0)
        try:
            done = subprocess.run(
                [f"{self.enabled}/check"], capture_output=True, text=True, check=False, timeout=left
            )
        except subprocess.TimeoutExpired:
            self.objection = "(no answer)"
            return False
        self.objection = (done.stdout + done.stderr).strip()[-1000:] or f"exit status {done.returncode}"
        return done.returncode == 0

    def stop(self, timeout: int) -> None:
        """Ask the process to end, and kill it if it has not within the timeout (seconds)."""
        if self.status().at_rest:
            return
        done = self._sv("-w", str(timeout), "force-stop", self.enabled)
        self.killed = self.killed or done.stdout.startswith("kill:")
        if not _until(lambda: self.status().at_rest, 5):
            raise HostError(f"{self.wanted.name} cannot be stopped: {done.stdout.strip()}")

    def start(self, *, once: bool = False) -> None:
        """Start the process; it is started again whenever it ends, unless it is to run once."""
        self._sv("once" if once else "up", self.enabled)

    def forget(self, timeout: int) -> None:
        """End the process and its logger, and wait until the supervisor has let go of them.

        The link goes first: what it does not find, the supervisor does not start again.
        """
        self.stop(timeout)
        self.files.absent(self.enabled)
        if not _until(self._is_free, 15):
            raise HostError(f"{self.wanted.name}: the supervisor holds {self.place} still")

    def _is_free(self) -> bool:
        """Tell whether no supervisor is there any more, that is, nobody reads its pipe."""
        try:
            os.close(os.open(f"{self.place}/supervise/ok", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return True
        self._sv("exit", self.place)
        return False

    def log_end(self, size: int = 3000) -> str:
        """Return the end of the log."""
        try:
            return Path(f"{self.wanted.log_dir}/current").read_bytes()[-size:].decode(errors="replace")
        except OSError:
            return "(nothing)"

    def _sv(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(["sv", *words], capture_output=True, text=True, check=False)
        except OSError:
            # On a bare host check mode comes here before anything has been installed: nothing is supervised.
            if self.files.check:
                return subprocess.CompletedProcess(words, 1, "", "")
            raise HostError("the command sv is not there; the role runit installs it") from None


def _until(true: Any, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return bool(true())
