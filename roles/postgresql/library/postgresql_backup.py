# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: copy a PostgreSQL server in use, and put it back, to a point in time if wanted."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.database import RefusedError
from ansible.module_utils.database_backup import ACTIONS, BackupDirectory, moment
from ansible.module_utils.postgresql_client import Client, quoted
from ansible.module_utils.systemd_unit import Unit, UnitError, run

if TYPE_CHECKING:
    from datetime import datetime

DOCUMENTATION = r"""
module: postgresql_backup
short_description: Back up a PostgreSQL server, or restore it
description:
  - C(full) copies the server's files with the log that makes them consistent, and clears the archive of what
    is older than that and than I(keep_days). C(incremental) adds the log that was archived since.
    C(backup.json) has check sums and is written last.
  - C(restore) checks these, replaces the server's data and repeats the log, all or until a moment. The data
    and the archive that were there are kept beside, named C(before-restore); the next backup has to be a full
    one.
options:
  action: {description: What to do, required: true, type: str, choices: [full, incremental, restore]}
  service: {description: The server's unit, required: true, type: str}
  user: {description: The server's user, required: true, type: str}
  port: {description: Its port, required: true, type: int}
  data: {description: Its directory of data, required: true, type: path}
  archive: {description: Directory of the archived log, required: true, type: path}
  directory: {description: Directory of the backup, required: true, type: path}
  keep_days: {description: Days that the archive is kept, type: int, default: 7}
  until: {description: "Moment to restore, as 2026-01-31T12:00:00Z; empty for all", type: str, default: ""}
"""

BASE, ASIDE = "base.tar.zst", "before-restore"
PATIENCE = 600.0
RECOVERY = ("restore_command", "recovery_target_time", "recovery_target_action")


def pipe(first: list[str], second: list[str], *, target: Path | None = None) -> None:
    """Run two programs, the second reading what the first writes.

    Raises:
        RefusedError: One of them failed.
    """
    with (target or Path(os.devnull)).open("wb") as writing:
        writer = subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
        reader = subprocess.Popen(
            second, stdin=writer.stdout, stdout=writing, stderr=subprocess.PIPE, cwd="/"
        )
        assert writer.stdout
        writer.stdout.close()
        said = {second[0]: (reader, reader.communicate()[1]), first[0]: (writer, writer.communicate()[1])}
        if target:
            os.fsync(writing.fileno())
    for program, (process, why) in said.items():
        if process.returncode:
            raise RefusedError(f"{program} failed: {why.decode(errors='replace').strip()[-800:]}")


