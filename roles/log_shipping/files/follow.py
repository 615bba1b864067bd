# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives each file of a service's log a name that stays: ``follow.py DIRECTORY LINKS``; syslog-ng runs it.

svlogd renames DIRECTORY/SERVICE/current when it rotates. syslog-ng would let go of the file then, with the
lines that came since its last look, and would not know it again after a restart. So it reads hard links,
LINKS/SERVICE@NUMBER, which no rotation renames; as long as there is one, its number (the inode's) is not
given to another file.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

LOOK = 0.5  # seconds between looks for new files
KEEP = 600.0  # seconds for which a file is kept to be read after svlogd has removed it


class Links:
    """The links, by the number of their file.

    Args:
        directory: Where the services' directories are.
        place: Where the links are; on the same file system.
    """

    def __init__(self, directory: Path, place: Path) -> None:
        self.directory = directory
        self.place = place
        self.known = {entry.inode(): entry.name for entry in os.scandir(place) if "@" in entry.name}
        self.alone: dict[int, float] = {}
        self.said: set[str] = set()

    def add(self) -> None:
        """Link the files that have no link yet."""
        for service in os.scandir(self.directory):
            if service.name.startswith(".") or not service.is_dir(follow_symlinks=False):
                continue
            try:
                for entry in os.scandir(service.path):
                    if _of_svlogd(entry.name) and entry.inode() not in self.known:
                        self._link(service.name, entry.path)
            except OSError as error:  # it is being removed, or is on another file system
                self._say(f"{service.path} cannot be followed: {error.strerror}")

    def _link(self, service: str, path: str) -> None:
        fresh = self.place / ".new"
        fresh.unlink(missing_ok=True)
        try:
            os.link(path, fresh, follow_symlinks=False)
        except FileNotFoundError:  # renamed since it was listed; the next look sees its new name
            return
        number = fresh.lstat().st_ino  # not what was listed, if it was rotated in between
        if number in self.known:
            fresh.unlink()
            return
        # The time, because a number comes back; syslog-ng remembers how far it has read by the name.
        name = f"{service}@{number}-{time.time_ns()}"
        fresh.rename(self.place / name)
        self.known[number] = name

    def release(self) -> None:
        """Remove links to files that svlogd has removed."""
        now = time.monotonic()
        for number, name in list(self.known.items()):
            path = self.place / name
            try:
                alone = path.stat().st_nlink == 1
            except FileNotFoundError:
                del self.known[number]
                continue
            if not alone:
                self.alone.pop(number, None)
            elif now - self.alone.setdefault(number, now) > KEEP:
                path.unlink(missing_ok=True)
                del self.known[number], self.alone[number]

    def _say(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            sys.stderr.write(f"{text}\n")


def _of_svlogd(name: str) -> bool:
    return name == "current" or (name.startswith("@") and name.endswith((".s", ".u")))


def main() -> None:
    """Look for new files until syslog-ng ends this."""
    links = Links(Path(sys.argv[1]), Path(sys.argv[2]))
    while True:
        links.add()
        links.release()
        time.sleep(LOOK)


if __name__ == "__main__":
    main()
