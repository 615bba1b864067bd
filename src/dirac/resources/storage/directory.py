"""Objects as files of a directory, for installations without an S3 service.

The server itself receives and sends the bytes. Its URLs carry an HMAC over everything that was allowed, so
that the two routes need no other credential and the store needs no memory of what it signed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from dirac.core.errors import (
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from dirac.core.time import Clock, SystemClock, to_wire
from dirac.resources.settings import read_settings
from dirac.resources.storage.base import ObjectStore, Upload, check_key, check_object

UPLOAD_PATH = "/api/sandbox-store/upload"
DOWNLOAD_PATH = "/api/sandbox-store/download"
UPLOAD_FIELDS = ("key", "size", "sha256", "expires", "signature")
DOWNLOAD_FIELDS = ("key", "expires", "signature")
STALE_SECONDS = 24 * 3600
"""Age at which what an upload left behind when the server was killed may be removed."""

_PART = 1 << 20
_KEY_BYTES = 32
_SAFE = ":@+=,"

Result = TypeVar("Result")


class DirectorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a directory store.

    Attributes:
        root: Directory of the objects, absolute, made if missing.
        base_url: How clients reach the server, without the path of the API.
        signing_key_file: File with the secret that signs URLs, absolute; made if missing. All servers of an
            installation share it.
    """

    root: Annotated[str, msgspec.Meta(pattern="^/")]
    base_url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    signing_key_file: Annotated[str, msgspec.Meta(pattern="^/")]


class Grant(msgspec.Struct, frozen=True):
    """An upload that was allowed: this key, this many bytes, this SHA-256 in hexadecimal."""

    key: str
    size: int
    sha256: str


