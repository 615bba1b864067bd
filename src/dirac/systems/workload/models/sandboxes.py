"""Archives of files that go with jobs."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

SandboxType: TypeAlias = Literal["input", "output"]


class SandboxInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An archive to be uploaded."""

    checksum: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$(?!\n)")]
    size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    format: Literal["tar.bz2", "tar.zst", "tar.gz"]
    checksum_algorithm: Literal["sha256"] = "sha256"


class SandboxUpload(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where and how to upload a sandbox; without `url` it is there already."""

    pfn: str
    url: str | None = None
    fields: dict[str, str] = {}


class JobSandboxes(msgspec.Struct, frozen=True):
    """The archives of a job."""

    Input: list[str]
    Output: list[str]


class SandboxDownload(msgspec.Struct, frozen=True):
    """Where a sandbox can be had, for so many seconds."""

    url: str
    expires_in: int
