"""Digests of passwords, and logins that failed."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import delete, select, update

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.accounts import Failures
from dirac.systems.identity.store.tables import failures, passwords

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class PasswordStore:
    """Implements `dirac.systems.identity.ports.accounts.PasswordRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def digest(self, vo: str, sub: str) -> str | None:
        """Return the digest of a user's password."""
        found = await self._tx.execute(select(passwords).where(passwords.c.vo == vo, passwords.c.sub == sub))
        row = found.first()
        # Some engines compare without regard to case; identity is exact.
        return row.digest if row is not None and (row.vo, row.sub) == (vo, sub) else None

    async def put(self, vo: str, sub: str, digest: str, now: datetime) -> None:
        """Keep the digest of a user's password."""
        row = {"vo": vo, "sub": sub, "digest": digest, "changed": now}
        await self._tx.put(passwords, row, changing=("digest", "changed"))

    async def failures(self, who: str) -> Failures:
        """Return what is known, and hold it against others until the unit ends."""
        await self._tx.put(failures, {"who": who, "count": 0, "last": _NEVER}, changing=("who",))
        query = select(failures.c.count, failures.c.last).where(failures.c.who == who)
        return Failures(**(await self._tx.execute(query)).one()._mapping)

    async def count(self, who: str, failed: Failures) -> None:
        """Keep a new count."""
        await self._tx.execute(
            update(failures).where(failures.c.who == who).values(count=failed.count, last=failed.last)
        )

    async def forget(self, who: str) -> None:
        """Forget the failures of somebody who has logged in."""
        await self._tx.execute(delete(failures).where(failures.c.who == who))

    async def drop(self, before: datetime) -> int:
        """Forget failures from before a moment; return how many."""
        return (await self._tx.execute(delete(failures).where(failures.c.last < before))).rowcount