class DirectoryStore(ObjectStore):
    """Keeps each object in ``root/<2 hex digits>/<key>``.

    Args:
        root: Directory of the objects; everything in it belongs to the store.
        base_url: How clients reach the server.
        signing_key: Secret of at least 32 bytes, shared by all servers of an installation.
        clock: Says when a URL expires.
    """

    def __init__(self, root: Path, base_url: str, signing_key: bytes, clock: Clock | None = None) -> None:
        if len(signing_key) < _KEY_BYTES:
            raise InvalidInputError(f"a signing key of {len(signing_key)} bytes; {_KEY_BYTES} are needed")
        self._root = root
        self._base_url = base_url.rstrip("/")
        self._signing_key = signing_key
        self._clock = clock or SystemClock()
        self._incoming = root / ".incoming"

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make a store; reads the signing key, or makes it if there is none yet."""
        read = read_settings(DirectorySettings, settings, "object store 'directory'")
        try:
            key = _read_or_make_key(Path(read.signing_key_file))
        except OSError as error:
            raise InvalidInputError(
                f"setting 'signing_key_file': {error}", where="object store 'directory'"
            ) from error
        return cls(Path(read.root), read.base_url, key)

    async def presign_upload(self, key: str, *, size: int, sha256: str, expires_in: int) -> Upload:
        """Sign a form for the upload route."""
        check_object(key, size, sha256)
        fields = {"key": key, "size": str(size), "sha256": sha256, "expires": self._expiry(expires_in)}
        fields["signature"] = self._signature("POST", **fields)
        return Upload(self._base_url + UPLOAD_PATH, fields)

    async def presign_download(self, key: str, *, expires_in: int) -> str:
        """Sign a URL of the download route."""
        fields = {"key": check_key(key), "expires": self._expiry(expires_in)}
        fields["signature"] = self._signature("GET", **fields)
        return f"{self._base_url}{DOWNLOAD_PATH}?{urlencode(fields)}"

    def verify_upload(self, fields: Mapping[str, str]) -> Grant:
        """Return what the fields of an upload's form allow.

        Raises:
            InvalidInputError: A field is missing.
            NotAllowedError: The signature is not ours, or the time is over.
        """
        self._verify("POST", fields, UPLOAD_FIELDS)
        return Grant(check_key(fields["key"]), int(fields["size"]), fields["sha256"])

    def verify_download(self, parameters: Mapping[str, str]) -> Path:
        """Return the file that the parameters of a download's URL allow to send.

        Raises:
            InvalidInputError: A parameter is missing.
            NotAllowedError: The signature is not ours, or the time is over.
            NotFoundError: The object does not exist (any more).
        """
        self._verify("GET", parameters, DOWNLOAD_FIELDS)
        path = self._path(parameters["key"])
        if not path.is_file():
            raise NotFoundError(f"there is no object {parameters['key']!r}")
        return path

    async def receive(self, grant: Grant, chunks: AsyncIterator[bytes]) -> None:
        """Store an object from its bytes; when it returns, the object survives a loss of power.

        Whatever goes wrong, cancellation included, leaves nothing behind. An object that is there already is
        replaced by the same bytes.

        Raises:
            TooLargeError: More bytes than allowed; the rest is not read.
            InvalidInputError: Fewer bytes, or others than those with the checksum.
            UnavailableError: The bytes cannot be stored, for instance because the disk is full.
        """
        target = self._path(grant.key)
        temporary = self._incoming / secrets.token_hex(16)
        try:
            file = await asyncio.to_thread(_create, temporary, target)
            try:
                await _copy(grant, chunks, file)
                await asyncio.to_thread(_commit, file, temporary, target)
            finally:
                file.close()
        except OSError as error:
            raise UnavailableError(f"object {grant.key!r} cannot be stored: {error.strerror}") from error
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                temporary.unlink()

    async def exists(self, keys: Collection[str]) -> set[str]:
        """Look for the files."""
        paths = {key: self._path(key) for key in keys}
        return await _in_thread(lambda: {key for key, path in paths.items() if path.is_file()})

    async def size(self, key: str) -> int:
        """Ask the file system."""
        path = self._path(key)
        try:
            return await _in_thread(lambda: path.stat().st_size)
        except FileNotFoundError:
            raise NotFoundError(f"there is no object {key!r}") from None

    async def open(self, key: str) -> AsyncIterator[bytes]:
        """Read the file in parts of 1 MiB."""
        path = self._path(key)
        try:
            file = await _in_thread(lambda: path.open("rb"))
        except FileNotFoundError:
            raise NotFoundError(f"there is no object {key!r}") from None
        with file:
            while part := await _in_thread(lambda: file.read(_PART)):
                yield part

    async def delete(self, keys: Collection[str]) -> None:
        """Remove the files."""
        paths = [self._path(key) for key in keys]
        await _in_thread(lambda: _remove(paths))

    async def sweep(self) -> int:
        """Remove what uploads left behind when a server was killed; return how many there were.

        Safe at any time: what is younger than `STALE_SECONDS` may still be written and stays.
        """
        oldest = self._clock.now().timestamp() - STALE_SECONDS
        return await _in_thread(lambda: _remove_older(self._incoming, oldest))

    def _path(self, key: str) -> Path:
        name = quote(check_key(key), safe=_SAFE)
        return self._root / hashlib.sha256(key.encode()).hexdigest()[:2] / name

    def _expiry(self, expires_in: int) -> str:
        return str(int(self._clock.now().timestamp()) + expires_in)

    def _signature(self, method: str, **fields: str) -> str:
        # Names and lengths are part of the text, so that no two sets of fields give the same one.
        text = "".join(f"{name}:{len(value)}:{value}\n" for name, value in sorted(fields.items()))
        return hmac.new(self._signing_key, f"{method}\n{text}".encode(), hashlib.sha256).hexdigest()

    def _verify(self, method: str, given: Mapping[str, str], names: tuple[str, ...]) -> None:
        if missing := [name for name in names if not isinstance(given.get(name), str)]:
            raise InvalidInputError(f"missing: {', '.join(missing)}", hint="Use the URL and fields as given")
        expected = self._signature(method, **{name: given[name] for name in names if name != "signature"})
        if not hmac.compare_digest(expected.encode(), given["signature"].encode(errors="replace")):
            raise NotAllowedError("the signature is wrong", hint="Use the URL and fields as given")
        expiry = datetime.fromtimestamp(int(given["expires"]), UTC)
        if self._clock.now() > expiry:
            raise NotAllowedError(f"the permission expired at {to_wire(expiry)}", hint="Ask for a new one")


async def _in_thread(work: Callable[[], Result]) -> Result:
    try:
        return await asyncio.to_thread(work)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnavailableError(f"the object store does not work: {error.strerror}") from error


async def _copy(grant: Grant, chunks: AsyncIterator[bytes], file: BinaryIO) -> None:
    digest, received, buffer = hashlib.sha256(), 0, bytearray()

    def flush() -> None:
        digest.update(buffer)
        file.write(buffer)
        buffer.clear()

    async for chunk in chunks:
        received += len(chunk)
        if received > grant.size:
            raise TooLargeError(f"more than the {grant.size} bytes that were announced for {grant.key!r}")
        buffer += chunk
        if len(buffer) >= _PART:
            await asyncio.to_thread(flush)
    await asyncio.to_thread(flush)
    if received != grant.size:
        raise InvalidInputError(f"{received} bytes instead of the {grant.size} announced for {grant.key!r}")
    if digest.hexdigest() != grant.sha256:
        raise InvalidInputError(
            f"the bytes have SHA-256 {digest.hexdigest()}, {grant.sha256} was announced for {grant.key!r}"
        )


def _create(temporary: Path, target: Path) -> BinaryIO:
    temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not target.parent.is_dir():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        _sync_directory(target.parent.parent)
    return temporary.open("xb")


def _commit(file: BinaryIO, temporary: Path, target: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    temporary.replace(target)
    _sync_directory(target.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _remove_older(directory: Path, oldest: float) -> int:
    count = 0
    with suppress(FileNotFoundError):
        for path in directory.iterdir():
            with suppress(FileNotFoundError):  # the upload was finished just now
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    count += 1
    return count


def _read_or_make_key(path: Path) -> bytes:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # another server was faster, and its key is the one
            os.link(temporary, path)
        temporary.unlink()
    return path.read_bytes()
