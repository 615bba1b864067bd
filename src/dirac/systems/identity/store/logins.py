"""Logins in a browser that have more than one step."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import delete, insert, select, update

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.logins import LoginRecord, LoginStage
from dirac.systems.identity.store.tables import logins


class LoginStore:
    """Implements `dirac.systems.identity.ports.logins.LoginRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, record: LoginRecord) -> None:
        """Add a login."""
        await self._tx.execute(insert(logins).values(msgspec.structs.asdict(record)))

    async def find(self, state_digest: str) -> LoginRecord | None:
        """Return a login."""
        row = (await self._tx.execute(select(logins).where(logins.c.state_digest == state_digest))).first()
        return None if row is None else LoginRecord(**row._mapping)

    async def move(self, state_digest: str, old: LoginStage, new: LoginStage, sub: str | None) -> bool:
        """Take a login from one stage to the next; False if it is not in the first one."""
        moved = await self._tx.execute(
            update(logins)
            .where(logins.c.state_digest == state_digest, logins.c.stage == old)
            .values(stage=new, sub=sub)
        )
        return moved.rowcount == 1

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
        return (await self._tx.execute(delete(logins).where(logins.c.expires < before))).rowcount
