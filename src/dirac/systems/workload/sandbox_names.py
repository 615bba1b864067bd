"""Names of archives: ``/S3/<bucket>/<vo>/<group>/<user>/sha256:<hex>.<format>``.

Where one is read, ``SB:<store>|`` may stand before it, as it must in a JDL of DIRAC.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from dirac.core.errors import InvalidInputError
from dirac.systems.workload.models import SandboxInfo
from dirac.systems.workload.ports.work import Owner

BUCKET = "sandboxes"
STORE = "SandboxSE"
"""Our store of archives, by the name that a JDL of DIRAC knows it by."""

MAX_LENGTH = 512

_NAME = re.compile(
    r"(?:SB:[A-Za-z]+\|)?(?P<pfn>/S3/(?P<bucket>[a-z0-9.-]{3,63})/"
    r"(?P<key>(?:[A-Za-z0-9._:@+=,-]+/){3}sha256:(?P<sha256>[0-9a-f]{64})\.tar\.(?:bz2|zst|gz)))"
).fullmatch
_UNSAFE = re.compile(r"^\.|[^A-Za-z0-9._@+-]")
_FOLDER_LENGTH = 36  # three of them and the rest are within what an object store takes as a key
_REFERENCE = ("SB:", "/S3/")


class SandboxName(msgspec.Struct, frozen=True):
    """The name of an archive.

    Attributes:
        pfn: In full, without the name of a store in front.
        key: What the object store knows it by.
        sha256: The checksum that its content has.
    """

    pfn: str
    key: str
    sha256: str

    @property
    def reference(self) -> str:
        """How a description of a job names it."""
        return f"SB:{STORE}|{self.pfn}"

    @classmethod
    def parse(cls, text: str) -> SandboxName:
        """Read a name.

        Raises:
            InvalidInputError: It is none, or of another bucket than ours.
        """
        match = _NAME(text) if len(text) <= MAX_LENGTH else None
        if match is None or match["bucket"] != BUCKET:
            raise InvalidInputError(
                f"{text[:120]!r} does not name a sandbox",
                hint=f"Names are SB:SandboxSE|/S3/{BUCKET}/VO/GROUP/USER/sha256:HEX.tar.bz2",
            )
        return cls(pfn=match["pfn"], key=match["key"], sha256=match["sha256"])

    @classmethod
    def of(cls, owner: Owner, info: SandboxInfo) -> SandboxName:
        """Return the name that an archive of somebody gets: the same for the same content."""
        folders = "/".join(_folder(part) for part in (owner.vo, owner.group, owner.username))
        checksum = info.checksum.lower()
        key = f"{folders}/sha256:{checksum}.{info.format}"
        return cls(pfn=f"/S3/{BUCKET}/{key}", key=key, sha256=checksum)


def is_reference(entry: str) -> bool:
    """Tell whether an entry of an input sandbox is an uploaded archive, not a file of the grid."""
    return entry.startswith(_REFERENCE)


def _folder(name: str) -> str:
    """Return a name as a part of a key: other characters as their code, long ones cut with a checksum."""
    safe = _UNSAFE.sub(lambda match: "".join(f"={byte:02X}" for byte in match[0].encode()), name)
    if len(safe) <= _FOLDER_LENGTH:
        return safe or "="
    return f"{safe[:19]}={hashlib.sha256(name.encode()).hexdigest()[:16]}"
