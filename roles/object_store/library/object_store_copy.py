# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: copy the files of the object store to a backup, or back."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: object_store_copy
short_description: Copy the files of the object store to a backup, or back
description:
  - The store replaces files by renaming and never writes into one, so a hard link is a copy; where the backup
    is on another file system, bytes are copied.
  - C(backup) adds what is new and keeps what the store has removed meanwhile. Done before and after a dump of
    the database, the backup then holds every object that the dump knows.
  - C(restore) makes the store hold what the backup holds, and nothing else; the store has to be stopped.
options:
  action: {description: What to do, choices: [backup, restore], required: true, type: str}
  store: {description: The store's directory, required: true, type: path}
  backup: {description: The backup's directory, required: true, type: path}
  owner: {description: User that runs the store (restore), type: str, default: root}
"""

# Data first: metadata of an object that came too late is harmless, an object without its metadata is not.
PARTS = ("data", "metadata")


def add(source: Path, target: Path, *, owner: tuple[int, int] | None = None) -> int:
    """Copy the files of a tree that the other does not have as they are; returns how many.

    Args:
        source: Where from; files may vanish meanwhile.
        target: Where to.
        owner: User and group of what is made; without, files may be linked.
    """
    count = 0
    for directory, _, names in os.walk(source):
        place = target / Path(directory).relative_to(source)
        if not place.is_dir():
            place.mkdir(parents=True)
            shutil.copystat(directory, place)
            if owner:
                os.chown(place, *owner)
        for name in names:
            try:
                count += _put(Path(directory) / name, place / name, owner)
            except FileNotFoundError:
                continue
    return count


def _put(source: Path, target: Path, owner: tuple[int, int] | None) -> bool:
    now = source.stat()
    if target.exists():
        then = target.stat()
        if (then.st_size, then.st_mtime_ns) == (now.st_size, now.st_mtime_ns):
            return False
    fresh = target.with_name(target.name[:200] + ".copying")
    fresh.unlink(missing_ok=True)
    try:
        if owner:
            raise OSError  # a file of the store must not share its inode with the backup
        os.link(source, fresh)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, fresh)
        if owner:
            os.chown(fresh, *owner)
    fresh.replace(target)
    return True


def prune(store: Path, backup: Path) -> int:
    """Remove what a backup does not hold; returns how many files."""
    count = 0
    for directory, folders, names in os.walk(store, topdown=False):
        other = backup / Path(directory).relative_to(store)
        for name in names:
            if not (other / name).is_file():
                (Path(directory) / name).unlink()
                count += 1
        for name in folders:
            if not (other / name).is_dir():
                (Path(directory) / name).rmdir()
    return count


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["backup", "restore"]},
            "store": {"type": "path", "required": True},
            "backup": {"type": "path", "required": True},
            "owner": {"type": "str", "default": "root"},
        },
        supports_check_mode=False,
    )
    store, backup = Path(module.params["store"]), Path(module.params["backup"])
    count = 0
    try:
        if module.params["action"] == "backup":
            count = sum(add(store / part, backup / part) for part in PARTS)
        elif not (backup / "data").is_dir():
            module.fail_json(msg=f"{backup} holds no backup of the object store")
        else:
            user = pwd.getpwnam(module.params["owner"])
            for part in PARTS:
                count += prune(store / part, backup / part)
                count += add(backup / part, store / part, owner=(user.pw_uid, user.pw_gid))
    except (OSError, KeyError) as error:
        module.fail_json(msg=f"the files of the object store cannot be copied: {error}")
    module.exit_json(changed=bool(count), files=count)


if __name__ == "__main__":
    main()
