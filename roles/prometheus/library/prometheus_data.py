# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: copy the measurements of a running Prometheus, and put them back."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: prometheus_data
short_description: Copy the measurements of a running Prometheus, or put them back
description:
  - Blocks never change once they are there, and the write-ahead log only grows at its end. What is merged
    into a larger block while it is copied is looked for again. At its next start Prometheus reads the log up
    to where the copy ends.
options:
  action: {description: What to do, required: true, type: str, choices: [backup, restore]}
  data: {description: Directory of the measurements, required: true, type: path}
  copy: {description: Directory of the copy, required: true, type: path}
  user: {description: Owner of what is put back, type: str, default: prometheus}
"""

LOG = "wal"
TRIES = 5


class FailedError(Exception):
    """It cannot be done; the message says why."""


def link_or_copy(source: str, target: str) -> str:
    """Link a file that does not change, or copy it to another file system."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)
    return target


def blocks(data: Path) -> list[Path]:
    """Return the complete blocks of a data directory."""
    return sorted(path.parent for path in data.glob("*/meta.json"))


def backup(data: Path, copy: Path) -> dict[str, int]:
    """Copy the measurements; returns how many blocks and files of the log there are.

    Raises:
        FailedError: There are none, or they do not hold still.
    """
    if not data.is_dir():
        raise FailedError(f"there are no measurements in {data}")
    for _ in range(TRIES):
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(mode=0o700, parents=True)
        try:
            # The log first: what it loses to a new block meanwhile is then in that block.
            shutil.copytree(data / LOG, copy / LOG)
            for block in blocks(data):
                shutil.copytree(block, copy / block.name, copy_function=link_or_copy)
        except (FileNotFoundError, shutil.Error):
            time.sleep(1)
            continue
        counted = {
            "blocks": len(blocks(copy)),
            "log": sum(1 for path in (copy / LOG).rglob("*") if path.is_file()),
        }
        (copy / "versions.json").write_text(json.dumps({"format": "tsdb-1"}), "utf-8")
        return counted
    raise FailedError(f"{data} has changed in each of {TRIES} tries to copy it")


def restore(data: Path, copy: Path, user: str) -> dict[str, int]:
    """Put a copy in place of the measurements of a Prometheus that does not run.

    Raises:
        FailedError: There is no copy.
    """
    if not (copy / LOG).is_dir():
        raise FailedError(f"there is no copy of measurements in {copy}")
    account = pwd.getpwnam(user)
    fresh = data.with_name(f".{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(copy, fresh, ignore=shutil.ignore_patterns("versions.json"))
    for path in (fresh, *fresh.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    fresh.chmod(0o755)
    shutil.rmtree(data, ignore_errors=True)
    fresh.rename(data)
    return {"blocks": len(blocks(data))}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["backup", "restore"]},
            "data": {"type": "path", "required": True},
            "copy": {"type": "path", "required": True},
            "user": {"type": "str", "default": "prometheus"},
        },
        supports_check_mode=True,
    )
    data, copy = Path(module.params["data"]), Path(module.params["copy"])
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        if module.params["action"] == "backup":
            module.exit_json(changed=True, **backup(data, copy))
        module.exit_json(changed=True, **restore(data, copy, module.params["user"]))
    except (FailedError, OSError, KeyError, shutil.Error) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
