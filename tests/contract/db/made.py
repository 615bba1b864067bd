"""Tables that a test makes for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import MetaData

from dirac.db.engine import Database


@asynccontextmanager
async def with_tables(url: str, metadata: MetaData, pool_size: int = 10) -> AsyncIterator[Database]:
    """Open a database, whose user may make tables, with these in it and nothing in them."""
    database = Database(url, pool_size=pool_size)
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
    try:
        yield database
    finally:
        async with database.engine.begin() as connection:
            await connection.run_sync(metadata.drop_all)
        await database.close()
