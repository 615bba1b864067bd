# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: copy a MariaDB database in use, and put it back, to a point in time if wanted."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.database import RefusedError
from ansible.module_utils.database_backup import ACTIONS, BackupDirectory, moment
from ansible.module_utils.mariadb_client import Client, options

if TYPE_CHECKING:
    from datetime import datetime

DOCUMENTATION = r"""
module: mariadb_backup
short_description: Back up a MariaDB database, or restore it
description:
  - C(full) writes a consistent dump of one moment, without locking, and where in the binary log that is.
    C(incremental) adds the binary logs since then. C(backup.json) has check sums and is written last.
  - C(restore) checks these, replaces the database by the dump and repeats what the binary logs have, all or
    until a moment. The restore itself is not logged; after it the next backup has to be a full one.
options:
  action: {description: What to do, required: true, type: str, choices: [full, incremental, restore]}
  socket: {description: The server's socket, required: true, type: path}
  data: {description: The server's directory of data, required: true, type: path}
  database: {description: The database, required: true, type: str}
  directory: {description: Directory of the backup, required: true, type: path}
  until: {description: "Moment to restore, as 2026-01-31T12:00:00Z; empty for all", type: str, default: ""}
"""

DUMP, MARK = "full.sql.zst", "dirac-restored"
POSITION = re.compile(rb"MASTER_LOG_FILE='([^']+)', MASTER_LOG_POS=(\d+)")


def pipe(
    commands: list[list[str]], *, source: Path | None = None, target: Path | None = None, pass_fd: int
) -> None:
    """Run programs, each reading what the one before writes, from `source` to `target`.

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


class Backup:
    """The backup of one database in one directory."""

    def __init__(self, directory: Path, socket: str, data: Path, database: str) -> None:
        self.data, self.database = data, database
        self.files = BackupDirectory(directory, DUMP, database=database)
        self.given = {"user": "root", "socket": socket}
        self.client = Client(**self.given)

    def full(self) -> dict[str, object]:
        """Dump the database, as of one moment."""
        fresh = self.files.part()
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
        server = self.client.ask("SELECT VERSION()")[0][0]
        self.files.begin(fresh, "binlog.*", server=server, log=log, position=position)
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
        noted = self.files.noted()
        self.client.ask("FLUSH BINARY LOGS")
        logs = [row[0] for row in self.client.ask("SHOW BINARY LOGS")][:-1]
        first, mark = noted["log"], self.data / MARK
        if first not in logs or (mark.exists() and first < mark.read_text("utf-8").strip()):
            raise RefusedError(
                f"the binary log from {first} on is expired,"
                " or the database was restored since; make a full backup"
            )
        added = self.files.add(noted, [self.data / log for log in logs if log >= first])
        return {"changed": True, "log": first, "position": noted["position"], "files": added}

    def restore(self, until: datetime | None, *, check: bool) -> dict[str, object]:
        """Put the database back; nothing is touched before all is found to be intact.

        Raises:
            RefusedError: The backup is damaged or too young, or the server refused.
        """
        noted, logs = self.files.intact(until)
        if not check:
            self._load()
            if logs:
                self._repeat(logs, noted["position"], until)
            self.client.ask("FLUSH BINARY LOGS")
            newest = self.client.ask("SHOW BINARY LOGS")[-1][0]
            (self.data / MARK).write_text(newest + "\n", "utf-8")
        return {"changed": True, "made": noted["made"], "files": [DUMP, *logs]}

    def _mariadb(self, file: int) -> list[str]:
        return ["mariadb", f"--defaults-file=/dev/fd/{file}", "--init-command=SET SESSION sql_log_bin=0"]

    def _load(self) -> None:
        with options(**self.given) as file:
            pipe(
                [["zstd", "-dcq"], self._mariadb(file)],
                source=self.files.path / DUMP,
                pass_fd=file,
            )

    def _repeat(self, logs: list[str], position: int, until: datetime | None) -> None:
        limit = [f"--stop-datetime={until.strftime('%Y-%m-%d %H:%M:%S')}"] if until else []
        command = ["mariadb-binlog", "--no-defaults", f"--database={self.database}", *limit]
        command += [f"--start-position={position}", *(str(self.files.path / log) for log in logs)]
        with options(**self.given) as file:
            pipe([command, self._mariadb(file)], pass_fd=file)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": list(ACTIONS)},
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
