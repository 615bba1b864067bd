# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: HAProxy's settings and the files it reads at its start, in one execution."""

from __future__ import annotations

import grp
import hashlib
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import Files, HostError

DOCUMENTATION = r"""
module: haproxy_settings
short_description: Write HAProxy's settings
description:
  - The settings are tried by C(haproxy -c) before they are put in place.
  - A digest of the files that they name is in them, so that a new authority is read as well.
options:
  path: {description: File of the settings, type: path, required: true}
  content: {description: The settings, type: str, required: true}
  user: {description: HAProxy's user, type: str, required: true}
  group: {description: Group that it is put into; empty for none, type: str, default: ''}
  depends: {description: Files that are read at the start, type: list, elements: path, default: []}
"""

RETURN = r"""
restart: {description: Whether a reload is not enough, type: bool, returned: always}
"""


def have_membership(files: Files, user: str, group: str) -> bool:
    """Have a user in a group; returns whether that was a change."""
    try:
        if user in grp.getgrnam(group).gr_mem:
            return False
    except KeyError:
        if not files.check:
            raise HostError(f"there is no group {group}; the role pki makes dirac-tls") from None
    files.note(f"group {group}", "", f"{user}\n")
    if not files.check:
        subprocess.run(["usermod", "--append", "--groups", group, user], check=True)
    return True


def with_digests(content: str, depends: list[str]) -> str:
    """Return the settings with a comment that changes with the files."""
    lines = [content.rstrip()]
    for path in depends:
        place = Path(path)
        digest = hashlib.sha256(place.read_bytes()).hexdigest()[:16] if place.exists() else "not there"
        lines.append(f"# {path}: {digest}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the module."""
    text: dict[str, Any] = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": text,
            "user": text,
            "group": {"type": "str", "default": ""},
            "depends": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    given, files, restart = module.params, Files(module.check_mode), False
    try:
        if given["group"]:
            restart = have_membership(files, given["user"], given["group"])
        files.directory(str(Path(given["path"]).parent))
        content = with_digests(given["content"], given["depends"])
        files.file(given["path"], content, validate="haproxy -c -q -f %s")
    except (HostError, OSError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(files.changed), restart=restart, paths=files.changed, diff=files.diff)


if __name__ == "__main__":
    main()
