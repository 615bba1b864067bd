# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a role's directories and files in one execution, each whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import Files, HostError

DOCUMENTATION = r"""
module: host_files
short_description: Have directories, files and links, and have others not
description:
  - For a role that writes several files - each execution of a module costs more than writing them all.
  - Done in this order - what is to be absent, directories, files, what is to be purged, links.
  - A file is replaced as a whole, after its C(validate) command was content with the new one.
options:
  directories:
    description: Directories with path, mode, owner and group.
    type: list
    elements: dict
    default: []
  files:
    description:
      - Files with path, content, mode, owner, group; C(validate) is a command with %s for the new file,
        C(secret) keeps the content out of differences, C(hidden) is content that Ansible shows nowhere,
        C(keep) leaves a file that is there as it is.
    type: list
    elements: dict
    default: []
  links: {description: Symbolic links with path and target, type: list, elements: dict, default: []}
  purge:
    description: Patterns of paths; files that match and are not among I(files) are removed.
    type: list
    elements: str
    default: []
  absent: {description: Paths that must not be there, type: list, elements: path, default: []}
"""

RETURN = r"""
paths: {description: What was changed, type: list, returned: always}
"""

_PLACE = {
    "mode": {"type": "str"},
    "owner": {"type": "str", "default": ""},
    "group": {"type": "str", "default": ""},
}


def write(files: Files, given: dict[str, Any]) -> None:
    """Write everything.

    Raises:
        HostError: A file is not valid, or something else is in the way.
    """
    for path in given["absent"]:
        files.absent(path)
    for each in given["directories"]:
        files.directory(each["path"], int(each["mode"] or "0755", 8), each["owner"], each["group"])
    for each in given["files"]:
        if each["keep"] and Path(each["path"]).exists():
            continue
        hidden = each["hidden"]
        files.file(
            each["path"],
            (each["content"] or "") if hidden is None else hidden,
            int(each["mode"] or "0644", 8),
            each["owner"],
            each["group"],
            validate=each["validate"],
            secret=each["secret"] or hidden is not None,
        )
    listed = {each["path"] for each in given["files"]}
    for pattern in map(Path, given["purge"]):
        for path in sorted(pattern.parent.glob(pattern.name)):
            if str(path) not in listed and not path.is_dir():
                files.absent(str(path))
    for each in given["links"]:
        files.link(each["path"], each["target"])


def main() -> None:
    """Run the module."""
    path: dict[str, Any] = {"type": "path", "required": True}
    content = {"type": "str", "required": True}
    several: dict[str, Any] = {"type": "list", "elements": "dict", "default": []}
    module = AnsibleModule(
        argument_spec={
            "directories": {**several, "options": {"path": path, **_PLACE}},
            "files": {
                **several,
                "options": {
                    "path": path,
                    "content": {"type": "str"},
                    "hidden": {"type": "str", "no_log": True},
                    "keep": {"type": "bool", "default": False},
                    **_PLACE,
                    "validate": {"type": "str", "default": ""},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                },
                "required_one_of": [("content", "hidden")],
            },
            "links": {**several, "options": {"path": path, "target": content}},
            "purge": {"type": "list", "elements": "str", "default": []},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    files = Files(module.check_mode)
    try:
        write(files, module.params)
    except (HostError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(files.changed), paths=files.changed, diff=files.diff)


if __name__ == "__main__":
    main()
