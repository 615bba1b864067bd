"""VOs, groups and users."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
)

from dirac.db.transaction import Transaction
from dirac.systems.identity.models import RegisteredGroup, RegisteredHost, RegisteredUser, RegisteredVO
from dirac.systems.identity.ports.registry import Bearer, Member, RegistryChanges
from dirac.systems.identity.store.digests import exact_key
from dirac.systems.identity.store.members import (
    groups_of,
    member_beside,
    member_key,
    memberships,
    with_member,
)
from dirac.systems.identity.store.revocations import RevocationStore
from dirac.systems.identity.store.tables import certificates, groups, users, vos

_CHUNK = 500
_HOST = "host:"


# Made once: to make a statement costs more than to run it.
_BY_SUBJECT = with_member(vos, vos.c.name, bindparam("b_sub")).where(vos.c.name == bindparam("b_vo"))
_BY_NAME = select(users, groups_of(users.c.vo)).where(
    users.c.vo == bindparam("b_vo"), users.c.username == bindparam("b_name")
)


class RegistryStore:
    """Implements `dirac.systems.identity.ports.registry.RegistryRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def vos(self, scope: Collection[str] | None = None) -> list[RegisteredVO]:
        """Return everything of these VOs, or of all, in order of names."""
        if scope is None:
            return await self._vos(None)
        wanted = sorted(scope)
        parts = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
        return [vo for part in parts for vo in await self._vos(part)]

    async def names(self) -> list[str]:
        """Return the names of all VOs."""
        return list((await self._tx.execute(select(vos.c.name).order_by(vos.c.name))).scalars())

    async def _vos(self, scope: Sequence[str] | None) -> list[RegisteredVO]:
        found: defaultdict[str, list[RegisteredUser]] = defaultdict(list)
        dns: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        named, members = select(certificates), select(users).order_by(users.c.vo, users.c.username)
        if scope is None:
            named = named.where(certificates.c.vo != "")
        else:
            named, members = named.where(certificates.c.vo.in_(scope)), members.where(users.c.vo.in_(scope))
        for row in await self._tx.execute(named):
            dns[row.vo, row.sub].append(row.dn)
        for row in await self._tx.execute(members):
            found[row.vo].append(
                RegisteredUser(
                    username=row.username,
                    sub=row.sub,
                    groups=tuple(row.groups),
                    suspended=row.suspended,
                    dns=tuple(sorted(dns.get((row.vo, row.sub), ()))),
                )
            )
        return [
            msgspec.structs.replace(vo, users=tuple(found.get(vo.name, ())))
            for vo in await self._outlines(scope)
        ]

    async def outlines(self, vo: str | None = None) -> list[RegisteredVO]:
        """Return all VOs, or the one of that name, with their groups and without their users."""
        return await self._outlines(None if vo is None else [vo])

    async def _outlines(self, scope: Sequence[str] | None) -> list[RegisteredVO]:
        which_vos, which_groups = select(vos).order_by(vos.c.name), select(groups).order_by(groups.c.name)
        if scope is not None:
            which_vos = which_vos.where(vos.c.name.in_(scope))
            which_groups = which_groups.where(groups.c.vo.in_(scope))
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
            if scope is None or row.name in scope  # some engines compare without regard to case
        ]

    async def member(self, vo: str, *, sub: str) -> Member | None:
        """Return a user by subject: one that is declared, or else one whom the VO's provider knows."""
        given = {"b_vo": vo, "b_sub": sub, **member_key(sub)}
        row = (await self._tx.execute(_BY_SUBJECT, given)).first()
        return None if row is None else member_beside(row, vo, sub)

    async def member_called(self, vo: str, *, username: str) -> Member | None:
        """Return a user by name."""
        user = (await self._tx.execute(_BY_NAME, {"b_vo": vo, "b_name": username})).first()
        if user is None or (user.vo, user.username) != (vo, username):
            return None
        mine = memberships(user.vo_groups, user.groups)
        return Member(user.vo, user.sub, user.username, user.suspended, mine)

    async def user_names(self, subjects: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
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
            .where(certificates.c.digest == exact_key(dn))
            .order_by(certificates.c.vo)
        )
        return [
            Bearer(
                vo=row.vo,
                sub=row.sub,
                username=row.username or row.sub.removeprefix(_HOST),
                groups=tuple(row.groups or ()),
                properties=tuple(row.properties),
                since=row.since,
            )
            for row in await self._tx.execute(statement)
        ]

    async def certificates(self, vo: str, sub: str | None) -> int:
        """Count the names of certificates of a user, or of all users of a VO."""
        whose = [certificates.c.vo == vo, *([certificates.c.sub == sub] if sub is not None else [])]
        counted = select(func.count()).select_from(certificates).where(*whose)
        return int((await self._tx.execute(counted)).scalar_one())

    async def change(self, changes: RegistryChanges) -> None:
        """Drop first, then put."""
        for start in range(0, len(changes.drop_vos), _CHUNK):
            part = changes.drop_vos[start : start + _CHUNK]
            await self._tx.execute(delete(vos).where(vos.c.name.in_(part)))
        await self._drop(groups, "name", changes.drop_groups)
        await self._drop(users, "sub", changes.drop_users)
        known = await self._since(changes.drop_users)
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
        for row in rows:
            row["since"] = known.get((row["vo"], row["digest"]), self._tx.now)
        if rows:
            await self._tx.execute(insert(certificates), rows)
        await RevocationStore(self._tx).put(changes.revoke)

    async def _since(self, people: Sequence[tuple[str, str]]) -> dict[tuple[str, str], datetime | None]:
        """Return since when the names of certificates of users are there, by VO and digest."""
        found: dict[tuple[str, str], datetime | None] = {}
        columns = [certificates.c.vo, certificates.c.digest, certificates.c.since]
        for whose in _by_vo(certificates, "sub", people):
            for row in await self._tx.execute(select(*columns).where(whose)):
                found[row.vo, row.digest] = row.since
        return found

    async def _drop(self, table: Table, column: str, pairs: Sequence[tuple[str, str]]) -> None:
        for whose in _by_vo(table, column, pairs):
            await self._tx.execute(delete(table).where(whose))


def _by_vo(table: Table, column: str, pairs: Sequence[tuple[str, str]]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that find rows by pairs of a VO and a name, together all of them."""
    by_vo: defaultdict[str, list[str]] = defaultdict(list)
    for vo, name in pairs:
        by_vo[vo].append(name)
    for vo, wanted in by_vo.items():
        for start in range(0, len(wanted), _CHUNK):
            yield and_(table.c.vo == vo, table.c[column].in_(wanted[start : start + _CHUNK]))


def _named(vo: str, sub: str, dn: str, properties: Sequence[str] = ()) -> dict[str, Any]:
    return {"digest": exact_key(dn), "vo": vo, "sub": sub, "dn": dn, "properties": list(properties)}