class Backup:
    """The backup of one server in one directory."""

    def __init__(self, given: dict[str, object]) -> None:
        self.user, self.port = str(given["user"]), str(given["port"])
        self.data, self.archive = Path(str(given["data"])), Path(str(given["archive"]))
        self.files = BackupDirectory(Path(str(given["directory"])), BASE)
        self.unit = Unit(str(given["service"]))
        self.client = Client(system_user=self.user, port=self.port, dbname="postgres")

    def full(self, keep_days: int) -> dict[str, object]:
        """Copy the server's files."""
        fresh = self.files.part()
        log, system, version = self.client.ask(
            "SELECT pg_walfile_name(pg_current_wal_lsn()), "
            "(SELECT system_identifier FROM pg_control_system()), current_setting('server_version_num')"
        )[0]
        # Into one stream: the log that the copy needs comes at its end.
        copy = [
            "pg_basebackup",
            "-p",
            self.port,
            "-D",
            "-",
            "-Ft",
            "-X",
            "fetch",
            "--checkpoint=fast",
            "--no-password",
        ]
        pipe(["runuser", "-u", self.user, "--", *copy], ["zstd", "-3", "-q", "-c"], target=fresh)
        self.files.begin(fresh, "*.zst", system=system, version=version, log=log)
        return {"changed": True, "log": log, "files": [BASE], "cleared": self._clear(log, keep_days)}

    def _clear(self, log: str, keep_days: int) -> int:
        """Remove from the archive what no backup from now on needs and is old; returns how many files."""
        limit = time.time() - keep_days * 86400
        names = [
            each
            for each in self.archive.iterdir()
            if each.name[8:] < log[8:] and each.stat().st_mtime < limit
        ]
        for each in names:
            each.unlink()
        return len(names)

    def incremental(self) -> dict[str, object]:
        """Add the log since the copy; what is there already stays.

        Raises:
            RefusedError: It does not continue the copy.
        """
        noted = self.files.noted()
        system, last = self.client.ask(
            "SELECT (SELECT system_identifier FROM pg_control_system()), pg_walfile_name(pg_switch_wal())"
        )[0]
        first = noted["log"]
        self._await_archived(last)
        # The one that a switch ends may be empty, and is then not archived.
        names = sorted(each.name for each in self.archive.glob("*.zst") if each.name[8:24] >= first[8:24])
        if system != noted["system"] or (last > first and f"{first}.zst" not in names):
            raise RefusedError(
                f"the archived log from {first} on is gone,"
                " or the server was restored since; make a full backup"
            )
        added = self.files.add(noted, [self.archive / each for each in names])
        return {"changed": True, "log": first, "files": added}

    def _await_archived(self, log: str) -> None:
        end = time.monotonic() + 120
        wanted = f"SELECT 1 FROM pg_stat_archiver WHERE substr(last_archived_wal, 9, 16) >= {quoted(log[8:])}"
        ready = "SELECT 1 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready' LIMIT 1"
        while not self.client.ask(wanted) and self.client.ask(ready):
            if time.monotonic() > end:
                raise RefusedError(f"the log {log} is not archived; see archive_command and the server's log")
            time.sleep(0.3)

    def restore(self, until: datetime | None, *, check: bool) -> dict[str, object]:
        """Put the server back; nothing is touched before all is found to be intact.

        Raises:
            RefusedError: The backup is damaged, too young or of another version.
            UnitError: The server could not be stopped or started.
        """
        noted, logs = self.files.intact(until)
        version = str(noted["version"])[:-4]
        here = self.data / "PG_VERSION"
        if here.exists() and here.read_text().strip() != version:
            raise RefusedError(
                f"the backup is of version {version}, the server is {here.read_text().strip()}"
            )
        if not check:
            self._replace(logs, until)
        return {"changed": True, "made": noted["made"], "files": [BASE, *logs]}

    def _replace(self, logs: list[str], until: datetime | None) -> None:
        run("systemctl", "stop", self.unit.name)
        for place in (self.data, self.archive):
            aside = place.with_name(f"{place.name}.{ASIDE}")
            shutil.rmtree(aside, ignore_errors=True)
            if place.exists():
                place.rename(aside)
            self._own(place)
        pipe(["zstd", "-dcq", str(self.files.path / BASE)], ["tar", "-xpf", "-", "-C", str(self.data)])
        self._own(self.data / "recovery-log")
        for each in logs:
            self._own(Path(shutil.copy(self.files.path / each, self.data / "recovery-log")))
        if logs:
            self._plan_recovery(until)
        run("systemctl", "start", self.unit.name)
        self._await_end()
        self.client.ask(*(f"ALTER SYSTEM RESET {each}" for each in RECOVERY), "SELECT pg_reload_conf()")
        shutil.rmtree(self.data / "recovery-log")

    def _own(self, path: Path) -> None:
        entry = pwd.getpwnam(self.user)
        if not path.exists():
            path.mkdir(mode=0o700)
        os.chown(path, entry.pw_uid, entry.pw_gid)

    def _plan_recovery(self, until: datetime | None) -> None:
        lines = [
            f"restore_command = 'zstd -dqf {self.data}/recovery-log/%f.zst -o %p'",
            "recovery_target_action = 'promote'",
        ]
        if until:
            lines.append(f"recovery_target_time = '{until.isoformat()}'")
        with (self.data / "postgresql.auto.conf").open("a") as writer:
            writer.write("\n".join(lines) + "\n")
        (self.data / "recovery.signal").touch()
        self._own(self.data / "recovery.signal")

    def _await_end(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if self.client.ask("SELECT pg_is_in_recovery()") == [["f"]]:
                    return
                why = "the server still repeats its log"
            except RefusedError as error:
                why = str(error)
            failed = self.unit.show()["ActiveState"] == "failed"
            if failed or time.monotonic() > end:
                raise RefusedError(
                    f"the server did not come back ({why}); does the log reach that moment? See its log"
                )
            time.sleep(0.5)


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": list(ACTIONS)},
            "service": text,
            "user": text,
            "port": {"type": "int", "required": True},
            "data": path,
            "archive": path,
            "directory": path,
            "keep_days": {"type": "int", "default": 7},
            "until": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    backup = Backup(given)
    try:
        if given["action"] == "restore":
            answer = backup.restore(moment(given["until"]), check=module.check_mode)
        elif module.check_mode:
            answer = {"changed": True}
        else:
            answer = backup.full(given["keep_days"]) if given["action"] == "full" else backup.incremental()
    except (RefusedError, UnitError, OSError) as error:
        module.fail_json(msg=f"{given['action']} of the server: {error}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
