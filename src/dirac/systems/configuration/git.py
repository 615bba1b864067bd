"""Repositories of git beside the configuration: one that it follows, and one that follows it, or both in one.

A commit of the source is an edit of the commit before it, put on top of the newest version as anybody's edit
is. A version becomes a commit that follows that of the version before it, and the commit that it came from.
Where both stand is kept in the transaction of the effect; and a commit of the mirror is the same whoever
makes it, and however often.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import structs

from dirac.core.errors import ConflictError, InvalidInputError, NotAllowedError, UnavailableError
from dirac.core.time import Clock
from dirac.core.unit import Event, Units
from dirac.resources.repositories.git import Commit
from dirac.systems.configuration.applying import MAX_COMMENT, Applying
from dirac.systems.configuration.mirroring import Mirroring, texts_of, version_of
from dirac.systems.configuration.models import Applied, Apply, GitState
from dirac.systems.configuration.ports import Branch, ConfigurationUnit
from dirac.systems.identity.models import Identity, Property

FOLLOW = "configuration.follow_git"
SOURCE, MIRROR = "source", "mirror"

log = logging.getLogger(__name__)

_REFUSALS = (InvalidInputError, ConflictError, NotAllowedError)
_SHOWN = 20


class Git:
    """Brings commits to the configuration, and the configuration to commits.

    Args:
        units: Units of work on the configuration.
        clock: The time.
        applying: Applies edits.
        source: The branch to follow, if there is one.
        mirror: The branch that follows, if there is one.
    """

    def __init__(
        self,
        units: Units[ConfigurationUnit],
        clock: Clock,
        applying: Applying,
        source: Branch | None,
        mirror: Branch | None,
    ) -> None:
        self._units = units
        self._clock = clock
        self._applying = applying
        self._source = source
        self._mirror = mirror
        self._shared = source is not None and mirror is not None and source.place.name == mirror.place.name

    @property
    def used(self) -> bool:
        """Whether there is any repository."""
        return self._source is not None or self._mirror is not None

    async def states(self) -> list[GitState]:
        """Return where the repositories stand."""
        given = [(SOURCE, self._source), (MIRROR, self._mirror)]
        async with self._units.read() as unit:
            return [
                await _state(unit, role, branch, self._clock) for role, branch in given if branch is not None
            ]

    async def ask(self, *, rewritten: bool = False) -> None:
        """Have somebody look now.

        Raises:
            ConflictError: There is no repository.
        """
        if not self.used:
            raise ConflictError(
                "this installation has no repository of its configuration",
                hint="Name one in [git.source] or [git.mirror] of the servers' settings",
            )
        async with self._units.write() as unit:
            unit.enqueue(FOLLOW, {"rewritten": rewritten}, key=None if rewritten else FOLLOW)

    async def follow(self, *, entry: str, rewritten: bool = False) -> None:
        """Bring all where it should be: commits of the source first, then versions to the mirror."""
        if self._source is not None:
            await self._told(SOURCE, self._source, await self._pull(self._source, rewritten=rewritten))
        if self._mirror is not None:
            mirroring = Mirroring(self._units, self._mirror, shared=self._shared)
            try:
                problem = await mirroring.mirror(await self._begun(MIRROR, self._mirror))
            except (UnavailableError, ConflictError) as error:
                problem = str(error)
            await self._told(MIRROR, self._mirror, problem)
        async with self._units.write() as unit:
            unit.complete(entry)

    async def _begun(self, role: str, branch: Branch) -> GitState:
        async with self._units.read() as unit:
            return await _state(unit, role, branch, self._clock)

    async def _told(self, role: str, branch: Branch, problem: str) -> None:
        """Keep that somebody has looked, and what is in the way; a new trouble is an event and in the log."""
        async with self._units.write() as unit:
            state = await _state(unit, role, branch, self._clock)
            if problem and problem != state.problem:
                log.error("the %s of the configuration, %s: %s", role, state.place, problem)
                unit.record(
                    Event(
                        kind=f"configuration.{role}.refused",
                        vo="",
                        subject_kind="configuration",
                        subject_id=role,
                        time=unit.now,
                        actor="git",
                        data={"place": state.place, "problem": problem},
                    )
                )
            await unit.git.put(structs.replace(state, problem=problem, time=unit.now, runs=state.runs + 1))

    async def _pull(self, branch: Branch, *, rewritten: bool) -> str:
        """Take over what is new; return what is in the way, nothing if nothing is."""
        state = await self._begun(SOURCE, branch)
        try:
            newest = await branch.fetch()
            if newest is None:
                return "" if self._shared else f"there is no branch {branch.place.branch}"
            known = bool(state.commit_id) and await branch.has(state.commit_id)
            if (
                not rewritten
                and state.commit_id
                and not (known and await branch.follows(newest, state.commit_id))
            ):
                return (
                    f"the branch was rewritten: {state.commit_id[:12]} is not in it any more, and nothing is "
                    "taken over. Push it again, or take the branch as it is: "
                    "dirac config git-sync --rewritten"
                )
            # What was there before the first look is one edit; so is a branch that was rewritten.
            after = state.commit_id if state.commit_id and not rewritten else None
            new = await branch.commits(after, newest)
            if rewritten and newest == state.commit_id:
                return ""
            before = await branch.texts(state.commit_id) if known else {}
            if not after:
                new = list(await self._since_ours(branch, new))
            return await self._take(branch, state, before, new)
        except UnavailableError as error:
            return str(error)

    async def _since_ours(self, branch: Branch, commits: Sequence[Commit]) -> Sequence[Commit]:
        """Return what to begin with: the last one, or those since the newest that we have made."""
        for place in range(len(commits) - 1, -1, -1):
            commit = commits[place]
            claimed = self._shared and version_of(commit.message) is not None
            if claimed and await self._is_ours(commit, await branch.texts(commit.id)):
                return commits[place:]
        return commits[-1:]

    async def _take(
        self, branch: Branch, state: GitState, before: Mapping[str, str], new: Sequence[Commit]
    ) -> str:
        problem = ""
        for commit in new:
            try:
                after = await branch.texts(commit.id)
                if not await self._is_ours(commit, after):
                    state = await self._bring(commit, state, before, after)
                else:
                    state = await self._advanced(state, commit.id)
            except _REFUSALS as error:
                # The next one may mend it; until then the last good one stays.
                problem = f"commit {commit.id[:12]} by {commit.author} is not taken over: {error}"
                continue
            problem, before = "", after
        return problem

    async def _is_ours(self, commit: Commit, texts: Mapping[str, str]) -> bool:
        """Tell whether a commit is what we have made of a version, so that it is no edit of anybody's."""
        number = version_of(commit.message)
        if not self._shared or number is None:
            return False
        async with self._units.read() as unit:
            return await unit.versions.version(number) is not None and texts == await texts_of(unit, number)

    async def _bring(
        self, commit: Commit, state: GitState, before: Mapping[str, str], after: Mapping[str, str]
    ) -> GitState:
        changed = {name: text for name, text in after.items() if before.get(name) != text}
        removed = sorted(before.keys() - after.keys())
        if not changed and not removed:
            return await self._advanced(state, commit.id)
        comment = commit.message.replace("\x00", " ")[:MAX_COMMENT]
        request = Apply(files=changed, removed=removed, comment=comment)
        identity = _identity(self._clock)
        planned = await self._applying.bring(
            identity, structs.replace(request, dry_run=True), before, state.version
        )
        notes = _notes(planned)

        async def noted(unit: ConfigurationUnit, version: int, *, made: bool, exact: bool) -> None:
            if made:
                await unit.git.brought(version, commit.id, exact=exact)
            now = await unit.git.state(SOURCE) or state
            fresh = structs.replace(state, commit_id=commit.id, version=version, notes=notes, problem="")
            await unit.git.put(structs.replace(fresh, time=unit.now, runs=now.runs))

        applied = await self._applying.bring(
            identity, request, before, state.version, author=commit.author, after=after, noted=noted
        )
        return structs.replace(state, commit_id=commit.id, version=applied.version)

    async def _advanced(self, state: GitState, commit: str) -> GitState:
        """Keep that a commit says nothing that the configuration does not say."""
        async with self._units.write() as unit:
            number, _ = await unit.versions.head()
            state = structs.replace(state, commit_id=commit, version=number, problem="", time=unit.now)
            await unit.git.put(state)
        return state


async def _state(unit: ConfigurationUnit, role: str, branch: Branch, clock: Clock) -> GitState:
    """Return where a repository stands; one that is elsewhere now begins anew."""
    known = await unit.git.state(role)
    if known is not None and known.place == branch.place.name:
        return known
    runs = 0 if known is None else known.runs
    return GitState(role=role, place=branch.place.name, time=clock.now(), runs=runs)


def _notes(planned: Applied) -> str:
    lines = [effect.text for effect in planned.effects if effect.harm] + planned.warnings
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join(lines[:_SHOWN] + more)


def _identity(clock: Clock) -> Identity:
    """Return who applies commits: whoever may push to the repository changes the whole installation."""
    return Identity(
        vo="",
        sub="git",
        username="git",
        group="",
        properties=frozenset({Property.SERVICE_ADMINISTRATOR}),
        kind="service",
        token_id="",
        expires=clock.now() + timedelta(hours=1),
    )
