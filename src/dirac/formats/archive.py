"""Archives of files, as sandboxes travel: equal content makes an equal archive, and none is trusted.

Whoever unpacks an archive did not write it. So nothing of it is believed: names must stay in the directory,
links are only good for naming another file of the archive (and become a copy of it), special files are
refused, and the number and the size of members are bounded before anything is read into memory.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import os
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from dirac.core.errors import DiracError, InvalidInputError, TooLargeError, UnavailableError

MAX_BYTES: Final = 1 << 30
MAX_MEMBERS: Final = 100_000

_CHUNK = 1 << 16
# Extended headers are read in one piece by the library; no honest one is larger.
_LARGEST_READ = 1 << 20
# Not xz: a few bytes could ask for 4 GiB of memory. With Zstandard, 128 MiB are the most by default.
_MAGIC = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\x28\xb5\x2f\xfd", zstd.open))
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError)
# What a name in an archive can do wrong; anything else is a fault of this machine.
_NAME_FAULTS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ}


def pack(files: Sequence[Path], archive: Path, *, base: Path) -> None:
    """Write files into a gzip-compressed tar archive under their paths relative to a directory.

    Equal names, contents and execute permissions give an equal archive, byte for byte: order, times and
    owners do not count. Symbolic links are followed.

    Args:
        files: Regular files below `base`, each once.
        archive: File to write; replaced if it exists.
        base: The directory that names are relative to.

    Raises:
        InvalidInputError: A file is not below `base`, is no regular file, or cannot be read.
    """
    members: dict[str, Path] = {}
    for file in files:
        try:
            members[file.relative_to(base).as_posix()] = file
        except ValueError:
            raise InvalidInputError(f"{file} is not below {base}") from None
    pack_members(members, archive)


def pack_members(members: Mapping[str, Path], archive: Path) -> None:
    """Write files into a gzip-compressed tar archive under names of the caller's choice; see `pack`.

    Args:
        members: For each name in the archive (relative, with slashes) the file.
        archive: File to write; replaced if it exists.

    Raises:
        InvalidInputError: A file is no regular file, or cannot be read.
    """
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(members):
            _add(tar, name, members[name])


def _add(tar: tarfile.TarFile, name: str, file: Path) -> None:
    try:
        if not file.is_file():
            raise InvalidInputError(f"{file} is no regular file", where=name)
        with file.open("rb") as content:
            found = os.fstat(content.fileno())
            info = tarfile.TarInfo(name)
            info.size = found.st_size
            info.mode = 0o755 if found.st_mode & 0o100 else 0o644
            tar.addfile(info, content)
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror or error}", where=name) from error


def unpack(
    archive: Path, directory: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS
) -> list[Path]:
    """Unpack a tar archive, plain or compressed by gzip, bzip2 or Zstandard, whatever its name says.

    Nothing appears in the directory unless the whole archive is acceptable. Existing files of the same names
    are replaced; directories appear with their files.

    Args:
        archive: The archive.
        directory: Where to; made if it does not exist.
        max_bytes: Most bytes that all files may have together.
        max_members: Most members, directories included.

    Returns:
        The files, sorted.

    Raises:
        InvalidInputError: It is no such archive, it is damaged, or the member named in `where` is not
            acceptable.
        TooLargeError: It holds more than is accepted.
        UnavailableError: This machine cannot store it (disk full, no permission).
    """
    directory.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".unpack-", dir=directory))
    try:
        with archive.open("rb") as raw:
            names = _Extraction(staging, max_bytes, max_members).run(raw)
        return sorted(_put(staging, directory, name) for name in names)
    except OSError as error:
        raise _storage_fault(error, str(archive)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Bounded:
    """A readable, seekable file that gives at most so many bytes, and never very many at once."""

    def __init__(self, inner: IO[bytes], limit: int) -> None:
        self._inner = inner
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _LARGEST_READ:
            raise InvalidInputError("the archive has a header of unreasonable size")
        self._check(self._inner.tell() + size)
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check(offset)
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise TooLargeError("the archive holds more than is accepted")


class _Extraction:
    """Writes the members of one archive into an empty directory that nobody else uses."""

    def __init__(self, root: Path, max_bytes: int, max_members: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._max_members = max_members
        self._bytes = 0
        self._files: set[str] = set()
        self._links: list[tuple[str, str]] = []

    def run(self, raw: IO[bytes]) -> set[str]:
        """Write all members; returns the names of the files."""
        magic = raw.read(6)
        raw.seek(0)
        opener = next((known for start, known in _MAGIC if magic.startswith(start)), None)
        # A member of one byte takes a header and a block, and may have an extended header of two more.
        limit = self._max_bytes + 4096 * (self._max_members + 10)
        try:
            with cast("IO[bytes]", opener(raw)) if opener else raw as inner:
                bounded = cast("IO[bytes]", _Bounded(inner, limit))
                with tarfile.open(fileobj=bounded, mode="r:") as tar:
                    for count, member in enumerate(tar, 1):
                        self._check_size(member, count)
                        self._take(tar, member)
        except _DAMAGE as error:
            raise InvalidInputError(f"this is no archive, or a damaged one: {error}") from error
        except (ValueError, UnicodeError, OverflowError, RecursionError) as error:
            raise InvalidInputError(f"the archive is damaged: {error}") from error
        for name, target in self._links:
            self._link(name, target)
        return self._files

    def _check_size(self, member: tarfile.TarInfo, count: int) -> None:
        if count > self._max_members:
            raise TooLargeError(f"the archive has more than the {self._max_members} members accepted")
        self._bytes += max(0, member.size)
        if self._bytes > self._max_bytes:
            raise TooLargeError(
                f"the archive holds more than the {self._max_bytes} bytes accepted", where=member.name
            )

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = _safe(member.name, member.name)
        try:
            if member.isdir():
                if name:
                    (self._root / name).mkdir(parents=True, exist_ok=True)
            elif member.issym() and name:
                target = os.path.normpath(PurePosixPath(name).parent / member.linkname)
                self._links.append((name, _safe(target, member.name, member.linkname)))
            elif member.islnk() and name:
                self._links.append((name, _safe(member.linkname, member.name, member.linkname)))
            elif member.isreg() and name:
                self._write(tar, member, name)
            else:
                raise InvalidInputError(
                    "the member is neither a file nor a directory nor a link", where=member.name
                )
        except OSError as error:
            raise _storage_fault(error, member.name) from error

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        content = tar.extractfile(member)
        if content is None:
            raise InvalidInputError("the member has no content", where=member.name)
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        left = member.size
        with path.open("wb") as file:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
                left -= len(chunk)
        if left:
            raise InvalidInputError("the archive ends within this member", where=member.name)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
        self._files.add(name)

    def _link(self, name: str, target: str) -> None:
        if target not in self._files or name in self._files:
            raise InvalidInputError(f"the link leads to {target!r}, no file of the archive", where=name)
        try:
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._bytes += (self._root / target).stat().st_size
            if self._bytes > self._max_bytes:
                raise TooLargeError(f"the archive holds more than the {self._max_bytes} bytes accepted")
            shutil.copy2(self._root / target, path)
        except OSError as error:
            raise _storage_fault(error, name) from error
        self._files.add(name)


def _safe(name: str, where: str, shown: str | None = None) -> str:
    """Return the normal form of a relative name, empty for the directory itself; refuse others."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\x00" in name:
        what = "the member's name" if shown is None else f"the link to {shown!r}"
        raise InvalidInputError(f"{what} leads out of the directory", where=where)
    return "" if path == PurePosixPath() else path.as_posix()


def _put(staging: Path, directory: Path, name: str) -> Path:
    """Move a file to its place, through directories only: never through a link that somebody left there."""
    place = directory
    for part in PurePosixPath(name).parts[:-1]:
        place = place / part
        if place.is_symlink():
            raise InvalidInputError(f"{place} is a link; nothing is unpacked through it", where=name)
        try:
            place.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise InvalidInputError(f"{place} exists and is no directory", where=name) from error
    final = directory / name
    try:
        (staging / name).replace(final)
    except OSError as error:
        raise _storage_fault(error, name) from error
    return final


def _storage_fault(error: OSError, where: str) -> DiracError:
    cls = InvalidInputError if error.errno in _NAME_FAULTS else UnavailableError
    if error.errno is None:  # the decompressors' own faults
        cls = InvalidInputError
    return cls(f"the archive cannot be unpacked: {error.strerror or error}", where=where)
