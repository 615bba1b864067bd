"""Worker nodes that start pilots themselves, in the database."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select

from dirac.db.transaction import Transaction
from dirac.systems.workload.ports.nodes import NodeRow
from dirac.systems.workload.store.tables import nodes

_c = nodes.c


class NodeStore:
    """Implements `NodeRepository`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def put(self, node: NodeRow) -> None:
        """Keep what a node has said."""
        await self._tx.put(nodes, msgspec.structs.asdict(node), changing=("facts", "heard"))

    async def heard(self, since: datetime) -> set[tuple[str, str, str]]:
        """Return the nodes that were heard of since a moment, as site, computing element and name."""
        rows = await self._tx.execute(select(_c.site, _c.ce, _c.node).where(_c.heard >= since))
        return {(row.site, row.ce, row.node) for row in rows}
