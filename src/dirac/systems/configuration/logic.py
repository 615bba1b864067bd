"""Applying, reading and comparing configurations."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from dirac.core.errors import ConflictError, InvalidInputError, NotFoundError
from dirac.core.time import Clock
from dirac.core.unit import Event, Units
from dirac.systems.configuration import document, policy
from dirac.systems.configuration.checks import Checker
from dirac.systems.configuration.diracx import served
from dirac.systems.configuration.models import Applied, Apply, Change, Content, Snapshot, Tree, Version
from dirac.systems.configuration.ports import ConfigurationUnit, Registry
from dirac.systems.configuration.trees import diff, digest, normal_form, registered, registered_hosts, visible
from dirac.systems.identity.models import Identity

CHECK_SECONDS = 1.0
"""How long another process's new version may go unnoticed."""

MAX_LISTED = 1000
_MAX_COMMENT = 4096
_MAX_PATHS = 100
_EMPTY = Snapshot(version=0, digest=digest(normal_form(Tree())))
_EMPTY_TEXT = "{}\n"


class Serving(msgspec.Struct, frozen=True):
    """The configuration in DiracX's shape, as one audience may see it.

    Attributes:
        body: JSON.
        etag: Name of these very bytes, without quotes.
        snapshot: What it was made from.
    """

    body: bytes
    etag: str
    snapshot: Snapshot


