# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: put many directories and files in place in one execution."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: config_files
short_description: Put directories and files of a service in place
description:
  - One execution for all of them, since each execution of a module costs more than all that it does.
  - Everything is done in the order of the options; a file replaces the old one atomically, and only after
    its checker accepted it.
options:
  directories:
    description: Directories that have to be there, parents first.
    type: list
    elements: dict
    default: []
    suboptions: &entry
      path: {description: Absolute path, type: path, required: true}
      mode: {description: Mode in octal digits, type: str, required: true}
      owner: {description: Name of the owner, type: str, default: root}
      group: {description: Name of the group, type: str, default: root}
  files:
    description: Files that have to be there.
    type: list
    elements: dict
    default: []
    suboptions:
      <<: *entry
      content: {description: What is in it, type: str, required: true}
      validate: {description: Command that accepts the file; %s is its path, type: str, default: ""}
      secret: {description: Keep the content out of differences, type: bool, default: false}
      missing_only: {description: Leave a file that is there as it is, type: bool, default: false}
  purge:
    description: Patterns of absolute paths; files that match and are not listed in I(files) are removed.
    type: list
    elements: str
    default: []
  absent:
    description: Files and directories that must not be there.
    type: list
    elements: path
    default: []
"""
RETURN = r"""
paths: {description: Paths that were changed, type: list, elements: str, returned: always}
"""

ENTRY = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
FILE = ENTRY | {
    "content": {"type": "str", "required": True, "no_log": False},
    "validate": {"type": "str", "default": ""},
    "secret": {"type": "bool", "default": False, "no_log": False},
    "missing_only": {"type": "bool", "default": False},
}


class FailedError(Exception):
    """A file cannot be put in place; the old one is untouched."""


class Work:
    """What is done in one execution.

    Args:
        check: Only find out what would be done.
    """

    def __init__(self, *, check: bool) -> None:
        self.check = check
        self.paths: list[str] = []
        self.differences: list[dict[str, str]] = []

    def _note(self, path: str) -> None:
        if path not in self.paths:
            self.paths.append(path)

    def attributes(self, entry: dict[str, str], path: Path) -> None:
        """Give an existing path the mode and owner of its entry."""
        found = path.lstat()
        mode, owner = int(entry["mode"], 8), self._owner(entry)
        if found.st_mode & 0o7777 != mode:
            self._note(entry["path"])
            if not self.check:
                path.chmod(mode)
        if owner is not None and (found.st_uid, found.st_gid) != owner:
            self._note(entry["path"])
            if not self.check:
                os.chown(path, *owner)
                path.chmod(mode)  # chown takes away the set-id bits

    def _owner(self, entry: dict[str, str]) -> tuple[int, int] | None:
        try:
            return pwd.getpwnam(entry["owner"]).pw_uid, grp.getgrnam(entry["group"]).gr_gid
        except KeyError as error:
            if self.check:
                return None  # a package or task that was only checked would have made it
            raise FailedError(f"{entry['path']}: there is no such user or group: {error}") from None

    def directory(self, entry: dict[str, str]) -> None:
        """Make a directory."""
        path = Path(entry["path"])
        if not path.is_dir():
            self._note(str(path))
            if self.check:
                return
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.attributes(entry, path)

    def file(self, entry: dict[str, str]) -> None:
        """Make a file, or replace it.

        Raises:
            FailedError: Its checker refuses it.
        """
        path, new = Path(entry["path"]), entry["content"].encode()
        old = None
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            old = path.read_bytes()
        if old is not None and (old == new or entry["missing_only"]):
            self.attributes(entry, path)
            return
        self._note(str(path))
        if not entry["secret"]:
            before, name = (old or b"").decode(errors="replace"), str(path)
            self.differences.append(
                {"before": before, "after": entry["content"], "before_header": name, "after_header": name}
            )
        if self.check and not path.parent.is_dir():
            return
        self._replace(entry, new)

    def _replace(self, entry: dict[str, str], new: bytes) -> None:
        path = Path(entry["path"])
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        fresh = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(new)
            self.attributes(entry, fresh)
            self._validate(entry, name)
            if not self.check:
                fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    def _validate(self, entry: dict[str, str], fresh: str) -> None:
        if not entry["validate"]:
            return
        words = [word.replace("%s", fresh) for word in shlex.split(entry["validate"])]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except OSError as error:
            if self.check:
                return  # its package would have been installed
            raise FailedError(f"{entry['path']}: {words[0]}: {error.strerror}") from None
        if done.returncode:
            said = (done.stdout + done.stderr).replace(fresh, entry["path"]).strip()
            raise FailedError(f"{entry['path']} is refused by {words[0]}: {said[-2000:]}")

    def absent(self, path: Path) -> None:
        """Remove a file or a directory."""
        if not path.exists() and not path.is_symlink():
            return
        self._note(str(path))
        if self.check:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def purge(self, pattern: Path, listed: set[str]) -> None:
        """Remove the files that match a pattern and are not listed."""
        for path in sorted(pattern.parent.glob(pattern.name)):
            if str(path) not in listed and not path.is_dir():
                self.absent(path)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "dict", "default": [], "options": ENTRY},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE},
            "purge": {"type": "list", "elements": "str", "default": []},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    work = Work(check=module.check_mode)
    try:
        for entry in given["directories"]:
            work.directory(entry)
        for entry in given["files"]:
            work.file(entry)
        for pattern in given["purge"]:
            work.purge(Path(pattern), {entry["path"] for entry in given["files"]})
        for path in given["absent"]:
            work.absent(Path(path))
    except (FailedError, OSError) as error:
        module.fail_json(msg=str(error), paths=work.paths)
    module.exit_json(changed=bool(work.paths), paths=work.paths, diff=work.differences)


if __name__ == "__main__":
    main()
