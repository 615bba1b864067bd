# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the distribution, as the modules of this project handle them; looking is cheap."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

APT = [
    "apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confdef",
    "-o", "Dpkg::Options::=--force-confold",
]  # fmt: skip
LISTS = Path("/var/lib/apt/lists")


class PackagesError(Exception):
    """The package manager has failed; the text has what it said."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the language C, and never let it ask anything."""
    variables = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)


def do(*command: str) -> None:
    """Run a program that has to succeed.

    Raises:
        PackagesError: It has not.
    """
    done = run(*command)
    if done.returncode:
        said = (done.stderr + done.stdout).strip()[-3000:]
        raise PackagesError(f"{command[0]} has failed; are the package sources reachable? It says: {said}")


class Apt:
    """Debian and its relatives."""

    def installed(self, names: list[str]) -> set[str]:
        """Return those packages that are installed, or have left settings if they are not."""
        said = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names).stdout
        return {line.split()[0] for line in said.splitlines() if line.split()[1] == "installed"}

    def left(self, names: list[str]) -> set[str]:
        """Return those of which anything is there."""
        said = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names).stdout
        return {line.split()[0] for line in said.splitlines() if line.split()[1] != "not-installed"}

    def install(self, names: list[str], lists_age: int) -> None:
        """Install packages."""
        if self._age() > lists_age:
            do(*APT, "update")
        command = (*APT, "install", "--no-install-recommends", *names)
        if run(*command).returncode:  # the lists may name versions that are gone
            do(*APT, "update")
            do(*command)

    def remove(self, names: list[str]) -> None:
        """Remove packages with their settings, and what came only with them."""
        do(*APT, "purge", "--auto-remove", *names)

    def _age(self) -> float:
        return time.time() - max((path.stat().st_mtime for path in LISTS.glob("*_*")), default=0.0)


class Dnf:
    """Enterprise Linux; not tested on a real host yet."""

    def installed(self, names: list[str]) -> set[str]:
        """Return those packages that are installed."""
        return {name for name in names if run("rpm", "-q", "--whatprovides", name).returncode == 0}

    left = installed

    def install(self, names: list[str], lists_age: int) -> None:
        """Install packages."""
        options = ("--setopt=install_weak_deps=False", f"--setopt=metadata_expire={lists_age}")
        do("dnf", "-y", "-q", *options, "install", *names)

    def remove(self, names: list[str]) -> None:
        """Remove packages."""
        do("dnf", "-y", "-q", "remove", *names)


def manager() -> Apt | Dnf:
    """Return this host's own."""
    return Apt() if shutil.which("apt-get") else Dnf()
