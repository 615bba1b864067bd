"""VOs, groups and users."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, Row, Table, and_, delete, insert, select

from dirac.db.transaction import Transaction
from dirac.systems.identity.models import RegisteredGroup, RegisteredUser, RegisteredVO
from dirac.systems.identity.ports import Member, RegistryChanges
from dirac.systems.identity.store.tables import groups, users, vos

_CHUNK = 500


class RegistryStore:
    """Implements `dirac.systems.identity.ports.RegistryRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def vos(self, vo: str | None = None) -> list[RegisteredVO]:
        """Return all VOs, or the one of that name, with everything, in order of names."""
        found: defaultdict[str, list[RegisteredUser]] = defaultdict(list)
        which = select(users).order_by(users.c.vo, users.c.username)
        for row in await self._tx.execute(which if vo is None else which.where(users.c.vo == vo)):
            found[row.vo].append(
                RegisteredUser(
                    username=row.username, sub=row.sub, groups=tuple(row.groups), suspended=row.suspended
                )
            )
        return [
            msgspec.structs.replace(one, users=tuple(found.get(one.name, ())))
            for one in await self.outlines(vo)
        ]

    async def outlines(self, vo: str | None = None) -> list[RegisteredVO]:
        """Return all VOs, or the one of that name, with their groups and without their users."""
        which_vos, which_groups = select(vos).order_by(vos.c.name), select(groups).order_by(groups.c.name)
        if vo is not None:
            which_vos, which_groups = which_vos.where(vos.c.name == vo), which_groups.where(groups.c.vo == vo)
        found: defaultdict[str, list[RegisteredGroup]] = defaultdict(list)
        for row in await self._tx.execute(which_groups):
            found[row.vo].append(RegisteredGroup(name=row.name, properties=tuple(row.properties)))
        return [
            RegisteredVO(
                name=row.name,
                default_group=row.default_group,
                groups=tuple(found.get(row.name, ())),
                users=(),
                support=row.support,
                identity_provider=row.identity_provider,
            )
            for row in await self._tx.execute(which_vos)
            if vo is None or row.name == vo  # some engines compare without regard to case
        ]

    async def member(self, vo: str, *, sub: str) -> Member | None:
        """Return a user by subject."""
        row = await self._user(and_(users.c.vo == vo, users.c.sub == sub))
        return await self._member(row) if row is not None and (row.vo, row.sub) == (vo, sub) else None

    async def member_called(self, vo: str, *, username: str) -> Member | None:
        """Return a user by name."""
        row = await self._user(and_(users.c.vo == vo, users.c.username == username))
        same = row is not None and (row.vo, row.username) == (vo, username)
        return await self._member(row) if row is not None and same else None

    async def change(self, changes: RegistryChanges) -> None:
        """Drop first, then put."""
        for start in range(0, len(changes.drop_vos), _CHUNK):
            part = changes.drop_vos[start : start + _CHUNK]
            await self._tx.execute(delete(vos).where(vos.c.name.in_(part)))
        await self._drop(groups, "name", changes.drop_groups)
        await self._drop(users, "sub", changes.drop_users)
        if changes.put_vos:
            columns = [column.name for column in vos.columns]
            rows = [{name: getattr(vo, name) for name in columns} for vo in changes.put_vos]
            await self._tx.execute(insert(vos), rows)
        if changes.put_groups:
            rows = [
                {"vo": vo, "name": group.name, "properties": list(group.properties)}
                for vo, group in changes.put_groups
            ]
            await self._tx.execute(insert(groups), rows)
        if changes.put_users:
            rows = [{"vo": vo, **msgspec.structs.asdict(user)} for vo, user in changes.put_users]
            await self._tx.execute(insert(users), rows)

    async def _drop(self, table: Table, column: str, pairs: Sequence[tuple[str, str]]) -> None:
        by_vo: defaultdict[str, list[str]] = defaultdict(list)
        for vo, name in pairs:
            by_vo[vo].append(name)
        for vo, wanted in by_vo.items():
            for start in range(0, len(wanted), _CHUNK):
                part = wanted[start : start + _CHUNK]
                await self._tx.execute(delete(table).where(table.c.vo == vo, table.c[column].in_(part)))

    async def _user(self, condition: ColumnElement[bool]) -> Row[tuple[object, ...]] | None:
        return (await self._tx.execute(select(users).where(condition))).first()

    async def _member(self, row: Row[tuple[object, ...]]) -> Member:
        found = await self._tx.execute(
            select(groups).where(groups.c.vo == row.vo, groups.c.name.in_(row.groups))
        )
        return Member(
            vo=row.vo,
            sub=row.sub,
            username=row.username,
            suspended=row.suspended,
            groups={group.name: tuple(group.properties) for group in found},
        )
