"""Secrets of pilots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import delete, select, update

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports import PilotSecretRecord
from dirac.systems.identity.store.tables import pilot_secrets as secrets


class PilotSecretStore:
    """Implements `dirac.systems.identity.ports.PilotSecretRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, stamp: str, vo: str, secret_digest: str, expires: datetime) -> None:
        """Add the secret of one pilot; a second time changes nothing."""
        await self.add_all([PilotSecretRecord(stamp, vo, secret_digest, expires)])

    async def add_all(self, records: Sequence[PilotSecretRecord]) -> None:
        """Add the secrets of many pilots; those that are there stay as they are."""
        await self._tx.insert_missing(secrets, [msgspec.structs.asdict(record) for record in records])

    async def find(self, stamp: str) -> PilotSecretRecord | None:
        """Return the secret of a pilot."""
        row = (await self._tx.execute(select(secrets).where(secrets.c.stamp == stamp))).first()
        return None if row is None or row.stamp != stamp else PilotSecretRecord(**row._mapping)

    async def use(self, stamp: str, now: datetime) -> bool:
        """Use a secret for the first time; False if somebody else did."""
        used = await self._tx.execute(
            update(secrets).where(secrets.c.stamp == stamp, secrets.c.used.is_(None)).values(used=now)
        )
        return used.rowcount == 1

    async def drop(self, before: datetime) -> int:
        """Drop secrets that ended before a moment; return how many."""
        return (await self._tx.execute(delete(secrets).where(secrets.c.expires < before))).rowcount
