# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: keep a directory for backups that other hosts can add to but not delete from."""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: backup_store
short_description: Keep a store of backups
description:
  - Makes the directory and lets the keys of hosts in by ssh, each bound to one command that serves the
    repository and refuses to delete from it.
  - A host of the group whose key is not known in this run keeps the one it has; a host that has left the
    group is locked out.
options:
  user: {description: Account of the store, required: true, type: str}
  directory: {description: Home of the account, required: true, type: path}
  hosts: {description: Names of the hosts that may come, required: true, type: list, elements: str}
  keys: {description: Public key by name of the host; empty if it is not known, required: true, type: dict}
"""
RETURN = r"""
host_keys: {description: Public keys of this host's sshd, type: list, elements: str, returned: always}
"""

HOST_KEYS = Path("/etc/ssh")


def allowed(old: str, hosts: list[str], keys: dict[str, str], command: str) -> str:
    """Return the content of authorized_keys.

    Args:
        old: What it is now; each line ends with the name of its host.
        hosts: The hosts that may come.
        keys: Public keys as ssh-keygen writes them, by host; empty if unknown.
        command: The one command they are bound to.
    """
    known = {words[-1]: words[-3:-1] for words in map(str.split, old.splitlines()) if len(words) > 3}
    lines = []
    for host in sorted(hosts):
        words = keys.get(host, "").split()[:2] or known.get(host)
        if words:
            escaped = command.replace('"', '\\"')
            lines.append(f'restrict,command="{escaped}" {" ".join(words)} {host}\n')
    return "".join(lines)


def place(path: Path, owner: tuple[int, int], mode: int, *, check: bool) -> bool:
    """Give a path its owner and mode; returns whether they were others."""
    found = path.stat()
    same = (found.st_uid, found.st_gid, found.st_mode & 0o777) == (*owner, mode)
    if not same and not check:
        os.chown(path, *owner)
        path.chmod(mode)
    return not same


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "keys": {"type": "dict", "required": True, "no_log": False},
        },
        supports_check_mode=True,
    )
    given, home = module.params, Path(module.params["directory"])
    repository = home / "repository"
    host_keys = sorted(path.read_text("utf-8").strip() for path in HOST_KEYS.glob("ssh_host_*_key.pub"))
    try:
        account = pwd.getpwnam(given["user"])
    except KeyError:  # check mode: the account would have been made
        module.exit_json(changed=True, host_keys=host_keys)
    owner = (account.pw_uid, account.pw_gid)
    changed = False
    for path in (home, home / ".ssh", repository):
        if not path.is_dir():
            changed = True
            if module.check_mode:
                continue
            path.mkdir(mode=0o700, parents=True)
        changed |= place(path, owner, 0o700, check=module.check_mode)
    file = home / ".ssh/authorized_keys"
    old = file.read_text("utf-8") if file.exists() else ""
    command = (
        f"rclone --config {os.devnull} serve restic --stdio --append-only {shlex.quote(str(repository))}"
    )
    new = allowed(old, given["hosts"], given["keys"], command)
    if new != old:
        changed = True
        if not module.check_mode:
            fresh = file.with_suffix(".new")
            fresh.write_text(new, "utf-8")
            place(fresh, owner, 0o600, check=False)
            fresh.replace(file)
    module.exit_json(changed=changed, host_keys=host_keys)


if __name__ == "__main__":
    main()
