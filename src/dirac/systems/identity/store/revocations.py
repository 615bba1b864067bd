"""What was revoked before its end."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import delete, select

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.tokens import RevocationRecord
from dirac.systems.identity.store.tables_tokens import revocations

_COLUMNS = [revocations.c[name] for name in RevocationRecord.__struct_fields__]


class RevocationStore:
    """Implements `dirac.systems.identity.ports.tokens.RevocationRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def put(self, records: Sequence[RevocationRecord]) -> None:
        """Add revocations, or move on those of the same thing."""
        rows = {_digest(record): msgspec.structs.asdict(record) for record in records}
        if rows:
            # In one order, so that two who revoke the same things do not wait for each other.
            ordered = [{"digest": digest, **rows[digest]} for digest in sorted(rows)]
            await self._tx.put_all(revocations, ordered, ("before", "expires"))

    async def all(self, now: datetime) -> list[RevocationRecord]:
        """Return those that still mean something."""
        rows = await self._tx.execute(select(*_COLUMNS).where(revocations.c.expires > now))
        return [RevocationRecord(**row._mapping) for row in rows]

    async def drop(self, before: datetime) -> int:
        """Drop those that ended before a moment; return how many."""
        return (await self._tx.execute(delete(revocations).where(revocations.c.expires < before))).rowcount


def _digest(record: RevocationRecord) -> str:
    return hashlib.sha256("\0".join((record.kind, record.vo, record.name)).encode()).hexdigest()