class Configuration:
    """The configuration of the installation.

    Args:
        units: Units of work on the configuration.
        clock: Tells when to look for a new version.
        registry: Told of the communities and their members whenever they may have changed.
        checker: What else must hold, beyond the types.
        issuer: Address of the installation's own identity provider.
    """

    def __init__(
        self,
        units: Units[ConfigurationUnit],
        *,
        clock: Clock,
        registry: Registry,
        checker: Checker,
        issuer: str = "",
    ) -> None:
        self._units = units
        self._clock = clock
        self._registry = registry
        self._checker = checker
        self._issuer = issuer
        self._snapshot = _EMPTY
        self._good_until = float("-inf")
        self._loading = asyncio.Lock()
        self._served: dict[str | None, Serving] = {}

    async def current(self) -> Snapshot:
        """Return the configuration; at most `CHECK_SECONDS` old, and never older than an own application."""
        if self._clock.monotonic() < self._good_until:
            return self._snapshot
        async with self._loading:
            if self._clock.monotonic() >= self._good_until:
                asked = self._clock.monotonic()
                async with self._units.read() as unit:
                    head = await unit.versions.head()
                    if head != (self._snapshot.version, self._snapshot.digest):
                        self._keep(await unit.versions.snapshot() or _EMPTY)
                self._good_until = asked + CHECK_SECONDS
            return self._snapshot

    async def apply(self, identity: Identity, request: Apply) -> Applied:
        """Make a text the configuration, if it is sound and says something new.

        What is the configuration already is not applied again, whatever version the request expects: that
        is how a repetition after a lost answer looks.

        Raises:
            InvalidInputError: The text has faults; the message has a line for each, `where` is the first.
            TooLargeError: The text or the comment is too large.
            ConflictError: The current version is not the expected one, or became another one meanwhile.
        """
        _check_comment(request.comment)
        tree = await asyncio.to_thread(self._read, request.text, request.file)
        async with self._units.read() as unit:
            base = await unit.versions.snapshot() or _EMPTY
        changes = diff(base.tree, tree)
        if not changes:
            await self._adopt(base)
            return Applied(base.version, [])
        if request.expected_version not in (None, base.version):
            raise ConflictError(
                f"the configuration is at version {base.version}, not at {request.expected_version}",
                hint="Look at what changed, then apply again: dirac config diff",
            )
        if request.dry_run:
            return Applied(base.version + 1, changes)
        snapshot = await self._write(identity, request, base, tree, changes)
        await self._adopt(snapshot)
        return Applied(snapshot.version, changes)

    async def rollback(self, identity: Identity, number: int, comment: str = "") -> Applied:
        """Make the text of an old version the configuration again, as a new version.

        Raises:
            NotFoundError: There is no such version.
            InvalidInputError: What was sound then is not any more, for instance because a plugin has gone.
        """
        async with self._units.read() as unit:
            text = await _text(unit, number)
        return await self.apply(
            identity,
            Apply(text=text, file=f"version {number}", comment=comment or f"Back to version {number}"),
        )

    async def content(self, identity: Identity, number: int | None = None) -> Content:
        """Return what a version says, or the newest one, as far as the caller may see it.

        Raises:
            NotFoundError: There is no such version.
        """
        async with self._units.read() as unit:
            snapshot = await _snapshot(unit, number)
            if policy.sees_everything(identity):
                text = await _text(unit, snapshot.version)
                return Content(snapshot.version, text, snapshot.tree)
        tree = visible(snapshot.tree, identity.vo)
        return Content(snapshot.version, document.write(tree), tree)

    async def diff(self, identity: Identity, old: int, new: int | None = None) -> list[Change]:
        """Return the differences between two versions, or one and the newest, as far as the caller sees.

        Raises:
            NotFoundError: There is no such version.
        """
        async with self._units.read() as unit:
            before, after = await _snapshot(unit, old), await _snapshot(unit, new)
        if policy.sees_everything(identity):
            return diff(before.tree, after.tree)
        return diff(visible(before.tree, identity.vo), visible(after.tree, identity.vo))

    async def log(self, identity: Identity, limit: int = 100, before: int | None = None) -> list[Version]:
        """Return the versions, newest first.

        Comments and authors may tell of other VOs, so that they are left out for those who see only theirs.

        Args:
            identity: Who asks.
            limit: How many at most.
            before: Only those with a number below this one; to go on where another call ended.
        """
        async with self._units.read() as unit:
            listed = await unit.versions.listed(min(limit, MAX_LISTED), before)
        if policy.sees_everything(identity):
            return listed
        return [Version(version.number, "", version.time, "", "") for version in listed]

    async def serve(self, identity: Identity) -> Serving:
        """Return the current configuration in DiracX's shape, as far as the caller may see it."""
        snapshot = await self.current()
        audience = None if policy.sees_everything(identity) else identity.vo
        serving = self._served.get(audience)
        if serving is None:
            tree = snapshot.tree if audience is None else visible(snapshot.tree, audience)
            body = msgspec.json.encode(served(tree, self._issuer), order="sorted")
            serving = self._served[audience] = Serving(body, digest(body), snapshot)
        return serving

    async def _adopt(self, snapshot: Snapshot) -> None:
        """Go on with what an application has just found or made."""
        async with self._loading:  # one who is reading an older version finishes first
            if snapshot.version >= self._snapshot.version:
                self._keep(snapshot)
                self._good_until = self._clock.monotonic() + CHECK_SECONDS

    def _keep(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._served = {}

    def _read(self, text: str, file: str) -> Tree:
        found = document.read(text, file)
        for path, fault in self._checker.check(found.value):
            found.fault(path, fault)
        return found.tree()

    async def _write(
        self, identity: Identity, request: Apply, base: Snapshot, tree: Tree, changes: list[Change]
    ) -> Snapshot:
        normal = normal_form(tree)
        number, name = base.version + 1, digest(normal)
        async with self._units.write() as unit:
            version = Version(number, name, unit.now, identity.subject, request.comment)
            if not await unit.versions.add(version, request.text, normal):
                raise ConflictError(
                    f"another configuration became version {number} meanwhile; this one was not applied",
                    hint="Look at what changed, then apply again: dirac config diff",
                )
            await self._registry.replace(
                unit, registered(tree), hosts=registered_hosts(tree), actor=version.author
            )
            unit.record(_applied(version, changes))
        return Snapshot(version=number, digest=name, time=version.time, tree=tree)


def _applied(version: Version, changes: list[Change]) -> Event:
    data: dict[str, Any] = {
        "digest": version.digest,
        "comment": version.comment,
        "changes": len(changes),
        "paths": [change.path for change in changes[:_MAX_PATHS]],
    }
    return Event(
        kind="configuration.version.applied",
        vo="",
        subject_kind="configuration",
        subject_id=str(version.number),
        time=version.time,
        actor=version.author,
        data=data,
    )


def _check_comment(comment: str) -> None:
    if len(comment) > _MAX_COMMENT or "\x00" in comment:
        raise InvalidInputError(f"a comment has at most {_MAX_COMMENT} characters, and none of them is NUL")


async def _snapshot(unit: ConfigurationUnit, number: int | None) -> Snapshot:
    found = _EMPTY if number == 0 else await unit.versions.snapshot(number)
    if found is None and number is None:
        return _EMPTY
    if found is None:
        raise _unknown(number)
    return found


async def _text(unit: ConfigurationUnit, number: int) -> str:
    text = _EMPTY_TEXT if number == 0 else await unit.versions.text(number)
    if text is None:
        raise _unknown(number)
    return text


def _unknown(number: int | None) -> NotFoundError:
    return NotFoundError(f"there is no version {number} of the configuration", hint="See `dirac config log`")
