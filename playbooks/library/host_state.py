# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: packages, a service user, directories and files of a role, in one execution."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: host_state
short_description: Put packages, a service user, directories and files of a role in place
description:
  - Brings all that a role lays down on a host into its wanted state, and says what was changed.
  - A file is replaced by renaming, after its C(validate) command, in which C(%s) stands for its new content.
  - Contents are never shown. In check mode nothing is touched, and a user that is yet to be made is no fault.
options:
  packages: {description: Packages of the distribution to have, type: list, elements: str}
  purge: {description: Packages to remove with their settings, type: list, elements: str}
  user: {description: "System user without shell: name, home, groups", type: dict}
  directories: {description: "Each with path, mode, owner, group", type: list, elements: dict}
  files: {description: "path, content, mode, owner, group, once, validate", type: list, elements: dict}
  absent: {description: Paths to remove with all below them, type: list, elements: path}
  absent_user: {description: User to remove, with the group of that name, type: str}
  digests: {description: Files whose SHA-256 is returned, type: list, elements: path}
"""

PACKAGE_TOOLS = {
    "/usr/bin/dpkg-query": {
        "have": ["dpkg-query", "--show", "--showformat", "${db:Status-Status}"],
        "installed": "installed",
        "install": ["apt-get", "install", "--yes", "--no-install-recommends"],
        "refresh": ["apt-get", "update"],
        "purge": ["apt-get", "purge", "--yes", "--auto-remove"],
    },
    "/usr/bin/rpm": {
        "have": ["rpm", "--query", "--queryformat", "installed"],
        "installed": "installed",
        "install": ["dnf", "install", "--assumeyes"],
        "refresh": ["dnf", "makecache"],
        "purge": ["dnf", "remove", "--assumeyes"],
    },
}


class FailedError(Exception):
    """It cannot be done; the text says what and why."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program without questions and in English."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError as error:
        raise FailedError(f"{command[0]} cannot be run: {error.strerror}") from None


def require(*command: str) -> None:
    """Run a program that has to succeed.

    Raises:
        FailedError: It did not; with the end of what it said.
    """
    done = run(*command)
    if done.returncode:
        raise FailedError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-1500:]}")


class Host:
    """The host, with a note of each change.

    Args:
        check: Only find out what would be changed.
    """

    def __init__(self, *, check: bool) -> None:
        self.check = check
        self.changes: list[str] = []

    def note(self, change: str) -> bool:
        """Note a change; returns whether it is to be made."""
        self.changes.append(change)
        return not self.check

    # Packages

    def packages(self, wanted: list[str], purged: list[str]) -> None:
        """Install and purge packages.

        Raises:
            FailedError: The package manager is unknown, or failed.
        """
        if not wanted and not purged:
            return
        tool = next((tool for path, tool in PACKAGE_TOOLS.items() if Path(path).exists()), None)
        if tool is None:
            raise FailedError("neither dpkg nor rpm is here; install by hand: " + ", ".join(wanted))
        missing = [name for name in wanted if not self._has(tool, name)]
        if missing and self.note("install " + " ".join(missing)):
            install = [*tool["install"], *missing]
            if run(*install).returncode:  # perhaps the lists are old
                require(*tool["refresh"])
                require(*install)
        surplus = [name for name in purged if self._has(tool, name)]
        if surplus and self.note("purge " + " ".join(surplus)):
            require(*tool["purge"], *surplus)

    @staticmethod
    def _has(tool: dict[str, Any], name: str) -> bool:
        return run(*tool["have"], name).stdout == tool["installed"]

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

    def directory(self, path: str, **rights: Any) -> None:
        """Make a directory."""
        target = Path(path)
        if not target.is_dir():
            if not self.note(path):
                return
            target.mkdir(parents=True)
        self._rights(target, **rights)

    def file(
        self, path: str, content: str, *, once: bool = False, validate: list[str] | None = None, **rights: Any
    ) -> None:
        """Write a file; with `once` only if it is missing.

        Raises:
            FailedError: The validation refuses the content; the file is as it was.
        """
        target, data = Path(path), content.encode()
        present = target.is_file() and not target.is_symlink()
        if present and (once or target.read_bytes() == data):
            self._rights(target, **rights)
            return
        if not self.note(path):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        # Checkers look at the suffix.
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
        fresh = Path(name)
        try:
            with os.fdopen(handle, "wb") as output:
                output.write(data)
                output.flush()
                os.fsync(output.fileno())
            self._rights(fresh, noted=False, **rights)
            if validate:
                require(*(name if word == "%s" else word.replace("%s", name) for word in validate))
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)

    def _rights(
        self, path: Path, *, mode: str = "0644", owner: str = "root", group: str = "root", noted: bool = True
    ) -> None:
        """Set owner, group and mode."""
        if self.check and not (_known(pwd.getpwnam, owner) and _known(grp.getgrnam, group)):
            return
        try:
            wanted = (int(mode, 8), pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
        except KeyError as error:
            raise FailedError(f"{path}: {error.args[0]}") from None
        now = path.stat()
        if (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) == wanted:
            return
        if noted and not self.note(f"rights of {path}"):
            return
        os.chown(path, wanted[1], wanted[2])
        path.chmod(wanted[0])

    def absent(self, path: str) -> None:
        """Remove a path with all below it."""
        target = Path(path)
        if not (target.exists() or target.is_symlink()) or not self.note(f"no {path}"):
            return
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()


def _known(look: Any, name: str) -> bool:
    try:
        look(name)
    except KeyError:
        return False
    return True


def _members(group: str) -> list[str]:
    return grp.getgrnam(group).gr_mem if _known(grp.getgrnam, group) else []


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, empty if it is not there."""
    if not path.is_file():
        return ""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def apply(host: Host, given: dict[str, Any]) -> None:
    """Bring the host into the wanted state.

    Raises:
        FailedError: It cannot be; what was done before stays.
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
        digests = {path: digest(Path(path)) for path in module.params["digests"]}
    except FailedError as error:
        module.fail_json(msg=str(error))
    except (OSError, TypeError) as error:
        module.fail_json(msg=f"the host cannot be brought into the wanted state: {error}")
    module.exit_json(changed=bool(host.changes), changes=host.changes, digests=digests)


if __name__ == "__main__":
    main()
