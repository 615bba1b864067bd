"""Proxies that were delegated to this installation."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from sqlalchemy import ColumnElement, delete, func, insert, select

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.certificates import ProxyRecord, ProxyRequestRecord
from dirac.systems.identity.store.tables import proxies, proxy_requests

_OWNER = ("vo", "sub", "dirac_group")
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
_CHUNK = 500


class ProxyStore:
    """Implements `dirac.systems.identity.ports.certificates.ProxyRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def ask(self, record: ProxyRequestRecord) -> None:
        """Keep a key that waits to be signed."""
        await self._tx.execute(insert(proxy_requests).values(msgspec.structs.asdict(record)))

    async def waiting(self, vo: str, sub: str, now: datetime) -> int:
        """Return how many keys of a user's wait."""
        mine = (proxy_requests.c.vo == vo, proxy_requests.c.sub == sub, proxy_requests.c.expires > now)
        statement = select(func.count()).select_from(proxy_requests).where(*mine)
        return int((await self._tx.execute(statement)).scalar_one())

    async def asked(self, proxy_id: str) -> ProxyRequestRecord | None:
        """Return a key that waits to be signed."""
        statement = select(proxy_requests).where(proxy_requests.c.proxy_id == proxy_id)
        row = (await self._tx.execute(statement)).first()
        return None if row is None else ProxyRequestRecord(**row._mapping)

    async def put(self, record: ProxyRecord) -> None:
        """Keep a proxy in place of the one of the same VO, user and group; its key waits no longer."""
        row = msgspec.structs.asdict(record)
        await self._tx.put(proxies, row, changing=[name for name in row if name not in _OWNER])
        await self._tx.execute(delete(proxy_requests).where(proxy_requests.c.proxy_id == record.proxy_id))

    async def find(self, proxy_id: str) -> ProxyRecord | None:
        """Return a proxy."""
        found = await self._all(proxies.c.proxy_id == proxy_id)
        return found[0] if found else None

    async def of(self, vo: str, sub: str | None, now: datetime) -> list[ProxyRecord]:
        """Return what is good of a user's, or of a whole VO's, in order of users and groups."""
        whose = [proxies.c.vo == vo, *([proxies.c.sub == sub] if sub is not None else [])]
        found = await self._all(*whose, proxies.c.expires > now)
        # Some engines compare without regard to case; identity is exact.
        return [one for one in found if one.vo == vo and sub in (None, one.sub)]

    async def remove_of(self, vo: str, sub: str | None) -> list[ProxyRecord]:
        """Remove what is kept of a user's, or of a whole VO's, and what waits; return what was kept."""
        kept = await self.of(vo, sub, _ALWAYS)
        for start in range(0, len(kept), _CHUNK):
            names = [one.proxy_id for one in kept[start : start + _CHUNK]]
            await self._tx.execute(delete(proxies).where(proxies.c.proxy_id.in_(names)))
        whose = [proxy_requests.c.vo == vo, *([proxy_requests.c.sub == sub] if sub is not None else [])]
        await self._tx.execute(delete(proxy_requests).where(*whose))
        return kept

    async def remove(self, proxy_id: str) -> bool:
        """Remove a proxy; False if it is not there."""
        statement = delete(proxies).where(proxies.c.proxy_id == proxy_id)
        return (await self._tx.execute(statement)).rowcount > 0

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
        dropped = 0
        for table in (proxies, proxy_requests):
            dropped += (await self._tx.execute(delete(table).where(table.c.expires < before))).rowcount
        return dropped

    async def _all(self, *where: ColumnElement[bool]) -> list[ProxyRecord]:
        order = (proxies.c.vo, proxies.c.sub, proxies.c.dirac_group)
        rows = await self._tx.execute(select(proxies).where(*where).order_by(*order))
        return [ProxyRecord(**row._mapping) for row in rows]
