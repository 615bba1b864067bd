"""VOs, groups and users."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, Table, and_, bindparam, delete, insert, or_, select

from dirac.db.transaction import Transaction
from dirac.systems.identity.models import RegisteredGroup, RegisteredHost, RegisteredUser, RegisteredVO
from dirac.systems.identity.ports import Bearer, Member, RegistryChanges
from dirac.systems.identity.store.revocations import RevocationStore
from dirac.systems.identity.store.tables import certificates, groups, users, vos

_CHUNK = 500
_HOST = "host:"


MEMBER_COLUMNS = (
    users.c.vo.label("member_vo"),
    users.c.sub.label("member_sub"),
    users.c.username,
    users.c.suspended,
    users.c.groups,
    groups.c.name.label("group_name"),
    groups.c.properties.label("group_properties"),
)
"""A user, with each group of the VO, of which `member_of` takes those that are the user's."""

# Made once: to make a statement costs more than to run it. Groups come with the user, for one question less.
_MEMBER = select(*MEMBER_COLUMNS).select_from(users.outerjoin(groups, groups.c.vo == users.c.vo))
_BY_SUBJECT = _MEMBER.where(users.c.vo == bindparam("b_vo"), users.c.sub == bindparam("b_name"))
_BY_NAME = _MEMBER.where(users.c.vo == bindparam("b_vo"), users.c.username == bindparam("b_name"))


class RegistryStore:
    """Implements `dirac.systems.identity.ports.RegistryRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def vos(self) -> list[RegisteredVO]:
        """Return everything, in order of names."""
        found: defaultdict[str, list[RegisteredUser]] = defaultdict(list)
        names: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for row in await self._tx.execute(select(certificates).where(certificates.c.vo != "")):
            names[row.vo, row.sub].append(row.dn)
        for row in await self._tx.execute(select(users).order_by(users.c.vo, users.c.username)):
            found[row.vo].append(
                RegisteredUser(
                    username=row.username,
                    sub=row.sub,
                    groups=tuple(row.groups),
                    suspended=row.suspended,
                    dns=tuple(sorted(names.get((row.vo, row.sub), ()))),
                )
            )
        return [
            msgspec.structs.replace(vo, users=tuple(found.get(vo.name, ()))) for vo in await self.outlines()
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
        member = await self._member(_BY_SUBJECT, vo, sub)
        return member if member is not None and (member.vo, member.sub) == (vo, sub) else None

    async def member_called(self, vo: str, *, username: str) -> Member | None:
        """Return a user by name."""
        member = await self._member(_BY_NAME, vo, username)
        return member if member is not None and (member.vo, member.username) == (vo, username) else None

    async def names(self, subjects: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return the names of users, by VO and subject."""
        found = {}
        by_vo: defaultdict[str, set[str]] = defaultdict(set)
        for vo, sub in subjects:
            by_vo[vo].add(sub)
        wanted = [and_(users.c.vo == vo, users.c.sub.in_(subs)) for vo, subs in by_vo.items()]
        if wanted:
            query = select(users.c.vo, users.c.sub, users.c.username).where(or_(*wanted))
            found = {(row.vo, row.sub): row.username for row in await self._tx.execute(query)}
        return found

    async def hosts(self) -> list[RegisteredHost]:
        """Return all hosts, in order of names."""
        rows = await self._tx.execute(select(certificates).where(certificates.c.vo == ""))
        found = (RegisteredHost(row.sub.removeprefix(_HOST), row.dn, tuple(row.properties)) for row in rows)
        return sorted(found, key=lambda host: host.name)

    async def bearers(self, dn: str) -> list[Bearer]:
        """Return who has a certificate of that name: one for each VO, or one host."""
        same = and_(users.c.vo == certificates.c.vo, users.c.sub == certificates.c.sub)
        statement = (
            select(certificates, users.c.username, users.c.groups)
            .outerjoin(users, same)
            .where(certificates.c.digest == _digest(dn))
            .order_by(certificates.c.vo)
        )
        return [
            Bearer(
                vo=row.vo,
                sub=row.sub,
                username=row.username or row.sub.removeprefix(_HOST),
                groups=tuple(row.groups or ()),
                properties=tuple(row.properties),
            )
            for row in await self._tx.execute(statement)
        ]

    async def change(self, changes: RegistryChanges) -> None:
        """Drop first, then put."""
        for start in range(0, len(changes.drop_vos), _CHUNK):
            part = changes.drop_vos[start : start + _CHUNK]
            await self._tx.execute(delete(vos).where(vos.c.name.in_(part)))
        await self._drop(groups, "name", changes.drop_groups)
        await self._drop(users, "sub", changes.drop_users)
        gone = [*changes.drop_users, *(("", f"{_HOST}{name}") for name in changes.drop_hosts)]
        await self._drop(certificates, "sub", gone)
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
            for row in rows:
                del row["dns"]  # in a table of their own
            await self._tx.execute(insert(users), rows)
        rows = [_named(vo, user.sub, dn) for vo, user in changes.put_users for dn in user.dns]
        rows += [_named("", f"{_HOST}{host.name}", host.dn, host.properties) for host in changes.put_hosts]
        if rows:
            await self._tx.execute(insert(certificates), rows)
        await RevocationStore(self._tx).put(changes.revoke)

    async def _drop(self, table: Table, column: str, pairs: Sequence[tuple[str, str]]) -> None:
        by_vo: defaultdict[str, list[str]] = defaultdict(list)
        for vo, name in pairs:
            by_vo[vo].append(name)
        for vo, wanted in by_vo.items():
            for start in range(0, len(wanted), _CHUNK):
                part = wanted[start : start + _CHUNK]
                await self._tx.execute(delete(table).where(table.c.vo == vo, table.c[column].in_(part)))

    async def _member(self, statement: Select[Any], vo: str, name: str) -> Member | None:
        rows = (await self._tx.execute(statement, {"b_vo": vo, "b_name": name})).all()
        return member_of(rows) if rows else None


def member_of(rows: Sequence[Row[Any]]) -> Member:
    """Return the user of rows with `MEMBER_COLUMNS`."""
    user = rows[0]
    return Member(
        vo=user.member_vo,
        sub=user.member_sub,
        username=user.username,
        suspended=user.suspended,
        groups={row.group_name: tuple(row.group_properties) for row in rows if row.group_name in user.groups},
    )


def _digest(dn: str) -> str:
    return hashlib.sha256(dn.encode()).hexdigest()


def _named(vo: str, sub: str, dn: str, properties: Sequence[str] = ()) -> dict[str, object]:
    return {"digest": _digest(dn), "vo": vo, "sub": sub, "dn": dn, "properties": list(properties)}
