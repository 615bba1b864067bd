"""Who a row is about, found with the row itself: a declared user, or else an account of a provider."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Label, Row, Select, Table, and_, bindparam, select

from dirac.db.json_objects import ObjectOf
from dirac.systems.identity.ports.registry import Member
from dirac.systems.identity.store.digests import exact_key
from dirac.systems.identity.store.tables import accounts, groups, users


def with_member(table: Table, vo: Column[str], sub: ColumnElement[str]) -> Select[Any]:
    """Return the statement that reads rows of a table, each with the user of it and the groups of the VO.

    Args:
        table: Of which rows.
        vo: The VO of a row.
        sub: The subject of a row.

    It takes the parameters of `member_key`; `member_beside` reads what it finds.
    """
    same_user = and_(users.c.vo == vo, users.c.sub == sub)
    same_account = and_(accounts.c.vo == vo, accounts.c.sub_digest == bindparam("b_digest"))
    user = [
        *(users.c.vo.label("user_vo"), users.c.sub.label("user_sub"), users.c.username.label("user_name")),
        *(users.c.groups.label("user_groups"), users.c.suspended.label("user_suspended")),
    ]
    account = [
        *(accounts.c.vo.label("account_vo"), accounts.c.username.label("account_name")),
        *(accounts.c.groups.label("account_groups"), accounts.c.suspended.label("account_suspended")),
    ]
    source = table.outerjoin(users, same_user).outerjoin(accounts, same_account)
    return select(table, *user, *account, groups_of(vo)).select_from(source)


def groups_of(vo: Column[str]) -> Label[Any]:
    """Return the column with all groups of a row's VO: their properties by name, or None."""
    found = select(ObjectOf(groups.c.name, groups.c.properties)).where(groups.c.vo == vo)
    return found.correlate(vo.table).scalar_subquery().label("vo_groups")


def member_key(sub: str) -> dict[str, str]:
    """Return the parameters of the statement for rows of one subject."""
    return {"b_digest": exact_key(sub)}


def member_beside(row: Row[Any], vo: str, sub: str) -> Member | None:
    """Return the user of such a row; None if there is none any more."""
    known = row.account_vo == vo
    # Some engines compare without regard to case.
    declared = (row.user_vo, row.user_sub) == (vo, sub)
    if not declared and not known:
        return None
    mine = row.user_groups if declared else row.account_groups
    return Member(
        vo=vo,
        sub=sub,
        username=row.user_name if declared else row.account_name,
        suspended=bool((declared and row.user_suspended) or (known and row.account_suspended)),
        groups=memberships(row.vo_groups, mine),
        declared=declared,
        outside=known,
    )


def memberships(
    known: Mapping[str, Sequence[str]] | None, mine: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return the groups that somebody is in, with their properties, of all that the VO has."""
    return {name: tuple(properties) for name, properties in (known or {}).items() if name in mine}
