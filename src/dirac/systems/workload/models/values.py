"""Numbers and names that many of the others hold."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

JobID: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]


Stamp: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}$(?!\n)")]


Short: TypeAlias = Annotated[str, Meta(max_length=255)]


Place: TypeAlias = Annotated[str, Meta(max_length=128)]


Row: TypeAlias = dict[str, Any]
