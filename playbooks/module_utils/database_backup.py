# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of a database: a directory of files, and a note of their check sums that is written last."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.database import RefusedError
from ansible.module_utils.host_files import check_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOTE = "backup.json"
FORMAT = 1
ACTIONS = ("full", "incremental", "restore")


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
    return told.astimezone(UTC)


class BackupDirectory:
    """The files of one backup.

    Args:
        path: Where they are.
        whole: Name of the file with the whole copy; the others are logs since then.
        about: What the note has to say for the backup to be of this database.
    """

    def __init__(self, path: Path, whole: str, **about: object) -> None:
        self.path, self.whole, self._about = path, whole, about

    def part(self) -> Path:
        """Return an empty file, only root's, for the next whole copy."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path / f"{self.whole}.part"
        fresh.touch(mode=0o600)
        return fresh

    def begin(self, fresh: Path, logs: str, **facts: object) -> None:
        """Make a whole copy the backup, without the logs of the one before.

        Args:
            fresh: The copy.
            logs: Pattern of the logs' names.
            facts: What else is noted.
        """
        (self.path / NOTE).unlink(missing_ok=True)
        for old in self.path.glob(logs):
            old.unlink()
        fresh.rename(self.path / self.whole)
        noted = {"format": FORMAT, "made": datetime.now(UTC).isoformat(timespec="seconds")}
        self._write(noted | self._about | facts | {"files": {self.whole: check_sum(self.path / self.whole)}})

    def noted(self) -> dict[str, Any]:
        """Return what is noted of the backup.

        Raises:
            RefusedError: There is none, or it is not of this format or database.
        """
        try:
            noted = json.loads((self.path / NOTE).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RefusedError(f"{self.path} has no complete backup ({error}); make a full one") from None
        if any(noted.get(key) != value for key, value in ({"format": FORMAT} | self._about).items()):
            of = " of ".join(["", *(str(value) for value in self._about.values())])
            raise RefusedError(f"{self.path} has no backup{of} that this version can read")
        return dict(noted)

    def add(self, noted: dict[str, Any], logs: list[Path]) -> list[str]:
        """Add those logs that are not there yet; returns their names."""
        new = [log for log in logs if log.name not in noted["files"]]
        for log in new:
            fresh = self.path / f"{log.name}.part"
            shutil.copyfile(log, fresh)
            fresh.chmod(0o600)
            fresh.rename(self.path / log.name)
            noted["files"][log.name] = check_sum(self.path / log.name)
        self._write(noted)
        return [log.name for log in new]

    def intact(self, until: datetime | None) -> tuple[dict[str, Any], list[str]]:
        """Return what is noted, and the names of the logs in their order, if all can be put back.

        Raises:
            RefusedError: The backup is damaged, or younger than the wanted moment.
        """
        noted = self.noted()
        files: dict[str, str] = noted["files"]
        damaged = [each for each, total in files.items() if not self._is_intact(each, total)]
        if damaged:
            raise RefusedError(f"the backup in {self.path} is damaged: {', '.join(damaged)}")
        if until and until < datetime.fromisoformat(noted["made"]):
            raise RefusedError(
                f"the backup was made at {noted['made']}, after {until.isoformat()}; take an older one"
            )
        return noted, sorted(each for each in files if each != self.whole)

    def _is_intact(self, file: str, total: str) -> bool:
        return (self.path / file).is_file() and check_sum(self.path / file) == total

    def _write(self, noted: dict[str, Any]) -> None:
        fresh = self.path / f"{NOTE}.part"
        fresh.write_text(json.dumps(noted, indent=2) + "\n", "utf-8")
        fresh.chmod(0o600)
        fresh.rename(self.path / NOTE)
