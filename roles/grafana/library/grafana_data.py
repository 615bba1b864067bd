# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: copy Grafana's own database while it is in use, and put it back."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import sqlite3
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: grafana_data
short_description: Copy Grafana's own database while it is in use, or put it back
options:
  action: {description: What to do, required: true, type: str, choices: [backup, restore]}
  database: {description: The SQLite database, required: true, type: path}
  copy: {description: Directory of the copy, required: true, type: path}
  user: {description: Owner of what is put back, type: str, default: grafana}
"""

NAME = "grafana.db"


class FailedError(Exception):
    """It cannot be done; the message says why."""


def require_intact(path: Path) -> str:
    """Check a database; returns the version of its schema.

    Raises:
        FailedError: It is not there, or damaged.
    """
    if not path.is_file():
        raise FailedError(f"there is no database {path}")
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as database:
        found = database.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise FailedError(f"the database {path} is damaged: {found}")
        return str(database.execute("PRAGMA schema_version").fetchone()[0])


def backup(database: Path, copy: Path) -> None:
    """Copy the database through SQLite, so that the copy is of one moment."""
    require_intact(database)
    copy.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = copy / NAME
    target.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
    target.chmod(0o600)
    (copy / "versions.json").write_text(json.dumps({"schema": require_intact(target)}), "utf-8")


def restore(database: Path, copy: Path, user: str) -> None:
    """Put the copy in place of the database of a Grafana that does not run."""
    require_intact(copy / NAME)
    account = pwd.getpwnam(user)
    fresh = database.with_name(f".{database.name}.new")
    shutil.copy2(copy / NAME, fresh)
    os.chown(fresh, account.pw_uid, account.pw_gid)
    fresh.chmod(0o640)
    for suffix in ("-wal", "-shm", "-journal"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    fresh.replace(database)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["backup", "restore"]},
            "database": {"type": "path", "required": True},
            "copy": {"type": "path", "required": True},
            "user": {"type": "str", "default": "grafana"},
        },
        supports_check_mode=True,
    )
    database, copy = Path(module.params["database"]), Path(module.params["copy"])
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        if module.params["action"] == "backup":
            backup(database, copy)
        else:
            restore(database, copy, module.params["user"])
    except (FailedError, OSError, KeyError, sqlite3.Error) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
