# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: asks a host whether its user, clock and packet filter are what they should be."""

from __future__ import annotations

import pwd
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: base_check
short_description: Check user, clock and packet filter of a host
description: Collects everything that is wrong and fails once.
options:
  user: {description: The service user, type: str, required: true}
  now: {description: The controller's clock (seconds since 1970), type: float, required: true}
  max_offset: {description: Seconds by which the host's may differ, type: int, required: true}
  firewall: {description: Whether the table has to be loaded, type: bool, required: true}
  time_unit: {description: Unit that keeps the clock; empty for none, type: str, default: ''}
"""

RETURN = r"""
offset: {description: Seconds that the clock is ahead and that the call took, type: float, returned: always}
clock: {description: Why nothing keeps the clock right here, or nothing, type: str, returned: always}
"""


def said(*command: str) -> str:
    """Return what a program prints."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "now": {"type": "float", "required": True},
            "max_offset": {"type": "int", "required": True},
            "firewall": {"type": "bool", "required": True},
            "time_unit": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    offset = time.time() - given["now"]
    problems = []
    try:
        pwd.getpwnam(given["user"])
    except KeyError:
        problems.append(f"there is no user {given['user']}")
    if abs(offset) > given["max_offset"]:
        problems.append(
            f"the clock differs by {offset:.1f} s from the controller's; tokens and certificates would be "
            "refused; set it on the host that is wrong"
        )
    clock = ""
    if given["time_unit"] and said("systemctl", "is-active", given["time_unit"]) != "active":
        container = said("systemd-detect-virt", "--container")
        if container in ("", "none"):
            problems.append(f"{given['time_unit']} does not run: systemctl status {given['time_unit']}")
        else:
            clock = f"this is a container ({container}): its clock has to be kept right on the machine"
    if given["firewall"] and "chain input" not in said("nft", "list", "table", "inet", "dirac"):
        problems.append("the packet filter has no table inet dirac: systemctl status dirac-firewall")
    if problems:
        module.fail_json(msg="; ".join(problems))
    module.exit_json(changed=False, offset=round(offset, 1), clock=clock)


if __name__ == "__main__":
    main()
