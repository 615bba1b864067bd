"""Signing keys, sealed."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import delete, insert, select, update

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.tokens import KeyRecord
from dirac.systems.identity.store.tables import keys


class KeyStore:
    """Implements `dirac.systems.identity.ports.tokens.KeyRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def keys(self) -> list[KeyRecord]:
        """Return all keys, the one that signs first first."""
        rows = await self._tx.execute(select(keys).order_by(keys.c.signs_from, keys.c.kid))
        return [KeyRecord(**row._mapping) for row in rows]

    async def add(self, record: KeyRecord) -> None:
        """Add a key."""
        await self._tx.execute(insert(keys).values(msgspec.structs.asdict(record)))

    async def retire(self, before: datetime, expires: datetime) -> None:
        """Give an end to all keys that sign from before a moment and have none."""
        await self._tx.execute(
            update(keys).where(keys.c.signs_from < before, keys.c.expires.is_(None)).values(expires=expires)
        )

    async def drop(self, before: datetime) -> int:
        """Drop keys whose end is before a moment; return how many."""
        return (await self._tx.execute(delete(keys).where(keys.c.expires < before))).rowcount
