# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: copy a server's state into a backup while it runs, and put a backup in place."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import check_sum

DOCUMENTATION = r"""
module: dirac_server_backup
short_description: Back up the state of a DIRAC server, or restore it
description:
  - C(collect) and C(put_back) are for servers whose database has a backup of its own. C(collect) adds keys,
    passwords and sandboxes to a directory; done before and after the copy of the database, that directory
    then has each sandbox that the copy names. C(put_back) makes the server's state what the directory says.
  - C(backup), C(validate) and C(restore) are for embedded servers.
  - A backup is a directory with the database (copied through SQLite, so it is consistent while the server
    runs), the secrets, the settings and the sandboxes. C(backup.json) has a check sum of every file and is
    written last.
  - To restore checks all of that first. A state that is there is refused, or with I(force) moved aside.
options:
  action:
    description: What to do.
    required: true
    type: str
    choices: [backup, validate, restore, collect, put_back]
  state_dir: {description: State directory of the server, required: true, type: path}
  directory:
    description: Where backups are made, below a name that is the time; to restore, the backup itself.
    required: true
    type: path
  force: {description: Restore over a state that is there, type: bool, default: false}
  secrets_dir: {description: Where the secrets are (collect and put_back), type: path, default: ''}
  owner: {description: User of the server (put_back), type: str, default: root}
"""

DATABASE, NOTE, INCOMING = "dirac.db", "backup.json", ".incoming"
ACTIONS = ["backup", "validate", "restore", "collect", "put_back"]
# What nobody can make again; the other secrets are made from the inventory.
KEYS = ("master.key", "passwords.json")
FORMAT = 1


class RefusedError(Exception):
    """It is not done, and nothing was changed."""


def now() -> str:
    """Return the time as a name."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")


def sums(directory: Path) -> dict[str, str]:
    """Return the check sums of all files of a backup, by relative path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != NOTE)
    return {str(path.relative_to(directory)): check_sum(path) for path in files}


def copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database that may be in use.

    Raises:
        RefusedError: It is damaged.
    """
    with (
        contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=30)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")
        require_intact(new, source)
    target.chmod(0o600)


def require_intact(database: sqlite3.Connection, name: Path) -> None:
    """Check a database.

    Raises:
        RefusedError: It is damaged.
    """
    found = database.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise RefusedError(f"the database {name} is damaged: {found}")


def backup(state: Path, directory: Path) -> Path:
    """Make a backup of a server's state; returns where it is.

    Raises:
        RefusedError: There is no SQLite database, or it is damaged.
    """
    if not (state / DATABASE).exists():
        raise RefusedError(f"there is no {state / DATABASE}; another engine's own tools make backups of it")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = now()
    part, target = directory / f".{name}.part", directory / name
    part.mkdir(mode=0o700)
    try:
        copy_database(state / DATABASE, part / DATABASE)
        shutil.copytree(state / "secrets", part / "secrets")
        shutil.copy2(state / "dirac.toml", part / "dirac.toml")
        # After the database: each sandbox that it names is then in the copy.
        if (state / "sandboxes").exists():
            copy_objects(state / "sandboxes", part / "sandboxes")
        note = {"format": FORMAT, "made": name, "files": sums(part)}
        (part / NOTE).write_text(json.dumps(note, indent=1))
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return target


def copy_objects(source: Path, target: Path) -> None:
    """Copy sandboxes from under a running server, without uploads that are under way.

    A file that goes away meanwhile was deleted on purpose. One that is copied already stays: sandboxes never
    change.
    """
    target.mkdir(mode=0o700, exist_ok=True)
    for path in source.iterdir():
        if path.name == INCOMING:
            continue
        if path.is_dir():
            copy_objects(path, target / path.name)
        elif not (target / path.name).exists():
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(path, target / path.name)


def collect(state: Path, secrets: Path, directory: Path) -> None:
    """Add what servers have beside the database to a directory.

    Raises:
        RefusedError: There is no master key: nobody could read the copy of the database.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (secrets / KEYS[0]).exists():
        raise RefusedError(f"{secrets / KEYS[0]} is not there; has the server been deployed?")
    for name in KEYS:
        if (secrets / name).exists():
            shutil.copy2(secrets / name, directory / name)
    if (state / "sandboxes").exists():
        copy_objects(state / "sandboxes", directory / "sandboxes")


