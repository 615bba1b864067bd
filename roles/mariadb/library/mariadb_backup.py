# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: copy a MariaDB database while it is in use, and put it back, to a point in time if wanted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mariadb_client import Client, RefusedError, name, options, quoted

DOCUMENTATION = r"""
module: mariadb_backup
short_description: Back up a MariaDB database, or restore it
description:
  - C(full) writes a consistent dump of one moment, taken without locking, and where in the binary log that is.
    C(incremental) adds the binary logs since then. C(backup.json) has check sums and is written last.
  - C(restore) checks these, replaces the database by the dump and repeats what the binary logs have, all or
    until a moment. The restore itself is not logged; after it the next backup has to be a full one.
options:
  action: {description: What to do, required: true, type: str, choices: [full, incremental, restore]}
  socket: {description: The server's socket, required: true, type: path}
  data: {description: The server's directory of data, required: true, type: path}
  database: {description: The database, required: true, type: str}
  directory: {description: Directory of the backup, required: true, type: path}
  until: {description: "Restore to this moment, as 2026-01-31T12:00:00Z; empty for all", type: str, default: ""}
"""

DUMP, NOTE, MARK = "full.sql.zst", "backup.json", "dirac-restored"
FORMAT = 1
POSITION = re.compile(rb"MASTER_LOG_FILE='([^']+)', MASTER_LOG_POS=(\d+)")


def pipe(commands: list[list[str]], *, source: Path | None = None, target: Path | None = None, pass_fd: int) -> None:
    """Run programs, each reading what the one before writes; the first reads `source`, the last writes `target`.

    Raises:
        RefusedError: One of them failed.
    """
    running: list[subprocess.Popen[bytes]] = []
    reading = source.open("rb") if source else subprocess.DEVNULL
    writing = target.open("wb") if target else None
    for command in commands:
        last = command is commands[-1]
        running.append(
            subprocess.Popen(
                command,
                stdin=running[-1].stdout if running else reading,
                stdout=writing if last else subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[pass_fd],
                env=os.environ | {"TZ": "UTC"},
            )
        )
    for program in running[:-1]:
        assert program.stdout
        program.stdout.close()
    said = [program.communicate()[1] for program in reversed(running)][::-1]
    if writing:
        os.fsync(writing.fileno())
        writing.close()
    for command, program, why in zip(commands, running, said):
        if program.returncode:
            raise RefusedError(f"{command[0]} failed: {why.decode(errors='replace').strip()[-800:]}")


def check_sum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


