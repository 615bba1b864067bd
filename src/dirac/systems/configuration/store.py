"""The tables of the configuration, and the queries on them."""

from __future__ import annotations

import msgspec
from sqlalchemy import Column, Integer, String, Table, select

from dirac.core.errors import InternalError
from dirac.db.tables import new_metadata
from dirac.db.transaction import Transaction
from dirac.db.types import LongText, UtcDateTime
from dirac.db.unit import SystemUnit
from dirac.systems.configuration.models import Snapshot, Tree, Version

metadata = new_metadata()

versions = Table(
    "configuration_version",
    metadata,
    # Counted by the logic. That a number can be taken once makes one of two concurrent applications fail.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Column("author", String(400), nullable=False),
    Column("comment", LongText, nullable=False),
    Column("text", LongText, nullable=False),
    # The tree's normal form: as text, because the digest is of these very characters.
    Column("tree", LongText, nullable=False),
)

_LISTED = [versions.c[name] for name in Version.__struct_fields__]


class VersionStore:
    """Implements `ports.Versions` in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def head(self) -> tuple[int, str]:
        """Return number and digest of the newest version; 0 and nothing if there is none."""
        newest = select(versions.c.number, versions.c.digest).order_by(versions.c.number.desc()).limit(1)
        row = (await self._tx.execute(newest)).first()
        return (0, "") if row is None else (row.number, row.digest)

    async def snapshot(self, number: int | None = None) -> Snapshot | None:
        """Return one version, or the newest; None if there is none.

        Raises:
            InternalError: It was written by another release, and this one cannot read it.
        """
        wanted = select(versions.c.number, versions.c.digest, versions.c.time, versions.c.tree)
        if number is None:
            wanted = wanted.order_by(versions.c.number.desc()).limit(1)
        else:
            wanted = wanted.where(versions.c.number == number)
        row = (await self._tx.execute(wanted)).first()
        if row is None:
            return None
        try:
            tree = msgspec.json.decode(row.tree, type=Tree)
        except msgspec.ValidationError as error:
            raise InternalError(
                f"version {row.number} of the configuration was made by another release: {error}"
            ) from error
        return Snapshot(version=row.number, digest=row.digest, time=row.time, tree=tree)

    async def text(self, number: int) -> str | None:
        """Return the text of a version; None if there is none."""
        found = await self._tx.execute(select(versions.c.text).where(versions.c.number == number))
        text: str | None = found.scalar_one_or_none()
        return text

    async def listed(self, limit: int, before: int | None) -> list[Version]:
        """Return the newest versions, newest first, of those with a number below `before`."""
        wanted = select(*_LISTED).order_by(versions.c.number.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(versions.c.number < before)
        return [Version(**row._mapping) for row in await self._tx.execute(wanted)]

    async def add(self, version: Version, text: str, normal_form: bytes) -> bool:
        """Keep a version; return False if there is one with that number already."""
        row = msgspec.structs.asdict(version) | {"text": text, "tree": normal_form.decode()}
        return await self._tx.insert_missing(versions, [row]) == 1


class ConfigurationUnit(SystemUnit):
    """A transaction, dressed with what the configuration needs; implements `ports.ConfigurationUnit`.

    Args:
        tx: The transaction.
        registry: The identity system's store of the same transaction, for its `Registry.replace`.
    """

    def __init__(self, tx: Transaction, registry: object = None) -> None:
        super().__init__(tx)
        self.versions = VersionStore(tx)
        self.registry = registry