def put_back(state: Path, secrets: Path, directory: Path, owner: str) -> None:
    """Make the state beside the database what a directory says, and nothing else.

    Raises:
        RefusedError: The directory has no master key.
    """
    if not (directory / KEYS[0]).exists():
        raise RefusedError(f"{directory} has no {KEYS[0]}: it is not a backup of a server")
    user = pwd.getpwnam(owner)
    for place, mode in ((secrets.parent, 0o755), (secrets, 0o700), (state, 0o750)):
        if not place.exists():
            place.mkdir(mode=mode)
            os.chown(place, user.pw_uid, user.pw_gid)
    for name in KEYS:
        (secrets / name).unlink(missing_ok=True)
        if (directory / name).exists():
            shutil.copyfile(directory / name, secrets / name)
            (secrets / name).chmod(0o600)
            os.chown(secrets / name, user.pw_uid, user.pw_gid)
    fresh = state / ".sandboxes.restoring"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(state / "sandboxes", ignore_errors=True)
    if (directory / "sandboxes").exists():
        shutil.copytree(directory / "sandboxes", fresh)
        for path in (fresh, *fresh.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        fresh.rename(state / "sandboxes")


def validate(source: Path) -> None:
    """Check a backup.

    Raises:
        RefusedError: It is none, is not complete, or is damaged.
    """
    try:
        note = json.loads((source / NOTE).read_text())
        expected = note["files"]
    except OSError:
        raise RefusedError(f"{source} is not a complete backup: it has no {NOTE}") from None
    except (ValueError, KeyError, TypeError):
        raise RefusedError(f"{source / NOTE} cannot be understood") from None
    if note.get("format") != FORMAT:
        raise RefusedError(f"{source} has format {note.get('format')}; this version reads {FORMAT}")
    found = sums(source)
    wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if wrong:
        raise RefusedError(
            f"{source} is damaged: {len(wrong)} files are not as they were, the first is {wrong[0]}"
        )
    with contextlib.closing(
        sqlite3.connect(f"{(source / DATABASE).resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    ) as database:
        require_intact(database, source / DATABASE)


def require_place(state: Path, *, force: bool) -> None:
    """Check that a backup may be put into a state directory.

    Raises:
        RefusedError: Something is there already.
    """
    if (state / DATABASE).exists() and not force:
        raise RefusedError(f"{state} has a database already; it is replaced only if you confirm that")


def restore(state: Path, source: Path, *, force: bool) -> str:
    """Put a checked backup in place; returns where the state that was there is now, or an empty text.

    Raises:
        RefusedError: The backup is not good, or a state or a running server is there.
    """
    validate(source)
    require_place(state, force=force)
    if is_running(state):
        raise RefusedError(f"the server of {state} runs")
    fresh = state.with_name(f".{state.name}.restoring")
    aside = state.with_name(f"{state.name}.before-{now()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        shutil.copytree(source, fresh, ignore=shutil.ignore_patterns(NOTE))
        fresh.chmod(0o700)
        moved = state.exists()
        if moved:
            state.rename(aside)
        fresh.rename(state)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        if aside.exists() and not state.exists():
            aside.rename(state)
        raise
    return str(aside) if moved else ""


def is_running(state: Path) -> bool:
    """Tell whether the server of a state directory runs: it holds a lock while it does."""
    try:
        lock = os.open(state / "server.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ACTIONS},
            "state_dir": {"type": "path", "required": True},
            "directory": {"type": "path", "required": True},
            "force": {"type": "bool", "default": False},
            "secrets_dir": {"type": "path", "default": ""},
            "owner": {"type": "str", "default": "root"},
        },
        supports_check_mode=True,
    )
    state, directory = Path(module.params["state_dir"]), Path(module.params["directory"])
    force, secrets = module.params["force"], Path(module.params["secrets_dir"])
    try:
        if module.params["action"] in ("collect", "put_back"):
            if module.params["action"] == "collect" and not module.check_mode:
                collect(state, secrets, directory)
            elif not module.check_mode:
                put_back(state, secrets, directory, module.params["owner"])
            module.exit_json(changed=True)
        if module.params["action"] == "backup":
            path = "" if module.check_mode else str(backup(state, directory))
            module.exit_json(changed=True, path=path)
        if module.params["action"] == "validate" or module.check_mode:
            validate(directory)
            require_place(state, force=force)
            module.exit_json(changed=module.params["action"] == "restore")
        module.exit_json(changed=True, aside=restore(state, directory, force=force))
    except (RefusedError, OSError, sqlite3.Error) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
