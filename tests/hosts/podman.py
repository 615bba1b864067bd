"""Calls of podman, with the settings that let it work on machines with few privileges."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

PACKAGES = ("podman", "runc", "mmdebstrap", "iptables", "netavark", "aardvark-dns", "openssh-client")

_LIMITS = {"fs/inotify/max_user_instances": 1024, "fs/inotify/max_user_watches": 65536}

# Limits that any root can set; cgroups without systemd; runc, as crun refuses the hybrid layout of cgroups.
_SETTINGS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
"""


class HostsError(Exception):
    """The hosts cannot be had; the message says why and what to do."""


def place() -> Path:
    """Return the directory for what is kept between runs: keys, settings."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "dirac-tests" / "hosts"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def run(*command: str, failure: str) -> str:
    """Run a program and return what it printed.

    Raises:
        HostsError: It is not there, or failed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    except OSError as error:
        raise HostsError(f"{failure}: {command[0]}: {error.strerror}; run `bin/test` once as root") from None
    if done.returncode:
        raise HostsError(f"{failure}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def podman(*arguments: str, failure: str) -> str:
    """Call podman and return what it printed.

    Raises:
        HostsError: It failed.
    """
    return run("podman", "--log-level=error", *arguments, failure=failure)


def missing() -> list[str]:
    """Return what keeps this machine from having hosts: being no root, or programs that are not there."""
    reasons = [] if os.geteuid() == 0 else ["containers with systemd need root"]
    wanted = ("podman", "runc", "mmdebstrap", "ssh", "ssh-keygen", "ip", "unshare")
    reasons += [f"{program} is not installed" for program in wanted if shutil.which(program) is None]
    if (
        not reasons
        and subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode
    ):
        reasons.append("namespaces cannot be made here, as in a container without rights")
    return reasons


def raise_limits() -> None:
    """Let the kernel watch enough files for several hosts, each of which has a systemd.

    Raises:
        HostsError: That is refused.
    """
    for name, wanted in _LIMITS.items():
        path = Path("/proc/sys") / name
        try:
            if int(path.read_text()) < wanted:
                path.write_text(str(wanted))
        except OSError as error:
            raise HostsError(
                f"{path} cannot be raised to {wanted}: {error.strerror}; containers need it"
            ) from None


def install() -> None:
    """Install the programs, as root.

    Raises:
        HostsError: That failed.
    """
    if missing():
        run("apt-get", "update", "-qq", failure="the package lists cannot be fetched")
        run(
            "apt-get",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            *PACKAGES,
            failure="podman cannot be installed",
        )


@cache
def environment() -> dict[str, str]:
    """Return the variables that podman works with."""
    settings = place() / "containers.conf"
    if not settings.exists() or settings.read_text() != _SETTINGS:
        with tempfile.NamedTemporaryFile("w", dir=settings.parent, delete=False) as file:
            file.write(_SETTINGS)
        Path(file.name).rename(settings)
    return os.environ | {"CONTAINERS_CONF": str(settings), "DEBIAN_FRONTEND": "noninteractive"}
