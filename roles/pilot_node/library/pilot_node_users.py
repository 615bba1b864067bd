# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the users of a worker node's slots, all in one execution."""

from __future__ import annotations

import pwd
import re
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: pilot_node_users
short_description: Have the users of a worker node's slots
description:
  - Makes system users PREFIX01, PREFIX02 and so on, each with a group of its own, without home and shell.
  - Users of that prefix with higher numbers are removed, once none of their processes is left.
options:
  prefix: {description: What the names begin with, type: str, required: true}
  count: {description: How many there are to be, type: int, required: true}
"""

RETURN = r"""
users: {description: Names of the users, type: list, returned: always}
made: {description: Users that were made, type: list, returned: always}
removed: {description: Users that were removed, type: list, returned: always}
"""

NO_SHELL = ("/usr/sbin/nologin", "/sbin/nologin")


class FailedError(Exception):
    """It cannot be done; the text says why."""


def run(*command: str) -> None:
    """Run a program that has to succeed.

    Raises:
        FailedError: It has not.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailedError(f"{' '.join(command)} has failed: {(done.stderr or done.stdout).strip()}")


def busy(uid: int) -> bool:
    """Tell whether a user has a process."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                return True
        except OSError:  # it has just ended
            continue
    return False


def make(name: str) -> None:
    """Make a user."""
    shell = next((path for path in NO_SHELL if Path(path).exists()), "/bin/false")
    run(
        *("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"),
        *("--shell", shell, "--comment", "DIRAC pilots", name),
    )


def bring(prefix: str, count: int, *, check: bool) -> dict[str, list[str]]:
    """Bring the users to their number; returns what the module answers.

    Raises:
        FailedError: A user cannot be made, or works and cannot be removed.
    """
    wanted = [f"{prefix}{number:02d}" for number in range(1, count + 1)]
    form = re.compile(re.escape(prefix) + r"\d+")
    known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if form.fullmatch(entry.pw_name)}
    made = [name for name in wanted if name not in known]
    removed = [name for name in known if name not in wanted]
    working = [name for name in removed if busy(known[name])]
    if working:
        raise FailedError(f"{', '.join(working)}: processes are left; stop the launcher first (dirac-node)")
    if not check:
        for name in made:
            make(name)
        for name in removed:
            run("userdel", name)
    return {"users": wanted, "made": made, "removed": sorted(removed)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "str", "required": True},
            "count": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        answer = bring(module.params["prefix"], module.params["count"], check=module.check_mode)
    except (FailedError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(answer["made"] or answer["removed"]), **answer)


if __name__ == "__main__":
    main()
