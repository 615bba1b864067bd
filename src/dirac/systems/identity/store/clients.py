"""Registered confidential clients."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, delete, select

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.tokens import ClientRecord
from dirac.systems.identity.store.digests import exact_key
from dirac.systems.identity.store.tables_tokens import assertions, clients


class ClientStore:
    """Implements `dirac.systems.identity.ports.tokens.ClientRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, record: ClientRecord) -> bool:
        """Add a client; False if there is one of that name."""
        row = msgspec.structs.asdict(record) | {"properties": list(record.properties)}
        return bool(await self._tx.insert_missing(clients, [row]))

    async def find(self, client_id: str) -> ClientRecord | None:
        """Return a client."""
        row = (await self._tx.execute(select(clients).where(clients.c.client_id == client_id))).first()
        # Some engines compare without regard to case.
        return None if row is None or row.client_id != client_id else _record(row)

    async def all(self) -> list[ClientRecord]:
        """Return all clients, in order of names."""
        rows = await self._tx.execute(select(clients).order_by(clients.c.client_id))
        return [_record(row) for row in rows]

    async def remove(self, client_id: str) -> bool:
        """Remove a client; False if there is none."""
        return bool(
            (await self._tx.execute(delete(clients).where(clients.c.client_id == client_id))).rowcount
        )

    async def use(self, client_id: str, jti: str, expires: datetime) -> bool:
        """Note that an assertion was shown; False if it was before."""
        row = {"digest": exact_key(f"{client_id}\n{jti}"), "expires": expires}
        return bool(await self._tx.insert_missing(assertions, [row]))

    async def drop(self, before: datetime) -> int:
        """Drop assertions that ended before a moment; return how many."""
        return (await self._tx.execute(delete(assertions).where(assertions.c.expires < before))).rowcount


def _record(row: Row[Any]) -> ClientRecord:
    return ClientRecord(**{**row._mapping, "properties": tuple(row.properties)})
