# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: packages, a service user, directories and files of a role, in one execution."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import Files, HostError, check_sum
from ansible.module_utils.host_packages import PackagesError, manager

DOCUMENTATION = r"""
module: host_state
short_description: Put packages, a service user, directories and files of a role in place
description:
  - Brings all that a role lays down on a host into its wanted state, and says what was changed.
  - Contents are never shown. In check mode nothing is touched, and a user that is yet to be made is no fault.
options:
  packages: {description: Packages of the distribution to have, type: list, elements: str}
  purge: {description: Packages to remove with their settings, type: list, elements: str}
  user: {description: "System user without shell: name, home, groups", type: dict}
  directories: {description: "Each with path, mode, owner, group", type: list, elements: dict}
  files: {description: "path, content, mode, owner, group, once", type: list, elements: dict}
  absent: {description: Paths to remove with all below them, type: list, elements: path}
  absent_user: {description: User to remove, with the group of that name, type: str}
  digests: {description: Files whose SHA-256 is returned, type: list, elements: path}
"""

_LISTS_AGE = 86400  # seconds after which lists of packages are fetched anew


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program without questions and in English."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError as error:
        raise HostError(f"{command[0]} cannot be run: {error.strerror}") from None


def require(*command: str) -> None:
    """Run a program that has to succeed.

    Raises:
        HostError: It did not; with the end of what it said.
    """
    done = run(*command)
    if done.returncode:
        raise HostError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-1500:]}")


class Host:
    """The host, with a note of each change.

    Args:
        check: Only find out what would be changed.
    """

    def __init__(self, *, check: bool) -> None:
        self.check = check
        self.files = Files(check)

    def note(self, change: str) -> bool:
        """Note a change; returns whether it is to be made."""
        self.files.note(change, "", "")
        return not self.check

    # Packages

    def packages(self, wanted: list[str], purged: list[str]) -> None:
        """Install and purge packages.

        Raises:
            PackagesError: The package manager failed.
        """
        packages = manager()
        there = packages.installed(wanted) if wanted else set()
        missing = [name for name in wanted if name not in there]
        if missing and self.note("install " + " ".join(missing)):
            packages.install(missing, _LISTS_AGE)
        surplus = sorted(packages.left(purged)) if purged else []
        if surplus and self.note("purge " + " ".join(surplus)):
            packages.remove(surplus)

    # Users

    def user(self, name: str, home: str, groups: list[str]) -> None:
        """Make a system user without a shell, in its own group and others."""
        for group in [name, *groups]:
            if not _known(grp.getgrnam, group) and self.note(f"group {group}"):
                require("groupadd", "--system", group)
        if not _known(pwd.getpwnam, name):
            if self.note(f"user {name}"):
                require(
                    "useradd", "--system", "--gid", name, "--home-dir", home, "--no-create-home",
                    "--shell", "/usr/sbin/nologin", name,
                )  # fmt: skip
            elif self.check:
                return
        missing = [group for group in groups if name not in _members(group)]
        if missing and self.note(f"user {name} in {', '.join(missing)}"):
            require("usermod", "--append", "--groups", ",".join(missing), name)

    def no_user(self, name: str) -> None:
        """Remove a user and its group."""
        if _known(pwd.getpwnam, name) and self.note(f"no user {name}"):
            require("userdel", name)
        if _known(grp.getgrnam, name) and self.note(f"no group {name}"):
            require("groupdel", name)

    # Files

    def directory(self, path: str, mode: str = "0755", owner: str = "root", group: str = "root") -> None:
        """Make a directory."""
        self.files.directory(path, int(mode, 8), owner, group)

    def file(
        self,
        path: str,
        content: str,
        mode: str = "0644",
        owner: str = "root",
        group: str = "root",
        *,
        once: bool = False,
    ) -> None:
        """Write a file; with `once` only if it is missing."""
        # What stays as it is still gets its rights.
        wanted = Path(path).read_bytes() if once and Path(path).is_file() else content
        if not self.check:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.files.file(path, wanted, int(mode, 8), owner, group, secret=True)

    def absent(self, path: str) -> None:
        """Remove a path with all below it."""
        self.files.absent(path)


def _known(look: Any, name: str) -> bool:
    try:
        look(name)
    except KeyError:
        return False
    return True


def _members(group: str) -> list[str]:
    return grp.getgrnam(group).gr_mem if _known(grp.getgrnam, group) else []


def apply(host: Host, given: dict[str, Any]) -> None:
    """Bring the host into the wanted state.

    Raises:
        HostError: It cannot be; what was done before stays.
    """
    host.packages(given["packages"], given["purge"])
    if given["user"]:
        host.user(**{"home": "/nonexistent", "groups": [], **given["user"]})
    for each in given["directories"]:
        host.directory(**each)
    for each in given["files"]:
        host.file(**each)
    for path in given["absent"]:
        host.absent(path)
    if given["absent_user"]:
        host.no_user(given["absent_user"])


def main() -> None:
    """Run the module."""
    many: dict[str, Any] = {"type": "list", "default": []}
    module = AnsibleModule(
        argument_spec={
            "packages": {**many, "elements": "str"},
            "purge": {**many, "elements": "str"},
            "user": {"type": "dict"},
            "directories": {**many, "elements": "dict"},
            "files": {**many, "elements": "dict"},
            "absent": {**many, "elements": "path"},
            "absent_user": {"type": "str"},
            "digests": {**many, "elements": "path"},
        },
        supports_check_mode=True,
    )
    host = Host(check=module.check_mode)
    try:
        apply(host, module.params)
        digests = {
            path: check_sum(Path(path)) if Path(path).is_file() else "" for path in module.params["digests"]
        }
    except (HostError, PackagesError) as error:
        module.fail_json(msg=str(error))
    except (OSError, TypeError) as error:
        module.fail_json(msg=f"the host cannot be brought into the wanted state: {error}")
    module.exit_json(changed=bool(host.files.changed), changes=host.files.changed, digests=digests)


if __name__ == "__main__":
    main()
