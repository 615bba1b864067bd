# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a host, as the modules of this project write them: whole or not at all, with check mode and diff.

Shared by the modules, because each execution of a module costs more than all the files it writes.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path


class HostError(Exception):
    """It cannot be done on this host; the text says what, where, and what to do."""


def check_sum(path: Path) -> str:
    """Return the SHA-256 of a file, which may be large."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


class Files:
    """What a module wants of files; remembers what had to change.

    Args:
        check: Only find out what would change.
    """

    def __init__(self, check: bool = False) -> None:
        self.check = check
        self.changed: list[str] = []
        self.diff: list[dict[str, str]] = []

    def directory(self, path: str, mode: int = 0o755, owner: str = "", group: str = "") -> bool:
        """Have a directory; returns whether that was a change.

        Args:
            owner: Name of a user; empty for whoever runs this, that is root.
            group: Name of a group; empty for the same.
        """
        found = _look(path)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise HostError(f"{path} is there, but is not a directory; move it away")
        if found is None:
            self.note(path, "", "directory\n")
            if not self.check:
                Path(path).mkdir(parents=True)
        return self._attributes(path, mode, owner, group) or found is None

    def file(
        self,
        path: str,
        content: str | bytes,
        mode: int = 0o644,
        owner: str = "",
        group: str = "",
        *,
        validate: str = "",
        secret: bool = False,
    ) -> bool:
        """Have a file with this content; at every moment there is the old one or the new one.

        Args:
            validate: Command that says whether the content is right; ``%s`` stands for a file with it.
            secret: Do not show the content as a difference.

        Raises:
            HostError: The content is not valid, or a user or group does not exist.
        """
        wanted = content.encode() if isinstance(content, str) else content
        before = _read(path)
        if before == wanted:
            return self._attributes(path, mode, owner, group)
        if secret:
            self.note(path, "(secret)\n", "(another secret)\n")
        else:
            self.note(path, _text(before), _text(wanted))
        if self.check:
            _validate_if_possible(validate, wanted)
            return True
        user, members = _ids(owner, group)
        handle, name = tempfile.mkstemp(prefix=f".{Path(path).name}.", dir=Path(path).parent)
        fresh = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(wanted)
            if validate:
                require_valid(validate, name, path)
            os.chown(fresh, user, members)
            fresh.chmod(mode)
            fresh.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise
        return True

    def link(self, path: str, target: str) -> bool:
        """Have a symbolic link to this target."""
        place = Path(path)
        before = str(place.readlink()) if place.is_symlink() else None
        if before == target:
            return False
        if before is None and place.exists():
            raise HostError(f"{path} is there, but is not a link; move it away")
        self.note(path, f"link to {before}\n" if before else "", f"link to {target}\n")
        if not self.check:
            fresh = Path(f"{path}.new")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target)
            fresh.replace(path)
        return True

    def absent(self, path: str) -> bool:
        """Have nothing at this path, whatever it was."""
        place = Path(path)
        if not place.is_symlink() and not place.exists():
            return False
        self.note(path, "there\n", "")
        if not self.check:
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()
        return True

    def only(self, directory: str, names: set[str]) -> bool:
        """Have nothing in a directory but these names."""
        there = sorted(Path(directory).iterdir()) if Path(directory).is_dir() else []
        removed = [self.absent(str(path)) for path in there if path.name not in names]
        return any(removed)

    def _attributes(self, path: str, mode: int, owner: str, group: str) -> bool:
        found = _look(path)
        if found is None:  # check mode, and it would be made
            return False
        try:
            user, members = _ids(owner, group)
        except HostError:
            if self.check:  # the user would have been made by now
                self.note(path, "", f"{owner}:{group}\n")
                return True
            raise
        before = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        if before == (mode, user, members):
            return False
        if path not in self.changed:  # a directory that was made just now
            self.note(path, "{:04o} {} {}\n".format(*before), f"{mode:04o} {user} {members}\n")
        if not self.check:
            os.chown(path, user, members)
            Path(path).chmod(mode)
        return True

    def note(self, path: str, before: str, after: str) -> None:
        """Note that something is changed; also used for what is no file."""
        self.changed.append(path)
        self.diff.append({"before_header": path, "after_header": path, "before": before, "after": after})


def require_valid(command: str, candidate: str, path: str) -> None:
    """Ask a program whether a file is right.

    Raises:
        HostError: It is not; with what the program says.
    """
    words = [word.replace("%s", candidate) for word in command.split()]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        raise HostError(f"{path} cannot be checked: {words[0]}: {error.strerror}") from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip().replace(candidate, path)[-3000:]
        raise HostError(f"{path} would not be valid, it was left as it is; {words[0]} says: {said}")


def _validate_if_possible(command: str, content: bytes) -> None:
    """In check mode the program may not be installed yet."""
    if not command or shutil.which(command.split()[0]) is None:
        return
    with tempfile.NamedTemporaryFile() as candidate:
        candidate.write(content)
        candidate.flush()
        require_valid(command, candidate.name, "the file")


def _look(path: str) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except FileNotFoundError:
        return None


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise HostError(f"{path} is a directory, not a file; move it away") from None


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode(errors="replace")


def _ids(owner: str, group: str) -> tuple[int, int]:
    try:
        user = pwd.getpwnam(owner).pw_uid if owner else os.geteuid()
    except KeyError:
        raise HostError(f"there is no user {owner} on this host") from None
    try:
        return user, grp.getgrnam(group).gr_gid if group else os.getegid()
    except KeyError:
        raise HostError(f"there is no group {group} on this host") from None
