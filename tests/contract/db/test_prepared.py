"""Statements that come again are prepared once on MariaDB, and those that do not are not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Column, Integer, String, Table, bindparam, insert, select, text

from dirac.db.bounds import bounded
from dirac.db.engine import Database
from dirac.db.tables import new_metadata
from dirac.db.transaction import Transaction
from dirac.db.types import BigId

from .made import with_tables

metadata = new_metadata()
things = Table(
    "prepared_thing",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("vo", String(64), nullable=False),
    Column("size", Integer),
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    if not database_url.startswith("mariadb"):
        pytest.skip("the others' drivers prepare everything")
    async with with_tables(database_url, metadata, pool_size=1) as database:
        yield database


async def _told(tx: Transaction, name: str) -> int:
    row = (await tx.execute(text(f"SHOW SESSION STATUS LIKE 'Com_stmt_{name}'"))).one()
    return int(row[1])


async def _deeds(tx: Transaction, number: int) -> None:
    await tx.execute(insert(things), {"vo": "astro", "size": number})
    found = select(things.c.size).where(things.c.vo == bindparam("vo"))
    assert number in (await tx.execute(found, {"vo": "astro"})).scalars().all()
    assert (await bounded(tx, found.params(vo="astro").limit(5), 5, "wait")).first() is not None


async def test_what_comes_again_is_prepared_once(database: Database) -> None:
    async with database.write() as tx:
        await _told(tx, "prepare")
        await _deeds(tx, 1)
        before = await _told(tx, "prepare"), await _told(tx, "execute")
        for number in range(2, 12):
            await _deeds(tx, number)
        after = await _told(tx, "prepare"), await _told(tx, "execute")
    assert after[0] - before[0] <= 1  # to ask for the number of executions
    assert after[1] - before[1] >= 30


async def test_what_does_not_come_again_is_not_prepared(database: Database) -> None:
    async with database.write() as tx:
        before = await _told(tx, "prepare")
        for number in range(20):
            rows = [(size,) for size in range(number, number + 2)]
            await tx.insert_all(things, ("vo", "size"), {"vo": f"vo{number}"}, rows)
            await tx.insert_numbered(things, ("vo", "size"), {"vo": f"vo{number}"}, rows)
        many = [{"vo": "astro", "size": size} for size in range(3)]
        await tx.execute(insert(things), many)
        await tx.put_all(things, [row | {"id": row["size"]} for row in many], ["size"])
        for number in range(100, 120):
            wanted = select(things.c.id).where(things.c.size.in_(range(number)))
            await tx.execute(wanted)
        assert await _told(tx, "prepare") - before <= 1
