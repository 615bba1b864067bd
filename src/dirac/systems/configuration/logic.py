"""The configuration of the installation: applying, reading and comparing it."""

from __future__ import annotations

import asyncio
from datetime import datetime

import msgspec

from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.configuration import policy
from dirac.systems.configuration.applying import Applying
from dirac.systems.configuration.checks import Checker
from dirac.systems.configuration.conversion import convert, export
from dirac.systems.configuration.diracx import served
from dirac.systems.configuration.edits import Judge
from dirac.systems.configuration.effects import PeopleEffects
from dirac.systems.configuration.git import FOLLOW, Git
from dirac.systems.configuration.keeping import CHECK_SECONDS, Keeper
from dirac.systems.configuration.looking import Looking
from dirac.systems.configuration.models import (
    Applied,
    Apply,
    Blame,
    Change,
    Content,
    Convert,
    Converted,
    Explanation,
    Exported,
    Files,
    Snapshot,
    Version,
)
from dirac.systems.configuration.ports import Branch, ConfigurationUnit, Effects, Registry
from dirac.systems.configuration.trees import digest, visible
from dirac.systems.identity.models import Identity

__all__ = ["CHECK_SECONDS", "MAX_LISTED", "Configuration", "Serving"]

MAX_LISTED = 1000
_MOST_SERVED = 32 * 1024 * 1024
"""Bytes of answers that are kept; those that nobody has asked for lately go first."""


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

    Attributes:
        effects: Who tells what a change would do; later systems add themselves.
        git: Brings commits to this configuration, and this configuration to commits.
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
        self._issuer = issuer
        self._installed = checker.installed
        self._units = units
        self._clock = clock
        self._keeper = Keeper(units, clock)
        self._looking = Looking(units, self._keeper)
        self.effects: list[Effects] = [PeopleEffects()]
        self._applying = Applying(units, self._keeper, registry, Judge(checker), self.effects)
        self.git = Git(units, clock, self._applying, None, None)
        self._served: dict[str | None, Serving] = {}
        self._served_size = 0
        self._serving = asyncio.Lock()

    def beside_git(self, source: Branch | None, mirror: Branch | None) -> Git:
        """Have repositories beside this configuration; return what looks after them.

        Args:
            source: The branch to follow, if there is one.
            mirror: The branch that follows, if there is one.
        """
        self.git = Git(self._units, self._clock, self._applying, source, mirror)
        self._applying.follow_up = FOLLOW if self.git.used else None
        return self.git

    @property
    def problem(self) -> str | None:
        """Why the newest version is not the one in force; None if it is."""
        return self._keeper.problem

    async def current(self) -> Snapshot:
        """Return the configuration; at most `CHECK_SECONDS` old, and never older than an own application.

        If the newest version cannot be read, the last good one stays in force and `problem` says why.
        """
        return await self._keeper.current()

    async def apply(self, identity: Identity, request: Apply) -> Applied:
        """Make a text or some files the configuration, if they are sound and say something new.

        What others have changed since the base of the edit is kept. What is the configuration already is not
        applied again, whatever version the request expects: that is how a repetition after a lost answer
        looks.

        Raises:
            InvalidInputError: There are faults; the message has a line for each, `where` is the first.
            TooLargeError: A text or the comment is too large.
            NotAllowedError: It changes something that the caller may not change.
            NotFoundError: There is no such base.
            ConflictError: The same was changed by others since the base; or the current version is not the
                expected one.
        """
        return await self._applying.apply(identity, request)

    async def rollback(self, identity: Identity, number: int, comment: str = "") -> Applied:
        """Make the files of an old version the configuration again, as a new version.

        Raises:
            NotFoundError: There is no such version.
            InvalidInputError: What was sound then is not any more, for instance because a plugin has gone.
            ConflictError: Another configuration became current meanwhile.
        """
        return await self._applying.rollback(identity, number, comment)

    async def content(
        self, identity: Identity, number: int | None = None, moment: datetime | None = None
    ) -> Content:
        """Return what a version says, or the newest one, or that of a moment, as far as the caller may see.

        Raises:
            NotFoundError: There is no such version.
        """
        return await self._looking.content(identity, number, moment)

    async def files(
        self, identity: Identity, number: int | None = None, names: list[str] | None = None
    ) -> Files:
        """Return the files of a version, those that the caller may change, with the texts of those named.

        Raises:
            NotFoundError: There is no such version.
        """
        return await self._looking.files(identity, number, names)

    async def diff(self, identity: Identity, old: int, new: int | None = None) -> list[Change]:
        """Return the differences between two versions, or one and the newest, as far as the caller sees.

        Raises:
            NotFoundError: There is no such version.
        """
        return await self._looking.diff(identity, old, new)

    async def log(self, identity: Identity, limit: int = 100, before: int | None = None) -> list[Version]:
        """Return the versions, newest first.

        Comments and authors may tell of other VOs, so that they are left out for those who see only theirs.

        Args:
            identity: Who asks.
            limit: How many at most.
            before: Only those with a number below this one; to go on where another call ended.
        """
        return await self._looking.log(identity, min(limit, MAX_LISTED), before)

    async def blame(
        self, identity: Identity, key: str, number: int | None = None, limit: int = 20
    ) -> list[Blame]:
        """Return the versions that changed an option, newest first.

        Raises:
            NotFoundError: There is no such version or option.
        """
        return await self._looking.blame(identity, key, number, limit)

    async def explain(
        self, identity: Identity, key: str, number: int | None = None, moment: datetime | None = None
    ) -> Explanation:
        """Return what an option is, where that comes from, what it overrides and what it means.

        Raises:
            NotFoundError: There is no such version or option.
        """
        return await self._looking.explain(identity, key, number, moment)

    async def convert(self, request: Convert) -> Converted:
        """Return another system's configuration as files of ours; nothing is applied.

        Raises:
            InvalidInputError: It is not of the form that it is said to be.
            TooLargeError: It is too large.
        """
        computing = self._installed("dirac.computing")
        return await asyncio.to_thread(convert, request.text, request.form, computing)

    async def export(self, identity: Identity, form: str, number: int | None = None) -> Exported:
        """Return a version as another system writes it, as far as the caller may see it.

        Raises:
            NotFoundError: There is no such version.
            InvalidInputError: There is no such form.
        """
        content = await self.content(identity, number)
        text = await asyncio.to_thread(export, content.tree, form, self._issuer)
        return Exported(content.version, text)

    async def serve(self, identity: Identity) -> Serving:
        """Return the current configuration in DiracX's shape, as far as the caller may see it."""
        snapshot = await self.current()
        audience = None if policy.sees_everything(identity) else identity.vo
        serving = self._served.get(audience)
        if serving is not None and serving.snapshot is snapshot:
            return serving
        async with self._serving:
            serving = self._served.get(audience)
            if serving is None or serving.snapshot is not snapshot:
                serving = await asyncio.to_thread(self._made, snapshot, audience)
                self._remember(audience, serving)
        return serving

    def _made(self, snapshot: Snapshot, audience: str | None) -> Serving:
        tree = snapshot.tree if audience is None else visible(snapshot.tree, audience)
        body = msgspec.json.encode(served(tree, self._issuer), order="sorted")
        return Serving(body, digest(body), snapshot)

    def _remember(self, audience: str | None, serving: Serving) -> None:
        gone = [each for each, old in self._served.items() if old.snapshot is not serving.snapshot]
        for each in (*gone, audience):
            if (old := self._served.pop(each, None)) is not None:
                self._served_size -= len(old.body)
        self._served[audience] = serving
        self._served_size += len(serving.body)
        while self._served_size > _MOST_SERVED and len(self._served) > 1:
            oldest = next(iter(self._served))
            self._served_size -= len(self._served.pop(oldest).body)
