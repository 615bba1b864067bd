"""The tables of the configuration, and the queries on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Column, Index, Integer, Select, String, Table, func, select, text

from dirac.core.errors import InternalError
from dirac.db.tables import new_metadata
from dirac.db.transaction import Transaction
from dirac.db.types import LongText, UtcDateTime
from dirac.db.unit import SystemUnit
from dirac.systems.configuration.models import GitState, Tree, Version
from dirac.systems.configuration.ports import WHOLE, KeptFile, KeptPart

T = TypeVar("T")

metadata = new_metadata()
_CHUNK = 500

versions = Table(
    "configuration_version",
    metadata,
    # Counted by the logic. That a number can be taken once makes one of two concurrent applications fail.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Column("author", String(400), nullable=False),
    Column("comment", LongText, nullable=False),
    # What the release before reads; empty in versions that are too large for it.
    Column("text", LongText, nullable=False),
    Column("tree", LongText, nullable=False),
    # How many files the version changed; 0 says that it is one text, in this row.
    Column("files", Integer, nullable=False, server_default=text("0")),
)

files = Table(
    "configuration_file",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), primary_key=True),
    # Of the text; empty if the file was removed in this version.
    Column("digest", String(64), nullable=False),
    Column("text", LongText, nullable=False),
    # The part of the tree that the text makes, in JSON: reading YAML takes a hundred times as long.
    Column("part", LongText, nullable=False),
    Index("ix_configuration_file_name_version", "name", "version"),
)

git = Table(
    "configuration_git",
    metadata,
    Column("role", String(16), primary_key=True),
    Column("place", LongText, nullable=False),
    # The newest one that the configuration and the branch have in common; empty before the first.
    Column("commit_id", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("problem", LongText, nullable=False),
    Column("notes", LongText, nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Column("runs", Integer, nullable=False),
)

commits = Table(
    "configuration_commit",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    # That the version came from.
    Column("commit_id", String(64), nullable=False),
    # Whether its files are those of the commit; else they are merged with what others had changed.
    Column("exact", Integer, nullable=False),
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

    async def version(self, number: int) -> Version | None:
        """Return what is known of a version."""
        row = (await self._tx.execute(select(*_LISTED).where(versions.c.number == number))).first()
        return None if row is None else Version(**row._mapping)

    async def at(self, moment: datetime) -> int:
        """Return the number of the version that was current then; 0 if there was none."""
        found = await self._tx.execute(select(func.max(versions.c.number)).where(versions.c.time <= moment))
        return found.scalar_one_or_none() or 0

    async def parts(self, after: int, upto: int) -> tuple[bool, list[KeptPart]]:
        """Return what files say at a version, of those that were changed after another one.

        Returns:
            Whether files that are not among them are gone; and the files.

        Raises:
            InternalError: They were written by another release, and this one cannot read them.
        """
        whole = await self._whole(upto)
        found: list[KeptPart] = []
        if anew := whole is not None and whole > after:
            row = (
                await self._tx.execute(
                    select(versions.c.tree, versions.c.text).where(versions.c.number == whole)
                )
            ).one()
            found.append(
                KeptPart(WHOLE, "whole", _decoded(row.tree, f"version {whole} of the configuration"))
            )
            after = whole or 0
        newest = self._newest(after, upto)
        wanted = select(files.c.name, files.c.version, files.c.digest, files.c.part).join(
            newest, (files.c.name == newest.c.name) & (files.c.version == newest.c.version)
        )
        for row in await self._tx.execute(wanted):
            place = f"{row.name} in version {row.version} of the configuration"
            found.append(KeptPart(row.name, row.digest, _decoded(row.part, place) if row.digest else None))
        return anew, found

    async def names(self, upto: int) -> set[str]:
        """Return the names of files that may be there at a version, read or not."""
        found = await self._tx.execute(select(files.c.name).where(files.c.version <= upto).distinct())
        return {WHOLE, *found.scalars()}

    async def texts(self, number: int, names: Iterable[str]) -> dict[str, KeptFile]:
        """Return the texts of files at a version, of those that are there."""
        whole = await self._whole(number) or 0
        newest, found, wanted = self._newest(whole, number), {}, set(names)
        if whole and WHOLE in wanted:
            row = (await self._tx.execute(select(versions.c.text).where(versions.c.number == whole))).one()
            found[WHOLE] = KeptFile(WHOLE, whole, row.text)
        for some in _chunks(sorted(wanted)):
            query = (
                select(files.c.name, files.c.version, files.c.digest, files.c.text)
                .join(newest, (files.c.name == newest.c.name) & (files.c.version == newest.c.version))
                .where(files.c.name.in_(some))
            )
            for row in await self._tx.execute(query):
                found.pop(row.name, None)
                if row.digest:
                    found[row.name] = KeptFile(row.name, row.version, row.text)
        return found

    async def changed(self, number: int) -> tuple[bool, dict[str, str | None]]:
        """Return what a version says anew: texts by name of the file, None for those that it removed.

        Returns:
            Whether all other files are gone; and the files.
        """
        if await self._whole(number) == number:
            row = (await self._tx.execute(select(versions.c.text).where(versions.c.number == number))).one()
            return True, {WHOLE: row.text}
        query = select(files.c.name, files.c.digest, files.c.text).where(files.c.version == number)
        rows = await self._tx.execute(query)
        return False, {row.name: row.text if row.digest else None for row in rows}

    async def history(self, name: str, upto: int, limit: int) -> list[tuple[int, Tree | None]]:
        """Return the versions that changed a file, newest first, with the part of the tree from then on."""
        query = (
            select(files.c.version, files.c.digest, files.c.part)
            .where(files.c.name == name, files.c.version <= upto)
            .order_by(files.c.version.desc())
            .limit(limit)
        )
        found = [
            (row.version, _decoded(row.part, f"{name} in version {row.version}") if row.digest else None)
            for row in await self._tx.execute(query)
        ]
        # A text that is the whole configuration replaces every file.
        before = select(versions.c.number, versions.c.tree).where(
            versions.c.files == 0, versions.c.number <= upto
        )
        for row in await self._tx.execute(before.order_by(versions.c.number.desc()).limit(limit)):
            tree = _decoded(row.tree, f"version {row.number}") if name == WHOLE else None
            found.append((row.number, tree))
        return sorted(found, key=lambda each: -each[0])[:limit]

    async def listed(self, limit: int, before: int | None) -> list[Version]:
        """Return the newest versions, newest first, of those with a number below `before`."""
        wanted = select(*_LISTED).order_by(versions.c.number.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(versions.c.number < before)
        return [Version(**row._mapping) for row in await self._tx.execute(wanted)]

    async def add(
        self, version: Version, changed: Mapping[str, tuple[str, str, bytes] | None], whole: tuple[str, str]
    ) -> bool:
        """Keep a version; return False if there is one with that number already."""
        row = msgspec.structs.asdict(version) | {"text": whole[0], "tree": whole[1], "files": len(changed)}
        if await self._tx.insert_missing(versions, [row]) != 1:
            return False
        rows: list[dict[str, Any]] = []
        for name, kept in changed.items():
            digest, text, part = kept or ("", "", b"")
            rows.append(
                {
                    "version": version.number,
                    "name": name,
                    "digest": digest,
                    "text": text,
                    "part": part.decode(),
                }
            )
        for some in _chunks(rows):
            await self._tx.execute(files.insert(), list(some))
        return True

    async def _whole(self, upto: int) -> int | None:
        found = await self._tx.execute(
            select(func.max(versions.c.number)).where(versions.c.files == 0, versions.c.number <= upto)
        )
        number: int | None = found.scalar_one_or_none()
        return number

    def _newest(self, after: int, upto: int) -> Any:
        newest: Select[Any] = (
            select(files.c.name, func.max(files.c.version).label("version"))
            .where(files.c.version > after, files.c.version <= upto)
            .group_by(files.c.name)
        )
        return newest.subquery()


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def _decoded(part: str, place: str) -> Tree:
    try:
        return msgspec.json.decode(part, type=Tree)
    except msgspec.DecodeError as error:
        raise InternalError(f"{place} was made by another release: {error}") from error


class GitStore:
    """Implements `ports.GitStates` in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def state(self, role: str) -> GitState | None:
        """Return where a repository stands; None if nobody has looked yet."""
        row = (await self._tx.execute(select(git).where(git.c.role == role))).first()
        return None if row is None else GitState(**row._mapping)

    async def put(self, state: GitState) -> None:
        """Keep where a repository stands."""
        row = msgspec.structs.asdict(state)
        await self._tx.put(git, row, [name for name in row if name != "role"])

    async def brought(self, version: int, commit: str, *, exact: bool) -> None:
        """Note the commit that a version came from."""
        row = {"version": version, "commit_id": commit, "exact": int(exact)}
        await self._tx.insert_missing(commits, [row])

    async def origin(self, version: int) -> tuple[str, bool] | None:
        """Return the commit that a version came from, if any, and whether its files are the same."""
        row = (await self._tx.execute(select(commits).where(commits.c.version == version))).first()
        return None if row is None else (row.commit_id, bool(row.exact))


class ConfigurationUnit(SystemUnit):
    """A transaction, dressed with what the configuration needs; implements `ports.ConfigurationUnit`.

    Args:
        tx: The transaction.
        registry: The identity system's store of the same transaction, for its `Registry.replace`.
    """

    def __init__(self, tx: Transaction, registry: object = None) -> None:
        super().__init__(tx)
        self.versions = VersionStore(tx)
        self.git = GitStore(tx)
        self.registry = registry
