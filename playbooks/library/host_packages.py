# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: packages of the distribution, there or gone; looking is cheap."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_packages import PackagesError, manager

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
    packages = manager()
    if wanted:
        there = packages.installed(names)
        todo = [name for name in names if name not in there]
    else:
        there = packages.left(names)
        todo = [name for name in names if name in there]
    try:
        if todo and not module.check_mode and wanted:
            packages.install(todo, module.params["lists_age"])
        elif todo and not module.check_mode:
            packages.remove(todo)
    except (PackagesError, OSError) as error:
        module.fail_json(msg=str(error))
    key = "installed" if wanted else "removed"
    before, after = ("", "\n".join(todo) + "\n") if wanted else ("\n".join(todo) + "\n", "")
    module.exit_json(
        changed=bool(todo), **{key: todo}, diff={"before": before, "after": after} if todo else {}
    )


if __name__ == "__main__":
    main()
