# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the service user and the settings of a whole host, in one execution."""

from __future__ import annotations

import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import Files, HostError

DOCUMENTATION = r"""
module: base_system
short_description: Have the service user and the settings of a host
description:
  - Each setting is a file of its own beside the distribution's, and what reads it is told when it changes.
  - Kernel settings are set at once; those that are refused, as in a container, are returned, not failed.
options:
  user: {description: System user, with a group of the same name, type: str, required: true}
  home: {description: Its home, type: path, required: true}
  files: {description: Files and their content; empty for none, type: dict, default: {}}
  sysctl: {description: Kernel settings, type: dict, default: {}}
  sysctl_file: {description: Where they are kept for the next boot, type: path, required: true}
  time_unit: {description: Unit that keeps the clock, type: str, default: ''}
  trust_directory: {description: Directory of further authorities, type: path, required: true}
  trust_command: {description: Command that makes the trust store from it, type: str, required: true}
  certificates: {description: Their certificates (PEM), type: list, elements: str, default: []}
  state: {description: Have all that or nothing, type: str, choices: [present, absent], default: present}
"""

RETURN = r"""
refused: {description: Kernel settings that cannot be set here, type: list, returned: always}
"""

KERNEL = Path("/proc/sys")
PREFIX = "dirac-extra-"  # of certificates' names, to know those that are no longer wanted


def run(*command: str) -> str:
    """Run a program that has to succeed; returns what it prints.

    Raises:
        HostError: It has not.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise HostError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise HostError(f"{' '.join(command)} has failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def have_user(files: Files, name: str, home: str) -> None:
    """Have a system user that nobody can log in as."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        files.note(f"user {name}", "", f"{name} {home}\n")
        if not files.check:
            options = ["--system", "--user-group", "--no-create-home", "--home-dir", home]
            run("useradd", *options, "--shell", shutil.which("nologin") or "/usr/sbin/nologin", name)
    files.directory(home, 0o750, name, name)


def have_no_user(files: Files, name: str, home: str) -> None:
    """Have neither the user nor its home."""
    files.absent(home)
    try:
        pwd.getpwnam(name)
    except KeyError:
        return
    files.note(f"user {name}", f"{name} {home}\n", "")
    if not files.check:
        run("userdel", "--force", name)


def apply_sysctl(files: Files, wanted: dict[str, Any]) -> list[str]:
    """Set kernel settings; returns those that are refused, with what they are instead."""
    refused = []
    for name, value in sorted(wanted.items()):
        place = KERNEL / name.replace(".", "/")
        try:
            before = " ".join(place.read_text().split())
        except OSError:
            refused.append(f"{name} (not there)")
            continue
        if before == str(value):
            continue
        try:
            if files.check:
                with place.open("r+"):
                    pass
            else:
                place.write_text(f"{value}\n")
        except OSError:
            refused.append(f"{name} (is {before}, wanted {value})")
            continue
        files.note(name, f"{before}\n", f"{value}\n")
    return refused


def have_trust(files: Files, directory: str, command: str, certificates: list[str]) -> None:
    """Have the host trust further authorities, and those of earlier times no longer."""
    place = Path(directory)
    names = [f"{PREFIX}{number}.crt" for number in range(1, len(certificates) + 1)]
    old = {path.name for path in place.glob(f"{PREFIX}*.crt")} - set(names)
    changes = [files.absent(str(place / name)) for name in sorted(old)]
    changes += [files.file(str(place / name), text.strip() + "\n") for name, text in zip(names, certificates)]
    if any(changes) and not files.check:
        run(command)


def tell(changed: list[str], time_unit: str) -> None:
    """Tell those that read the files at their start only."""
    if any(path.startswith("/etc/systemd/system.conf.d/") for path in changed):
        run("systemctl", "daemon-reload")
    if any(path.startswith("/etc/systemd/journald.conf.d/") for path in changed):
        run("systemctl", "restart", "systemd-journald.service")
    if time_unit and any("timesyncd" in path or "chrony" in path for path in changed):
        run("systemctl", "restart", time_unit)


def execute(given: dict[str, Any], files: Files) -> list[str]:
    """Do all; returns the refused kernel settings.

    Raises:
        HostError: Something else cannot be done.
    """
    present = given["state"] == "present"
    if present:
        have_user(files, given["user"], given["home"])
    texts = dict(given["files"])
    lines = "".join(f"-{name} = {value}\n" for name, value in sorted(given["sysctl"].items()))
    texts[given["sysctl_file"]] = f"# Written by Ansible.\n{lines}" if lines else ""
    before = len(files.changed)
    for path, text in sorted(texts.items()):
        if text:
            files.directory(str(Path(path).parent))
            files.file(path, text if text.endswith("\n") else text + "\n")
        else:
            files.absent(path)
    written = files.changed[before:]
    refused = apply_sysctl(files, given["sysctl"])
    have_trust(files, given["trust_directory"], given["trust_command"], given["certificates"])
    if not files.check:
        tell(written, given["time_unit"])
    if given["time_unit"] and not files.check and _enabled(given["time_unit"]) == "disabled":
        files.note(given["time_unit"], "disabled\n", "enabled\n")
        run("systemctl", "enable", "--now", given["time_unit"])
    if not present:
        have_no_user(files, given["user"], given["home"])
    return refused


def _enabled(unit: str) -> str:
    command = ["systemctl", "is-enabled", unit]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "user": text,
            "home": path,
            "files": {"type": "dict", "default": {}},
            "sysctl": {"type": "dict", "default": {}},
            "sysctl_file": path,
            "time_unit": {"type": "str", "default": ""},
            "trust_directory": path,
            "trust_command": text,
            "certificates": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    files = Files(module.check_mode)
    try:
        refused = execute(module.params, files)
    except (HostError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(files.changed), paths=files.changed, refused=refused, diff=files.diff)


if __name__ == "__main__":
    main()
