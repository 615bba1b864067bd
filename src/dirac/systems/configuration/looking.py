"""Looking at versions: what they say, what is between them, and who brought what."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.core.unit import Units
from dirac.systems.configuration import document, policy
from dirac.systems.configuration.delegation import own_only
from dirac.systems.configuration.explain import option, overridden, path_of, stand_in
from dirac.systems.configuration.keeping import Keeper
from dirac.systems.configuration.layout import State, load, owner
from dirac.systems.configuration.models import (
    Blame,
    Change,
    Content,
    Explanation,
    Files,
    FileText,
    Tree,
    Version,
)
from dirac.systems.configuration.ports import ConfigurationUnit
from dirac.systems.configuration.shape import Path, Position
from dirac.systems.configuration.trees import at, diff, normal_form, plain, visible
from dirac.systems.identity.models import Identity

_EMPTY_TEXT = "{}\n"
_HISTORY = 1000


class Looking:
    """Reads versions for people.

    Args:
        units: Units of work on the configuration.
        keeper: What is in memory.
    """

    def __init__(self, units: Units[ConfigurationUnit], keeper: Keeper) -> None:
        self._units = units
        self._keeper = keeper

    async def content(
        self, identity: Identity, number: int | None = None, moment: datetime | None = None
    ) -> Content:
        """Do what `Configuration.content` says."""
        async with self._units.read() as unit:
            state = await self._state(unit, number, moment)
            version, tree = state.snapshot.version, state.snapshot.tree
            if not policy.sees_everything(identity):
                tree = visible(tree, identity.vo)
                return Content(version, document.write(tree), tree)
            if len(state.parts) > 1:
                return Content(version, document.write(tree), tree)
            texts = await unit.versions.texts(version, state.parts)
            return Content(version, next((kept.text for kept in texts.values()), _EMPTY_TEXT), tree)

    async def files(self, identity: Identity, number: int | None, names: list[str] | None) -> Files:
        """Do what `Configuration.files` says."""
        async with self._units.read() as unit:
            state = await self._state(unit, number)
            parts = {
                name: part
                for name, part in state.parts.items()
                if policy.sees_everything(identity) or own_only(part.tree, identity.vo)
            }
            wanted = [name for name in names or () if name in parts]
            texts = await unit.versions.texts(state.snapshot.version, wanted) if wanted else {}
        return Files(
            state.snapshot.version,
            [
                FileText(name, part.digest, texts[name].text if name in texts else None)
                for name, part in parts.items()
                if names is None or name in texts
            ],
        )

    async def diff(self, identity: Identity, old: int, new: int | None = None) -> list[Change]:
        """Do what `Configuration.diff` says."""
        async with self._units.read() as unit:
            after = await self._state(unit, new)
            before = await self._state(unit, old)
        if policy.sees_everything(identity):
            return diff(before.snapshot.tree, after.snapshot.tree)
        return diff(visible(before.snapshot.tree, identity.vo), visible(after.snapshot.tree, identity.vo))

    async def log(self, identity: Identity, limit: int, before: int | None) -> list[Version]:
        """Do what `Configuration.log` says."""
        async with self._units.read() as unit:
            listed = await unit.versions.listed(limit, before)
        if policy.sees_everything(identity):
            return listed
        return [Version(version.number, "", version.time, "", "") for version in listed]

    async def blame(self, identity: Identity, key: str, number: int | None, limit: int) -> list[Blame]:
        """Do what `Configuration.blame` says."""
        path = path_of(key)
        async with self._units.read() as unit:
            state = await self._state(unit, number)
            option(_seen(state.snapshot.tree, identity), path)
            return await self._blame(unit, identity, state, path, limit)

    async def explain(
        self, identity: Identity, key: str, number: int | None = None, moment: datetime | None = None
    ) -> Explanation:
        """Do what `Configuration.explain` says."""
        path = path_of(key)
        async with self._units.read() as unit:
            state = await self._state(unit, number, moment)
            tree = _seen(state.snapshot.tree, identity)
            origin: str | None = None
            try:
                found = option(tree, path)
            except NotFoundError:
                other = stand_in(tree, path)
                if other is None or path[1] not in tree.virtual_organisations:
                    raise
                path, origin = other, "/".join(other)
                found = option(tree, path)
            file, position = await self._place(unit, identity, state, path)
            since = await self._blame(unit, identity, state, path, 1) if file is not None else []
        return Explanation(
            key=key.strip("/"),
            value=found.value,
            origin=origin or ("default" if file is None else "file"),
            meaning=found.meaning,
            accepts=found.accepts,
            file=file if _may_see_files(identity, state, file) else None,
            line=position.line if position else None,
            column=position.column if position else None,
            since=since[0] if since else None,
            overrides=overridden(tree, path, found),
        )

    async def _place(
        self, unit: ConfigurationUnit, identity: Identity, state: State, path: Path
    ) -> tuple[str | None, Position | None]:
        """Return the file that says something of an option, and where."""
        file = owner({name: part.tree for name, part in state.parts.items()}, path)
        if file is None or not _says(state.parts[file].tree, path):
            return None, None
        if not _may_see_files(identity, state, file):
            return file, None
        texts = await unit.versions.texts(state.snapshot.version, [file])
        return file, document.read(texts[file].text).position(path) if file in texts else None

    async def _blame(
        self, unit: ConfigurationUnit, identity: Identity, state: State, path: Path, limit: int
    ) -> list[Blame]:
        file = owner({name: part.tree for name, part in state.parts.items()}, path)
        if file is None:
            return []
        history = await unit.versions.history(file, state.snapshot.version, _HISTORY)
        seen = [(number, None if tree is None else _seen(tree, identity)) for number, tree in history]
        found: list[tuple[int, bytes]] = []
        for position, (number, tree) in enumerate(seen):
            value = _value(tree, path)
            older = _value(seen[position + 1][1], path) if position + 1 < len(seen) else b""
            if value != older:
                found.append((number, value))
                if len(found) == limit:
                    break
        blamed = []
        for number, value in found:
            version = await unit.versions.version(number)
            if version is None:
                continue
            known = policy.sees_everything(identity) or path[:2] == ("virtual_organisations", identity.vo)
            blamed.append(
                Blame(
                    version=number,
                    time=version.time,
                    author=version.author if known else "",
                    comment=version.comment if known else "",
                    value=_decoded(value),
                )
            )
        return blamed

    async def _state(
        self, unit: ConfigurationUnit, number: int | None, moment: datetime | None = None
    ) -> State:
        if moment is not None:
            number = await unit.versions.at(_utc(moment))
        if number is None:
            return await self._keeper.newest(unit)
        found = await load(unit, number)
        if found is None:
            raise NotFoundError(
                f"there is no version {number} of the configuration", hint="See `dirac config log`"
            )
        return found


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError("this moment is beyond all time", where="at") from None


def _seen(tree: Tree, identity: Identity) -> Tree:
    return tree if policy.sees_everything(identity) else visible(tree, identity.vo)


def _may_see_files(identity: Identity, state: State, file: str | None) -> bool:
    return file is not None and (
        policy.sees_everything(identity) or own_only(state.parts[file].tree, identity.vo)
    )


def _says(part: Tree, path: Path) -> bool:
    """Tell whether a part of the tree has an option, other than by its default."""
    try:
        return normal_form(at(part, path)) != normal_form(at(Tree(), path))
    except LookupError:
        return bool(_value(part, path))


def _value(tree: Tree | None, path: Path) -> bytes:
    if tree is None:
        return b""
    try:
        return normal_form(plain(at(tree, path)))
    except LookupError:
        return b""


def _decoded(value: bytes) -> object:
    return msgspec.json.decode(value) if value else None
