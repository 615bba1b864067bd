"""Rows of another table as one value of a row."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Column, String, Table, insert, select

from dirac.db.engine import Database
from dirac.db.json_objects import ObjectOf
from dirac.db.tables import new_metadata
from dirac.db.types import Json

from .made import with_tables

metadata = new_metadata()
boxes = Table("json_box", metadata, Column("name", String(64), primary_key=True))
things = Table(
    "json_thing",
    metadata,
    Column("box", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", Json, nullable=False),
)
FULL = {
    "a": [],
    "b's": ["x", 'y"z'],
    'c"\\': {"d": [1, None, True]},
    "Zo\u00eb \u2603": "100 %s %%",
    "e": 0.5,
}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with with_tables(database_url, metadata) as database:
        yield database


async def test_rows_come_as_one_object_as_they_are(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute(insert(boxes), [{"name": "full"}, {"name": "empty"}])
        rows = [{"box": "full", "name": name, "value": value} for name, value in FULL.items()]
        await tx.execute(insert(things), rows)
    inside = select(ObjectOf(things.c.name, things.c.value)).where(things.c.box == boxes.c.name)
    query = select(boxes.c.name, inside.correlate(boxes).scalar_subquery()).order_by(boxes.c.name)
    async with database.read() as tx:
        found = {row[0]: row[1] for row in await tx.execute(query)}
    assert found["full"] == FULL
    assert not found["empty"]
