"""Secrets of pilots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Table, delete, func, select, update

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.pilots import IssuedSecretRecord, PilotSecretRecord, Reach, SecretCount
from dirac.systems.identity.store.tables import pilot_secrets as secrets
from dirac.systems.identity.store.tables_tokens import issued_secrets as issued


class PilotSecretStore:
    """Implements `dirac.systems.identity.ports.pilots.PilotSecretRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(
        self, stamp: str, vo: str, secret_digest: str, expires: datetime, *, site: str = "", ce: str = ""
    ) -> None:
        """Add the secret of one pilot; a second time changes nothing."""
        await self.add_all([PilotSecretRecord(stamp, vo, secret_digest, expires, site=site, ce=ce)])

    async def add_all(self, records: Sequence[PilotSecretRecord]) -> int:
        """Add the secrets of many pilots; those that are there stay as they are. Return how many were new."""
        rows = [msgspec.structs.asdict(record) for record in records]
        return await self._tx.insert_missing(secrets, rows)

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

    async def end(self, reach: Reach, now: datetime) -> int:
        """Let secrets expire; return how many were good and unused."""
        conditions = [secrets.c.expires > now, *within(secrets, reach)]
        if reach.stamp:
            conditions.append(secrets.c.stamp == reach.stamp)
        unused = select(func.count()).where(secrets.c.used.is_(None), *conditions)
        count = (await self._tx.execute(unused)).scalar_one()
        await self._tx.execute(update(secrets).where(*conditions).values(expires=now))
        return int(count)

    async def places(self, vo: str | None, site: str | None, now: datetime) -> list[SecretCount]:
        """Count the secrets that are not over, by VO, site and whether they were used."""
        place = (secrets.c.vo, secrets.c.site)
        query = (
            select(*place, func.count(secrets.c.used).label("used"), func.count().label("total"))
            .where(secrets.c.expires > now, *within(secrets, Reach(vo or "", site or "")))
            .group_by(*place)
        )
        rows = await self._tx.execute(query)
        return [SecretCount(row.vo, row.site or "", row.used, row.total - row.used) for row in rows]

    async def held(
        self, vo: str | None, site: str | None, now: datetime, limit: int
    ) -> list[PilotSecretRecord]:
        """Return the secrets that were used and are not over, the latest first."""
        query = (
            select(secrets)
            .where(
                secrets.c.used.is_not(None),
                secrets.c.expires > now,
                *within(secrets, Reach(vo or "", site or "")),
            )
            .order_by(secrets.c.used.desc(), secrets.c.stamp)
            .limit(limit)
        )
        return [PilotSecretRecord(**row._mapping) for row in await self._tx.execute(query)]

    async def drop(self, before: datetime) -> int:
        """Drop secrets that ended before a moment; return how many."""
        return (await self._tx.execute(delete(secrets).where(secrets.c.expires < before))).rowcount


class IssuedSecretStore:
    """Implements `dirac.systems.identity.ports.pilots.IssuedSecretRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, records: Sequence[IssuedSecretRecord]) -> None:
        """Add secrets."""
        await self._tx.insert_missing(issued, [msgspec.structs.asdict(record) for record in records])

    async def find(self, secret_id: str) -> IssuedSecretRecord | None:
        """Return a secret."""
        row = (await self._tx.execute(select(issued).where(issued.c.secret_id == secret_id))).first()
        return None if row is None else IssuedSecretRecord(**row._mapping)

    async def use(self, secret_id: str, now: datetime) -> bool:
        """Count one more use; False if there were enough of them, or it has expired."""
        good = (issued.c.used < issued.c.uses, issued.c.expires > now)
        used = update(issued).where(issued.c.secret_id == secret_id, *good).values(used=issued.c.used + 1)
        return (await self._tx.execute(used)).rowcount == 1

    async def good(self, vo: str | None, site: str | None, now: datetime) -> list[IssuedSecretRecord]:
        """Return those that may still be used, of a VO or of all, at a site or everywhere."""
        query = select(issued).where(
            issued.c.used < issued.c.uses,
            issued.c.expires > now,
            *within(issued, Reach(vo or "", site or "")),
        )
        rows = await self._tx.execute(query.order_by(issued.c.vo, issued.c.site, issued.c.secret_id))
        return [IssuedSecretRecord(**row._mapping) for row in rows]

    async def end(self, reach: Reach, now: datetime) -> int:
        """Let secrets expire; return how many were good."""
        good = (issued.c.used < issued.c.uses, issued.c.expires > now, *within(issued, reach))
        return (await self._tx.execute(update(issued).where(*good).values(expires=now))).rowcount

    async def drop(self, before: datetime) -> int:
        """Drop secrets that ended before a moment; return how many."""
        return (await self._tx.execute(delete(issued).where(issued.c.expires < before))).rowcount


def within(table: Table, reach: Reach) -> list[ColumnElement[bool]]:
    """Return the conditions for the VO and the site of a reach."""
    named = (("vo", reach.vo), ("site", reach.site))
    return [table.c[column] == value for column, value in named if value]
