"""What outside providers say of people, and which acceptable-use policies people have accepted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, or_, select, update

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.accounts import AccountRecord
from dirac.systems.identity.store.digests import exact_key
from dirac.systems.identity.store.tables import accounts, consents

_CHUNK = 500
_KEY = ("vo", "sub_digest")


class AccountStore:
    """Implements `dirac.systems.identity.ports.accounts.AccountRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def find(self, vo: str, sub: str) -> AccountRecord | None:
        """Return what is known of a person."""
        query = select(accounts).where(accounts.c.vo == vo, accounts.c.sub_digest == exact_key(sub))
        row = (await self._tx.execute(query)).first()
        # Some engines compare without regard to case; identity is exact.
        if row is None or row.vo != vo:
            return None
        known = dict(row._mapping) | {"groups": tuple(row.groups)}
        del known["sub_digest"]
        return AccountRecord(**known)

    async def put(self, record: AccountRecord) -> None:
        """Keep what is known of a person now."""
        row = msgspec.structs.asdict(record)
        row |= {"sub_digest": exact_key(record.sub), "groups": list(record.groups)}
        await self._tx.put(accounts, row, changing=[name for name in row if name not in _KEY])

    async def claim(self, vo: str, sub: str, now: datetime, until: datetime) -> bool:
        """Be the one who asks the provider; False if somebody else is at it."""
        free = or_(accounts.c.asking.is_(None), accounts.c.asking <= now)
        return await self._change(vo, sub, free, asking=until) == 1

    async def release(self, vo: str, sub: str) -> None:
        """Let others ask again."""
        await self._change(vo, sub, asking=None)

    async def regrant(self, vo: str, sub: str, sealed: bytes) -> None:
        """Keep what lets us ask the provider again, in the place of what did so before."""
        stands = accounts.c.sealed.is_not(None)  # else it was ended in between
        await self._change(vo, sub, stands, sealed=sealed)

    async def end(self, vo: str, sub: str) -> None:
        """Forget how to ask: the provider does not stand by the login any more."""
        await self._change(vo, sub, asking=None, sealed=None)

    async def of_issuer(self, vo: str, issuer: str, until: datetime) -> list[tuple[str, bool]]:
        """Return subjects of whom a provider spoke last until then, and whether they are suspended."""
        query = select(accounts.c.sub, accounts.c.suspended, accounts.c.issuer)
        found = await self._tx.execute(
            query.where(accounts.c.vo == vo, accounts.c.checked <= until).order_by(accounts.c.sub_digest)
        )
        return [(row.sub, row.suspended) for row in found if row.issuer == issuer]

    async def suspend(self, vo: str, subs: Sequence[str], *, suspended: bool) -> None:
        """Suspend people, or take it back."""
        digests = sorted(exact_key(sub) for sub in subs)
        for start in range(0, len(digests), _CHUNK):
            part = digests[start : start + _CHUNK]
            await self._tx.execute(
                update(accounts)
                .where(accounts.c.vo == vo, accounts.c.sub_digest.in_(part))
                .values(suspended=suspended)
            )

    async def accepted(self, vo: str, sub: str, version: str) -> bool:
        """Tell whether somebody has accepted a version of the acceptable-use policy."""
        query = select(consents.c.vo, consents.c.version).where(
            consents.c.vo == vo, consents.c.sub_digest == exact_key(sub), consents.c.version == version
        )
        return any((row.vo, row.version) == (vo, version) for row in await self._tx.execute(query))

    async def accept(self, vo: str, sub: str, version: str, now: datetime) -> bool:
        """Keep that somebody has accepted it; False if that was known."""
        row = {"vo": vo, "sub_digest": exact_key(sub), "version": version, "sub": sub, "accepted": now}
        return await self._tx.insert_missing(consents, [row]) == 1

    async def _change(self, vo: str, sub: str, *conditions: ColumnElement[bool], **values: object) -> int:
        """Change somebody's account if it is as the conditions say; return how many are: one or none."""
        changed = await self._tx.execute(
            update(accounts)
            .where(accounts.c.vo == vo, accounts.c.sub_digest == exact_key(sub), *conditions)
            .values(**values)
        )
        return changed.rowcount
