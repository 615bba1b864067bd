"""Refresh tokens: what makes a session, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, bindparam, delete, insert, select, update

from dirac.db.sqlite import AT_ONCE
from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.registry import Member
from dirac.systems.identity.ports.sessions import RefreshRecord
from dirac.systems.identity.store.members import member_beside, member_key, with_member
from dirac.systems.identity.store.tables import refresh_tokens as tokens

# Made once: to make a statement costs more than to run it.
_ADD = insert(tokens)
_FIND = select(tokens).where(tokens.c.jti == bindparam("b_jti"))
_CURRENT = select(tokens).where(tokens.c.family == bindparam("b_family"), tokens.c.state == "Active")
_ROTATE = (
    update(tokens)
    .prefix_with(AT_ONCE, dialect="sqlite")
    .where(tokens.c.jti == bindparam("b_jti"), tokens.c.state == "Active")
    .values(
        jti=bindparam("b_successor"),
        previous=bindparam("b_jti"),
        created=bindparam("b_created"),
        expires=bindparam("b_expires"),
    )
)
_HELD = with_member(tokens, tokens.c.vo, tokens.c.sub).where(tokens.c.jti == bindparam("b_jti"))
_CHUNK = 500


class SessionStore:
    """Implements `dirac.systems.identity.ports.sessions.SessionRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, record: RefreshRecord) -> None:
        """Add a token."""
        row = msgspec.structs.asdict(record) | {"scope": msgspec.to_builtins(record.scope)}
        await self._tx.execute(_ADD, row)

    async def find(self, jti: str) -> RefreshRecord | None:
        """Return a token."""
        row = (await self._tx.execute(_FIND, {"b_jti": jti})).first()
        return None if row is None else _record(row)

    async def held(self, jti: str, vo: str, sub: str) -> tuple[RefreshRecord | None, Member | None]:
        """Return a token of a user, and the user; None for what there is not."""
        row = (await self._tx.execute(_HELD, {"b_jti": jti, **member_key(sub)})).first()
        if row is None or (row.vo, row.sub) != (vo, sub):
            return None, None
        return _record(row), member_beside(row, vo, sub)

    async def current(self, family: str) -> RefreshRecord | None:
        """Return the active token of a session."""
        row = (await self._tx.execute(_CURRENT, {"b_family": family})).first()
        return None if row is None else _record(row)

    async def rotate(self, jti: str, successor: RefreshRecord) -> bool:
        """Put another in the place of an active token; False if it is not active any more."""
        given = {
            "b_jti": jti,
            "b_successor": successor.jti,
            "b_created": successor.created,
            "b_expires": successor.expires,
        }
        rotated = await self._tx.execute(_ROTATE, given)
        return rotated.rowcount == 1

    async def revoke(self, families: Sequence[str]) -> int:
        """End sessions; return how many could have been continued."""
        return sum([await self._revoke(tokens.c.family.in_(part)) for part in _parts(families)])

    async def revoke_of(self, vo: str, subs: Sequence[str] | None) -> int:
        """End all sessions of some users, or of a whole VO; return how many could have been continued."""
        if subs is None:
            return await self._revoke(tokens.c.vo == vo)
        return sum([await self._revoke(tokens.c.vo == vo, tokens.c.sub.in_(part)) for part in _parts(subs)])

    async def _revoke(self, *whose: ColumnElement[bool]) -> int:
        """End sessions: each has one active token, and what it replaced could be repeated for a while."""
        end = update(tokens).where(*whose).values(state="Revoked")
        ended = await self._tx.execute(end.where(tokens.c.state == "Active"))
        await self._tx.execute(end.where(tokens.c.state == "Rotated"))
        return ended.rowcount

    async def active(self, vo: str, sub: str | None, now: datetime) -> list[RefreshRecord]:
        """Return the active tokens of a user, or of a whole VO, newest first."""
        query = select(tokens).where(tokens.c.vo == vo, tokens.c.state == "Active", tokens.c.expires > now)
        if sub is not None:
            query = query.where(tokens.c.sub == sub)
        return [_record(row) for row in await self._tx.execute(query.order_by(tokens.c.jti.desc()))]

    async def newest(self, vo: str | None, now: datetime, limit: int) -> list[RefreshRecord]:
        """Return some of the active tokens of a VO, or of all, newest first."""
        query = select(tokens).where(tokens.c.state == "Active", tokens.c.expires > now)
        if vo is not None:
            query = query.where(tokens.c.vo == vo)
        rows = await self._tx.execute(query.order_by(tokens.c.jti.desc()).limit(limit))
        return [_record(row) for row in rows]

    async def drop(self, before: datetime) -> int:
        """Drop tokens that ended before a moment; return how many."""
        return (await self._tx.execute(delete(tokens).where(tokens.c.expires < before))).rowcount


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK))


def _record(row: Row[Any]) -> RefreshRecord:
    values = {name: getattr(row, name) for name in RefreshRecord.__struct_fields__}
    return RefreshRecord(**values | {"scope": msgspec.convert(row.scope, Scope)})
