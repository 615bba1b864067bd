"""What the logic needs to remember of worker nodes."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A worker node that starts pilots itself, as it was when it asked last.

    Attributes:
        facts: What it said of itself.
    """

    site: str
    ce: str
    node: str
    facts: dict[str, int]
    heard: datetime


class NodeRepository(Protocol):
    """Worker nodes that start pilots themselves."""

    async def put(self, node: NodeRow) -> None:
        """Keep what a node has said."""
        ...

    async def heard(self, since: datetime) -> set[tuple[str, str, str]]:
        """Return the nodes that were heard of since a moment, as site, computing element and name."""
        ...
