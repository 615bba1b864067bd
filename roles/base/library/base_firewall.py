# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a table of nftables, kept for the next boot and loaded now."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import Files, HostError

DOCUMENTATION = r"""
module: base_firewall
short_description: Have the table inet dirac in the packet filter
description:
  - The rules are tried by C(nft -c) before anything changes, and replace the table in one transaction.
  - They are loaded again if they are not what the kernel has; the table carries a digest of them.
options:
  enabled: {description: Whether there is a table at all, type: bool, required: true}
  path: {description: File of the rules, type: path, required: true}
  rules: {description: The rules, type: str, default: ''}
  unit_path: {description: File of the unit that loads them at boot, type: path, required: true}
  unit: {description: The unit, type: str, default: ''}
"""

TABLE = ("inet", "dirac")


def call(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise HostError(f"{command[0]}: {error.strerror}; the role base installs it") from None


def do(*command: str) -> None:
    """Run a program that has to succeed.

    Raises:
        HostError: It has not.
    """
    done = call(*command)
    if done.returncode:
        raise HostError(f"{' '.join(command)} has failed: {(done.stderr or done.stdout).strip()}")


def marked(rules: str) -> tuple[str, str]:
    """Return the rules with their digest in them, and the digest."""
    digest = hashlib.sha256(rules.encode()).hexdigest()[:16]
    head, name, body = rules.rpartition("table inet dirac {\n")
    return f'{head}{name}    comment "{digest}"\n{body.rstrip()}\n', digest


def have(files: Files, given: dict[str, Any]) -> None:
    """Have the table, now and at boot.

    Raises:
        HostError: The rules are not valid, or cannot be loaded.
    """
    rules, digest = marked(given["rules"])
    files.directory(str(Path(given["path"]).parent))
    files.file(given["path"], rules, 0o600, validate="nft -c -f %s")
    if files.file(given["unit_path"], given["unit"].rstrip() + "\n") and not files.check:
        do("systemctl", "daemon-reload")
    unit = Path(given["unit_path"]).name
    if files.check:
        return
    if call("systemctl", "is-enabled", unit).stdout.strip() != "enabled":
        files.note(unit, "disabled\n", "enabled\n")
        do("systemctl", "enable", unit)
    if digest not in call("nft", "list", "table", *TABLE).stdout:
        files.note("table inet dirac", "another\n", f"{digest}\n")
        do("nft", "-f", given["path"])
    if call("systemctl", "is-active", unit).stdout.strip() != "active":
        files.note(unit, "inactive\n", "active\n")
        do("systemctl", "start", unit)


def have_not(files: Files, given: dict[str, Any]) -> None:
    """Have neither the table nor the unit."""
    unit = Path(given["unit_path"])
    if unit.exists() and not files.check:
        do("systemctl", "disable", "--now", unit.name)
    files.absent(given["path"])
    if files.absent(str(unit)) and not files.check:
        do("systemctl", "daemon-reload")


def main() -> None:
    """Run the module."""
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "enabled": {"type": "bool", "required": True},
            "path": path,
            "rules": {"type": "str", "default": ""},
            "unit_path": path,
            "unit": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    files = Files(module.check_mode)
    try:
        (have if module.params["enabled"] else have_not)(files, module.params)
    except (HostError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(files.changed), paths=files.changed, diff=files.diff)


if __name__ == "__main__":
    main()
