# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the directories, files and links of a role, all in one execution."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import Files, HostError

DOCUMENTATION = r"""
module: managed_files
short_description: Bring several files to their wanted state
description:
  - Makes directories, files and links, in the order given, with owners and modes; removes what is to be absent.
  - One execution for a whole role, because each execution of a module costs more than all of this.
options:
  files:
    description: The wanted state.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where, type: path, required: true}
      state: {description: What it is, type: str, choices: [file, directory, link, absent], default: file}
      content: {description: What a file holds, type: str}
      target: {description: Where a link leads, type: path}
      owner: {description: User; empty for whoever runs this, type: str, default: ""}
      group: {description: Group; empty for the same, type: str, default: ""}
      mode: {description: Mode in octal digits, type: str}
      validate: {description: Command that accepts a file at C(%s), type: str, default: ""}
      keep: {description: Leave a file that is there as it is, type: bool, default: false}
      secret: {description: What a file holds that nobody may see, type: str}
"""

_MODES = {"file": "0644", "directory": "0755"}
_OPTIONS = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["file", "directory", "link", "absent"], "default": "file"},
    "content": {"type": "str"},
    "target": {"type": "path"},
    "owner": {"type": "str", "default": ""},
    "group": {"type": "str", "default": ""},
    "mode": {"type": "str"},
    "validate": {"type": "str", "default": ""},
    "keep": {"type": "bool", "default": False},
    "secret": {"type": "str", "no_log": True},
}


def put(files: Files, wanted: dict[str, Any]) -> None:
    """Bring one to its wanted state.

    Raises:
        HostError: It cannot be.
    """
    path, state = wanted["path"], wanted["state"]
    if state == "absent":
        files.absent(path)
    elif state == "link":
        files.link(path, wanted["target"])
    else:
        mode, who = int(wanted["mode"] or _MODES[state], 8), (wanted["owner"], wanted["group"])
        if state == "directory":
            files.directory(path, mode, *who)
        elif not (wanted["keep"] and os.path.exists(path)):
            hidden = wanted["secret"] is not None
            content = wanted["secret"] if hidden else wanted["content"] or ""
            files.file(path, content, mode, *who, validate=wanted["validate"], secret=hidden)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": _OPTIONS}},
        supports_check_mode=True,
    )
    files = Files(module.check_mode)
    try:
        for wanted in module.params["files"]:
            put(files, wanted)
    except (HostError, OSError) as error:
        module.fail_json(msg=str(error), changed=bool(files.changed), paths=files.changed)
    module.exit_json(changed=bool(files.changed), paths=files.changed, diff=files.diff)


if __name__ == "__main__":
    main()
