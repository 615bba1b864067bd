# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: packages of the distribution, there or gone; looking is cheap."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: host_packages
short_description: Have packages of the distribution, or not
description:
  - Asks dpkg or rpm, which takes milliseconds, and calls apt-get or dnf only if something is to be done.
  - Recommended packages are not installed, and settings that were changed are kept.
options:
  names: {description: Packages, type: list, elements: str, required: true}
  state:
    description: C(absent) also removes their settings.
    type: str
    choices: [present, absent]
    default: present
  lists_age: {description: Seconds after which lists of packages are fetched anew, type: int, default: 86400}
"""

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


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "lists_age": {"type": "int", "default": 86400},
        },
        supports_check_mode=True,
    )
    names, wanted = list(dict.fromkeys(module.params["names"])), module.params["state"] == "present"
    manager = Apt() if shutil.which("apt-get") else Dnf()
    if wanted:
        there = manager.installed(names)
        todo = [name for name in names if name not in there]
    else:
        there = manager.left(names)
        todo = [name for name in names if name in there]
    try:
        if todo and not module.check_mode and wanted:
            manager.install(todo, module.params["lists_age"])
        elif todo and not module.check_mode:
            manager.remove(todo)
    except (PackagesError, OSError) as error:
        module.fail_json(msg=str(error))
    key = "installed" if wanted else "removed"
    before, after = ("", "\n".join(todo) + "\n") if wanted else ("\n".join(todo) + "\n", "")
    module.exit_json(
        changed=bool(todo), **{key: todo}, diff={"before": before, "after": after} if todo else {}
    )


if __name__ == "__main__":
    main()