class Backup:
    """The backup of one database in one directory."""

    def __init__(self, directory: Path, socket: str, data: Path, database: str) -> None:
        self.directory, self.data, self.database = directory, data, database
        self.given = {"user": "root", "socket": socket}
        self.client = Client(**self.given)

    def note(self) -> dict[str, object]:
        """Return what is noted of the backup.

        Raises:
            RefusedError: There is none, or it is not of this format.
        """
        try:
            noted = json.loads((self.directory / NOTE).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RefusedError(f"{self.directory} has no complete backup ({error}); make a full one") from None
        if noted.get("format") != FORMAT or noted.get("database") != self.database:
            raise RefusedError(f"{self.directory} has no backup of {self.database} that this version can read")
        return dict(noted)

    def write_note(self, noted: dict[str, object]) -> None:
        """Note what belongs to the backup: what is not in the note does not count."""
        fresh = self.directory / f"{NOTE}.part"
        fresh.write_text(json.dumps(noted, indent=2) + "\n", "utf-8")
        fresh.chmod(0o600)
        fresh.rename(self.directory / NOTE)

    def full(self) -> dict[str, object]:
        """Dump the database, as of one moment."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.directory / f"{DUMP}.part"
        fresh.touch(mode=0o600)
        dump = ["--single-transaction", "--quick", "--master-data=2", "--routines", "--triggers", "--events"]
        dump += ["--hex-blob", "--add-drop-database", "--default-character-set=utf8mb4"]
        with options(**self.given) as file:
            pipe(
                [
                    ["mariadb-dump", f"--defaults-file=/dev/fd/{file}", *dump, "--databases", self.database],
                    ["zstd", "-3", "--quiet", "--stdout"],
                ],
                target=fresh,
                pass_fd=file,
            )
        log, position = self._position(fresh)
        (self.directory / NOTE).unlink(missing_ok=True)
        for old in self.directory.glob("binlog.*"):
            old.unlink()
        fresh.rename(self.directory / DUMP)
        noted: dict[str, object] = {
            "format": FORMAT,
            "database": self.database,
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "server": self.client.ask("SELECT VERSION()")[0][0],
            "log": log,
            "position": position,
            "files": {DUMP: check_sum(self.directory / DUMP)},
        }
        self.write_note(noted)
        return {"changed": True, "log": log, "position": position, "files": [DUMP]}

    def _position(self, dump: Path) -> tuple[str, int]:
        with subprocess.Popen(["zstd", "-dcq", str(dump)], stdout=subprocess.PIPE) as reader:
            assert reader.stdout
            found = POSITION.search(reader.stdout.read(1 << 16))
            reader.stdout.close()
        if not found:
            raise RefusedError("the dump does not say where in the binary log it is; is log_bin on?")
        return found[1].decode(), int(found[2])

    def incremental(self) -> dict[str, object]:
        """Add the binary logs since the dump; those that are there already stay.

        Raises:
            RefusedError: They do not continue the dump.
        """
        noted = self.note()
        self.client.ask("FLUSH BINARY LOGS")
        logs = [row[0] for row in self.client.ask("SHOW BINARY LOGS")][:-1]
        first, mark = str(noted["log"]), self.data / MARK
        if first not in logs or (mark.exists() and first < mark.read_text("utf-8").strip()):
            raise RefusedError(f"the binary log from {first} on is expired, or the database was restored since; make a full backup")
        files = noted["files"]
        assert isinstance(files, dict)
        added = [log for log in logs if log >= first and log not in files]
        for log in added:
            fresh = self.directory / f"{log}.part"
            shutil.copyfile(self.data / log, fresh)
            fresh.chmod(0o600)
            fresh.rename(self.directory / log)
            files[log] = check_sum(self.directory / log)
        self.write_note(noted)
        return {"changed": True, "log": first, "position": noted["position"], "files": added}

    def restore(self, until: datetime | None, *, check: bool) -> dict[str, object]:
        """Put the database back; nothing is touched before all is found to be intact.

        Raises:
            RefusedError: The backup is damaged or too young, or the server refused.
        """
        noted = self.note()
        files = noted["files"]
        assert isinstance(files, dict)
        damaged = [each for each, total in files.items() if not self._is_intact(each, total)]
        if damaged:
            raise RefusedError(f"the backup in {self.directory} is damaged: {', '.join(damaged)}")
        if until and until < datetime.fromisoformat(str(noted["made"])):
            raise RefusedError(f"the backup was made at {noted['made']}, after {until.isoformat()}; take an older one")
        logs = sorted(each for each in files if each != DUMP)
        if not check:
            self._load()
            if logs:
                self._repeat(logs, int(str(noted["position"])), until)
            self.client.ask("FLUSH BINARY LOGS")
            newest = self.client.ask("SHOW BINARY LOGS")[-1][0]
            (self.data / MARK).write_text(newest + "\n", "utf-8")
        return {"changed": True, "made": noted["made"], "files": [DUMP, *logs]}

    def _is_intact(self, file: str, total: str) -> bool:
        path = self.directory / file
        return path.is_file() and check_sum(path) == total

    def _mariadb(self, file: int) -> list[str]:
        return ["mariadb", f"--defaults-file=/dev/fd/{file}", "--init-command=SET SESSION sql_log_bin=0"]

    def _load(self) -> None:
        with options(**self.given) as file:
            pipe(
                [["zstd", "-dcq"], self._mariadb(file)],
                source=self.directory / DUMP,
                pass_fd=file,
            )

    def _repeat(self, logs: list[str], position: int, until: datetime | None) -> None:
        limit = [f"--stop-datetime={until.strftime('%Y-%m-%d %H:%M:%S')}"] if until else []
        command = ["mariadb-binlog", "--no-defaults", f"--database={self.database}", *limit]
        command += [f"--start-position={position}", *(str(self.directory / log) for log in logs)]
        with options(**self.given) as file:
            pipe([command, self._mariadb(file)], pass_fd=file)


def moment(text: str) -> datetime | None:
    """Return a moment in UTC, or None for an empty text.

    Raises:
        RefusedError: The text is not a moment, or does not name its time zone.
    """
    if not text:
        return None
    try:
        told = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        told = datetime.min
    if told.tzinfo is None:
        raise RefusedError(f"{text!r} is not a moment with a time zone, as 2026-01-31T12:00:00Z")
    return told.astimezone(timezone.utc)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["full", "incremental", "restore"]},
            "socket": {"type": "path", "required": True},
            "data": {"type": "path", "required": True},
            "database": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "until": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    backup = Backup(Path(given["directory"]), given["socket"], Path(given["data"]), given["database"])
    try:
        if given["action"] == "restore":
            answer = backup.restore(moment(given["until"]), check=module.check_mode)
        elif module.check_mode:
            answer = {"changed": True}
        else:
            answer = backup.full() if given["action"] == "full" else backup.incremental()
    except (RefusedError, OSError) as error:
        module.fail_json(msg=f"{given['action']} of {given['database']}: {error}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
