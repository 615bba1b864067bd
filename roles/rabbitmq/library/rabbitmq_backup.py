# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: copy the definitions of a RabbitMQ broker, and put them back."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rabbitmq_api import Api, ApiError, host_account, host_password

DOCUMENTATION = r"""
module: rabbitmq_backup
short_description: Back up the definitions of a RabbitMQ broker, or restore them
description:
  - Definitions are users (with hashes of their passwords), rights, virtual hosts, queues, exchanges and
    bindings. Messages are not part of it.
  - C(definitions.json.sha256) is written last; without it a backup does not count.
options:
  action: {description: What to do, required: true, type: str, choices: [backup, restore]}
  config: {description: Directory of the broker's settings, required: true, type: path}
  management_port: {description: Port of the management interface, required: true, type: int}
  directory: {description: Directory of the backup, required: true, type: path}
"""

FILE = "definitions.json"


class DamagedError(Exception):
    """There is no backup, or it is damaged."""


def write(path: Path, content: str) -> None:
    """Write a file that only root can read."""
    fresh = path.with_name(path.name + ".part")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
        writer.write(content)
    fresh.rename(path)


def backup(api: Api, directory: Path) -> None:
    """Write the definitions.

    Raises:
        ApiError: The broker did not answer.
    """
    found = api.call("GET", "/definitions")
    assert isinstance(found, dict)
    # Old versions leave out what a virtual host's queues are; the host's own account belongs to the host.
    told = {str(row["name"]): row.get("metadata") for row in api.rows("/vhosts")}
    found["vhosts"] = [row | {"metadata": told.get(row["name"]) or {}} for row in found["vhosts"]]
    for part, key in (("users", "name"), ("permissions", "user"), ("topic_permissions", "user")):
        found[part] = [row for row in found.get(part, []) if not str(row[key]).startswith("host-")]
    content = json.dumps(found, indent=1, sort_keys=True)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / f"{FILE}.sha256").unlink(missing_ok=True)
    write(directory / FILE, content)
    write(directory / f"{FILE}.sha256", f"{hashlib.sha256(content.encode()).hexdigest()}  {FILE}\n")


def intact(directory: Path) -> dict[str, object]:
    """Return the definitions of a backup.

    Raises:
        DamagedError: They are not as they were written.
    """
    try:
        content = (directory / FILE).read_text()
        total = (directory / f"{FILE}.sha256").read_text().split()[0]
    except (OSError, IndexError) as error:
        raise DamagedError(f"{directory} has no complete backup: {error}") from None
    if hashlib.sha256(content.encode()).hexdigest() != total:
        raise DamagedError(f"{directory / FILE} is damaged")
    return dict(json.loads(content))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["backup", "restore"]},
            "config": {"type": "path", "required": True},
            "management_port": {"type": "int", "required": True},
            "directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    directory = Path(given["directory"])
    api = Api(given["management_port"], host_account(), host_password(Path(given["config"])))
    try:
        if given["action"] == "restore":
            definitions = intact(directory)
            if not module.check_mode:
                api.call("POST", "/definitions", definitions)
        elif not module.check_mode:
            backup(api, directory)
    except (ApiError, DamagedError, OSError) as error:
        module.fail_json(msg=f"{given['action']} of the broker's definitions: {error}")
    module.exit_json(changed=True, file=str(directory / FILE))


if __name__ == "__main__":
    main()
