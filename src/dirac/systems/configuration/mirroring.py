"""Versions of the configuration as commits of a branch."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import structs

from dirac.core.unit import Units
from dirac.resources.repositories.git import Draft
from dirac.systems.configuration.models import GitState, Version
from dirac.systems.configuration.ports import Branch, ConfigurationUnit

_MARK = "Configuration-Version"
_MARKED = re.compile(rf"^{_MARK}: ([0-9]{{1,9}})$", re.MULTILINE)


def version_of(message: str) -> int | None:
    """Return the version that a commit says it was made of; None if it does not."""
    found = _MARKED.findall(message)
    return int(found[-1]) if found else None


async def texts_of(unit: ConfigurationUnit, number: int) -> dict[str, str]:
    """Return all files of a version."""
    names = await unit.versions.names(number)
    return {name: kept.text for name, kept in (await unit.versions.texts(number, names)).items()}


class Mirroring:
    """Makes commits of versions.

    Args:
        units: Units of work on the configuration.
        branch: The branch.
        shared: Whether the configuration follows this branch as well.
    """

    def __init__(self, units: Units[ConfigurationUnit], branch: Branch, *, shared: bool) -> None:
        self._units = units
        self._branch = branch
        self._shared = shared

    async def mirror(self, state: GitState) -> str:
        """Bring the branch to the newest version; return what is in the way, nothing if nothing is.

        Raises:
            UnavailableError: The repository cannot be reached.
            ConflictError: Somebody else was faster; the next time it will do.
        """
        branch = self._branch
        far = await branch.fetch()
        if not state.version and not state.commit_id and far is not None and not self._shared:
            # Kept before anything is sent: after a crash in between, what was sent is known as ours.
            state = structs.replace(state, commit_id=far)
            await self._keep(state)
        if state.commit_id and not await branch.has(state.commit_id):
            return f"the branch was rewritten: {state.commit_id[:12]} is gone; name another branch"
        async with self._units.read() as unit:
            newest, _ = await unit.versions.head()
            source = await unit.git.state("source") if self._shared else None
        sent = await self._sent(state, far)
        tip = state.commit_id or None
        for number in range(state.version + 1, newest + 1):
            tip = sent.get(number) or await self._commit(number, tip, source.commit_id if source else "")
        if tip is None or tip == state.commit_id:
            return ""
        if far is not None and not await branch.follows(tip, far):
            if self._shared:
                return "the branch has commits that are not taken over; versions are sent once they are"
            return "the branch has commits of somebody else, which would be lost; nothing is sent"
        if far is None or not await branch.follows(far, tip):
            await branch.send(tip)
        await self._keep(structs.replace(state, commit_id=tip, version=newest))
        return ""

    async def _keep(self, state: GitState) -> None:
        async with self._units.write() as unit:
            now = await unit.git.state(state.role)
            runs = state.runs if now is None else now.runs
            await unit.git.put(structs.replace(state, time=unit.now, runs=runs))

    async def _sent(self, state: GitState, far: str | None) -> dict[int, str]:
        """Return the versions that the branch has already, although nobody has kept that they were sent."""
        if far is None or far == state.commit_id:
            return {}
        found: dict[int, str] = {}
        for commit in await self._branch.commits(state.commit_id or None, far):
            number = version_of(commit.message)
            if number is None or number <= state.version:
                continue
            async with self._units.read() as unit:
                same = await self._branch.texts(commit.id) == await texts_of(unit, number)
            if same:
                found[number] = commit.id
        return found

    async def _commit(self, number: int, tip: str | None, taken: str) -> str:
        """Return the commit of a version, which follows that of the version before."""
        async with self._units.read() as unit:
            version = await unit.versions.version(number)
            anew, changed = await unit.versions.changed(number)
            origin = await unit.git.origin(number) if self._shared else None
            texts = await texts_of(unit, number) if origin or anew or number == 1 or self._shared else {}
        if version is None:  # nobody takes versions away
            raise RuntimeError(f"there is no version {number}")
        first = origin[0] if origin is not None else None
        if first is None and self._shared and tip and taken and not await self._branch.follows(tip, taken):
            first = taken  # it changed nothing, but others build on it
        if first is not None and not await self._branch.has(first):
            first = None
        behind = first is not None and (tip is None or await self._branch.follows(first, tip))
        if behind and first is not None and origin is not None and origin[1]:
            return first
        parents = [each for each in (first, None if behind else tip) if each is not None]
        if parents == [tip] and not anew and number > 1:
            wanted = {name: text for name, text in changed.items() if text is not None}
            gone = [name for name, text in changed.items() if text is None]
        else:
            wanted = texts
            there: Mapping[str, str] = await self._branch.texts(parents[0]) if parents else {}
            gone = sorted(there.keys() - texts.keys())
        return await self._branch.make(_draft(version, parents, wanted, gone))


def _draft(version: Version, parents: list[str], changed: Mapping[str, str], removed: list[str]) -> Draft:
    title = version.comment.strip() or f"Version {version.number}"
    return Draft(
        parents=parents,
        changed=changed,
        removed=removed,
        author=version.author,
        time=version.time,
        message=f"{title}\n\n{_MARK}: {version.number}\n",
    )
