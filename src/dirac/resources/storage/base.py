"""What every object store promises.

An object store keeps immutable objects under keys that say what is in them, sandboxes for instance. Clients
send and fetch the bytes themselves, with URLs that the server signed for one object and a short time. A
plugin is a class below `ObjectStore`, an entry point of the group ``dirac.storage``, and a subclass of the
conformance suite in `dirac.resources.storage.testing`.

What a client does is the same for every store::

    httpx.post(upload.url, data=upload.fields, files={"file": content})   # 200 to 204
    httpx.get(url)                                                        # 200
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Self

import msgspec

from dirac.core.errors import InvalidInputError, NotFoundError

MAX_KEY = 200
"""Characters of a key."""

_KEY = re.compile(r"[A-Za-z0-9._:@+=,-]+(/[A-Za-z0-9._:@+=,-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Upload(msgspec.Struct, frozen=True):
    """How to send one object.

    Attributes:
        url: Where to send a POST with a form (multipart/form-data, RFC 7578).
        fields: Fields of the form; all of them come before the one named ``file``, which has the bytes.
    """

    url: str
    fields: dict[str, str]


def check_key(key: str) -> str:
    """Return a key if it can be one on every store.

    Raises:
        InvalidInputError: It is empty, too long, has other characters than ``A-Z a-z 0-9 . _ : @ + = , -`` in
            its parts between slashes, or has a part ``.`` or ``..``.
    """
    if len(key) > MAX_KEY:
        raise InvalidInputError(f"key of {len(key)} characters", hint=f"At most {MAX_KEY} are possible")
    if not _KEY.fullmatch(key) or not {".", ".."}.isdisjoint(key.split("/")):
        raise InvalidInputError(
            f"key {key!r} is not possible",
            hint="Use parts of letters, digits and . _ : @ + = , - with one slash between them",
        )
    return key


def check_object(key: str, size: int, sha256: str) -> None:
    """Make sure that an object can be described like that.

    Raises:
        InvalidInputError: The key, the size or the checksum is impossible.
    """
    check_key(key)
    if size < 0:
        raise InvalidInputError(f"size {size} of {key!r} is negative")
    if not _SHA256.fullmatch(sha256):
        raise InvalidInputError(
            f"checksum {sha256!r} of {key!r} is not a SHA-256", hint="Send 64 lower case hexadecimal digits"
        )


class ObjectStore(ABC):
    """Keeps objects that never change.

    A key belongs to one content for good, so every call may be repeated, by anybody and after any crash:
    uploading again puts the same bytes there. An object is there as a whole or not at all. Several
    instances, also in several processes, may use the same store at the same time.

    Raises:
        InvalidInputError: (any call) A key is impossible, see `check_key`.
        UnavailableError: (any call) The store does not answer; what was asked may have happened or not.

    Attributes:
        renewed: Gives the settings as they are now, where secrets in them may be replaced; may wait. A store
            that shows secrets asks before it shows them. None if they are what they were.
    """

    renewed: Callable[[], Mapping[str, Any]] | None = None

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make a store from its part of the configuration; opens no connection.

        Raises:
            InvalidInputError: A setting is unknown, missing or wrong; the message names it.
        """

    @abstractmethod
    async def presign_upload(self, key: str, *, size: int, sha256: str, expires_in: int) -> Upload:
        """Allow whoever has the answer to upload one object.

        Args:
            key: Name of the object.
            size: Its exact number of bytes; any other is refused.
            sha256: Its SHA-256 in lower case hexadecimal; other bytes are refused.
            expires_in: Seconds from now during which the upload may begin.
        """

    @abstractmethod
    async def presign_download(self, key: str, *, expires_in: int) -> str:
        """Return a URL that gives one object, whether it exists or not, for so many seconds."""

    @abstractmethod
    async def exists(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that have an object."""

    @abstractmethod
    async def size(self, key: str) -> int:
        """Return the number of bytes of an object.

        Raises:
            NotFoundError: There is none.
        """

    @abstractmethod
    def open(self, key: str) -> AsyncIterator[bytes]:
        """Return the bytes of an object, part by part.

        Raises:
            NotFoundError: There is none; raised when the first part is asked for.
        """

    async def read(self, key: str) -> bytes:
        """Return an object as a whole; for small ones.

        Raises:
            NotFoundError: There is none.
        """
        return b"".join([part async for part in self.open(key)])

    async def verify(self, key: str, *, sha256: str) -> bool:
        """Tell whether an object is there with the content that it should have; what has another is removed.

        Not every service checks what is uploaded. Whoever first counts an object as uploaded asks here, so
        that nobody is told that something is there already which is not what it says.

        Args:
            key: Name of the object.
            sha256: What its SHA-256 should be, in lower case hexadecimal.
        """
        digest = hashlib.sha256()
        try:
            async for part in self.open(key):
                digest.update(part)
        except NotFoundError:
            return False
        if digest.hexdigest() == sha256:
            return True
        await self.delete([key])
        return False

    @abstractmethod
    async def delete(self, keys: Collection[str]) -> None:
        """Remove objects; those that are not there are as good as removed."""

    async def close(self) -> None:  # noqa: B027 - most stores hold nothing open
        """Let go of connections."""
