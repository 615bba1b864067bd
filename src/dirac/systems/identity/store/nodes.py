"""Credentials of worker nodes."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import insert, select, update

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.pilots import NodeCredentialRecord
from dirac.systems.identity.store.tables import nodes


class NodeCredentialStore:
    """Implements `dirac.systems.identity.ports.pilots.NodeCredentialRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, record: NodeCredentialRecord) -> None:
        """Add a credential."""
        await self._tx.execute(insert(nodes).values(msgspec.structs.asdict(record)))

    async def find(self, credential_id: str) -> NodeCredentialRecord | None:
        """Return a credential."""
        statement = select(nodes).where(nodes.c.credential_id == credential_id)
        row = (await self._tx.execute(statement)).first()
        return None if row is None else NodeCredentialRecord(**row._mapping)

    async def good(self, site: str | None) -> list[NodeCredentialRecord]:
        """Return those that were not revoked, at a site or everywhere, in order of places."""
        statement = select(nodes).where(nodes.c.revoked.is_(None))
        if site is not None:
            statement = statement.where(nodes.c.site == site)
        rows = await self._tx.execute(statement.order_by(nodes.c.site, nodes.c.ce, nodes.c.created))
        return [NodeCredentialRecord(**row._mapping) for row in rows]

    async def revoke(self, site: str, ce: str | None, now: datetime) -> int:
        """Revoke the credentials of a computing element, or of a whole site; return how many were good."""
        good = [nodes.c.site == site, nodes.c.revoked.is_(None)]
        if ce is not None:
            good.append(nodes.c.ce == ce)
        return (await self._tx.execute(update(nodes).where(*good).values(revoked=now))).rowcount
