"""Making an edit the configuration: merged with what others changed, judged, and kept, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from dirac.core.errors import (
    ConflictError,
    InvalidInputError,
    InvalidShapeError,
    NotAllowedError,
    NotFoundError,
)
from dirac.core.unit import Event, Units
from dirac.systems.configuration import document, policy
from dirac.systems.configuration.brought import Brought, Noted, other_texts
from dirac.systems.configuration.delegation import VOS, own_only, refused
from dirac.systems.configuration.document import MAX_BYTES
from dirac.systems.configuration.edits import (
    Edit,
    Judge,
    Outcome,
    place_of,
    standing,
    text_digest,
    unknown_options,
)
from dirac.systems.configuration.keeping import Keeper
from dirac.systems.configuration.layout import FILE_NAME, State, load
from dirac.systems.configuration.merging import put_together
from dirac.systems.configuration.models import Applied, Apply, Change, Effect, Snapshot, Version
from dirac.systems.configuration.ports import WHOLE, ConfigurationUnit, Effects, Registry
from dirac.systems.configuration.trees import (
    digest,
    normal_form,
    plain,
    registered,
    registered_hosts,
    visible,
)
from dirac.systems.identity.models import Identity

MAX_COMMENT = 4096
_MAX_PATHS = 100
_TRIES = 5
_SHOWN = 20
_LONGEST_AUTHOR = 400
_DEFAULTS = 4  # times as long as without its defaults is a large tree with them


class Applying:
    """Applies edits.

    Args:
        units: Units of work on the configuration.
        keeper: What is in memory.
        registry: Told of the communities and their members whenever they may have changed.
        judge: Decides whether an edit may be.
        effects: Tell what an edit would do.

    Attributes:
        follow_up: Task that is enqueued with each version; None for none.
    """

    def __init__(
        self,
        units: Units[ConfigurationUnit],
        keeper: Keeper,
        registry: Registry,
        judge: Judge,
        effects: Sequence[Effects],
    ) -> None:
        self._units = units
        self._keeper = keeper
        self._registry = registry
        self._judge = judge
        self._effects = effects
        self.follow_up: str | None = None

    async def apply(self, identity: Identity, request: Apply) -> Applied:
        """Do what `Configuration.apply` says."""
        _check_comment(request.comment)
        _check_files(request)
        number = request.base
        for _ in range(_TRIES):
            async with self._units.read() as unit:
                head = await self._keeper.newest(unit)
                base = head if number in (None, head.snapshot.version) else await load(unit, number or 0)
                if base is None or base.snapshot.version > head.snapshot.version:
                    raise NotFoundError(f"there is no version {number} of the configuration")
                edit = _edit(request, base)
                old = await _texts(unit, base, edit)
                theirs = old if base is head else await _texts(unit, head, edit)
            number = base.snapshot.version
            applied = await self._attempt(identity, request, edit, (base, old), (head, theirs))
            if applied is not None:
                return applied
        raise ConflictError(
            "others change the configuration all the time; this was not applied", hint="Apply it again"
        )

    async def bring(
        self,
        identity: Identity,
        request: Apply,
        before: Mapping[str, str],
        since: int,
        *,
        author: str = "",
        after: Mapping[str, str] | None = None,
        noted: Noted | None = None,
    ) -> Applied:
        """Apply an edit of files as they are kept elsewhere; texts are kept although they mean the same.

        Args:
            identity: Who.
            request: The edit, with `files` and `removed`.
            before: All files that it was made from, as they are elsewhere.
            since: The version that was the newest when these were taken over.
            author: Who made it, if not who brings it.
            after: All files with the edit, as they are elsewhere.
            noted: Called in the transaction of the effect; in one of its own if there is none.

        Raises:
            DiracError: As for `Configuration.apply`.
        """
        _check_comment(request.comment)
        _check_files(request)
        edit = Edit(dict(request.files), frozenset(request.removed))
        old = {name: before[name] for name in edit.changed.keys() | edit.removed if name in before}
        digests = {name: text_digest(text) for name, text in (after or {}).items()}
        for _ in range(_TRIES):
            async with self._units.read() as unit:
                head = await self._keeper.newest(unit)
                theirs = await _texts(unit, head, edit)
            base = await asyncio.to_thread(standing, before, since, head)
            brought = Brought(author, digests, noted)
            applied = await self._attempt(identity, request, edit, (base, old), (head, theirs), brought)
            if applied is not None:
                return applied
        raise ConflictError("others change the configuration all the time; this was not applied")

    async def rollback(self, identity: Identity, number: int, comment: str) -> Applied:
        """Do what `Configuration.rollback` says."""
        async with self._units.read() as unit:
            head = await self._keeper.newest_or_unreadable(unit)
            then = await load(unit, number)
            if then is None:
                raise NotFoundError(
                    f"there is no version {number} of the configuration", hint="See `dirac config log`"
                )
            differing = [
                name
                for name, part in then.parts.items()
                if name not in head.parts or head.parts[name].digest != part.digest
            ]
            texts = {kept.name: kept.text for kept in (await unit.versions.texts(number, differing)).values()}
            removed = frozenset(head.parts.keys() - then.parts.keys())
            single = len(then.parts) == 1
            edit = Edit(
                texts,
                removed,
                {name: f"version {number}" if single else f"version {number}, {name}" for name in texts},
            )
            old = await _texts(unit, head, edit)
        _check_comment(comment)
        request = Apply(files=texts, comment=comment or f"Back to version {number}")
        applied = await self._attempt(identity, request, edit, (head, old), (head, old))
        if applied is None:
            raise _overtaken(head.snapshot.version + 1)
        return applied

    async def _attempt(
        self,
        identity: Identity,
        request: Apply,
        edit: Edit,
        base: tuple[State, Mapping[str, str]],
        head: tuple[State, Mapping[str, str]],
        brought: Brought | None = None,
    ) -> Applied | None:
        """Apply an edit once; None if another version came meanwhile."""
        now = head[0].snapshot.version
        _check_files_of_vo(identity, edit, base[0], head[0])
        outcome, edit = await asyncio.to_thread(put_together, self._judge, edit, base, head)
        merged = list(range(base[0].snapshot.version + 1, now + 1))
        new = brought is not None and other_texts(head[0], outcome, edit)
        if not new and not outcome.changes and _same_files(head[0], outcome) and not head[0].unreadable:
            await self._keeper.adopt(head[0])
            if brought is not None and brought.noted is not None and not request.dry_run:
                async with self._units.write() as unit:
                    await brought.noted(unit, now, made=False, exact=False)
            return Applied(now, [], warnings=outcome.warnings)
        if request.expected_version not in (None, now):
            raise ConflictError(
                f"the configuration is at version {now}, not at {request.expected_version}",
                hint="Look at what changed, then apply again: dirac config diff",
            )
        _check_rights(identity, head[0], outcome)
        tree = outcome.tree if policy.sees_everything(identity) else visible(outcome.tree, identity.vo)
        warnings = [*outcome.warnings, *unknown_options(tree)]
        if request.dry_run:
            old = head[0].snapshot.tree
            effects = [found for each in self._effects for found in await each.effects(old, outcome.tree)]
            if policy.sees_everything(identity):
                warnings += await asyncio.to_thread(self._old_faults, outcome, warnings)
            return Applied(
                now + 1, outcome.changes, outcome.files, warnings, _seen(effects, identity), merged
            )
        state = await self._write(identity, request, head[0], edit, outcome, brought)
        if state is None:
            if request.expected_version is not None:
                raise _overtaken(now + 1)
            return None
        await self._keeper.adopt(state)
        return Applied(state.snapshot.version, outcome.changes, outcome.files, warnings, merged=merged)

    def _old_faults(self, outcome: Outcome, known: Sequence[str]) -> list[str]:
        """Return what is wrong outside of what an edit touches."""
        found = self._judge.faults(outcome.tree)
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        return [
            f"{each} (as before)" for each in found[:_SHOWN] if not any(each in text for text in known)
        ] + more

    async def _write(
        self,
        identity: Identity,
        request: Apply,
        head: State,
        edit: Edit,
        outcome: Outcome,
        brought: Brought | None = None,
    ) -> State | None:
        normal = await asyncio.to_thread(normal_form, outcome.tree)
        number, name = head.snapshot.version + 1, digest(normal)
        changed: dict[str, tuple[str, str, bytes] | None] = dict.fromkeys(edit.removed & head.parts.keys())
        for file in edit.changed:
            part = outcome.parts[file]
            changed[file] = (part.digest, edit.changed[file], _part(outcome, file))
        vos = {
            path[1]
            for change in outcome.changes
            if (path := change.path.split("/"))[0] == "virtual_organisations"
        }
        hosts = registered_hosts(outcome.tree)
        async with self._units.write() as unit:
            author = (brought.author if brought is not None else "") or identity.subject
            version = Version(number, name, unit.now, author[:_LONGEST_AUTHOR], request.comment)
            if not changed:  # nothing but what is removed already
                return head
            if not await unit.versions.add(version, changed, _for_the_release_before(edit, outcome, normal)):
                return None
            if head.unreadable:  # nobody knows what it did to the registry
                everybody = registered(outcome.tree, outcome.tree.virtual_organisations)
                await self._registry.replace(unit, everybody, hosts=hosts, actor=version.author)
            elif vos or outcome.tree.hosts != head.snapshot.tree.hosts:
                changed_vos = registered(outcome.tree, sorted(vos))
                await self._registry.replace(unit, changed_vos, hosts=hosts, actor=version.author, scope=vos)
            unit.record(_event(version, outcome.changes))
            if brought is not None and brought.noted is not None:
                digests = {file: part.digest for file, part in outcome.parts.items()}
                await brought.noted(unit, number, made=True, exact=digests == brought.digests)
            if self.follow_up is not None:
                unit.enqueue(self.follow_up, key=self.follow_up)
        snapshot = Snapshot(version=number, digest=name, time=version.time, tree=outcome.tree)
        return State(snapshot, outcome.parts)


def _part(outcome: Outcome, file: str) -> bytes:
    # Options that have their default are left out, so that a later release may have another one.
    return normal_form(plain(outcome.parts[file].tree))


def _for_the_release_before(edit: Edit, outcome: Outcome, normal: bytes) -> tuple[str, str]:
    """Return text and tree as the release before reads them; empty if that could not have made them."""
    if len(normal) > _DEFAULTS * MAX_BYTES:
        return "", ""
    # It does not know sections that are new, so that these are left out as long as nobody uses them.
    tree = normal_form(plain(outcome.tree)).decode()
    if len(tree) > MAX_BYTES:
        return "", ""
    only = next(iter(outcome.parts)) if len(outcome.parts) == 1 else None
    return edit.changed.get(only, tree) if only else tree, tree


def _edit(request: Apply, base: State) -> Edit:
    if request.text is None:
        return Edit(dict(request.files), frozenset(request.removed))
    only = next(iter(base.parts)) if len(base.parts) == 1 else WHOLE
    return Edit({only: request.text}, frozenset(base.parts.keys() - {only}), {only: request.file})


async def _texts(unit: ConfigurationUnit, state: State, edit: Edit) -> dict[str, str]:
    names = (edit.changed.keys() | edit.removed) & state.parts.keys()
    if not names:
        return {}
    return {
        name: kept.text for name, kept in (await unit.versions.texts(state.snapshot.version, names)).items()
    }


def _check_rights(identity: Identity, head: State, outcome: Outcome) -> None:
    """Refuse what an administrator of a VO may not change.

    Raises:
        NotAllowedError: There is such a thing.
    """
    if policy.changes_everything(identity):
        return
    faults = [
        f"{place_of(outcome, '/'.join(path))}: {'/'.join(path)}: {text}"
        for path, text in refused(head.snapshot.tree, outcome.tree, outcome.changes, identity.vo)
    ]
    if faults:
        raise NotAllowedError("\n".join(faults[:_SHOWN]), hint="Nothing was changed")


def _check_files_of_vo(identity: Identity, edit: Edit, *states: State) -> None:
    """Refuse files that are about more than a VO, before anything is said of what others have.

    Raises:
        NotAllowedError: There is such a file.
    """
    if policy.changes_everything(identity):
        return
    for name in sorted(edit.changed.keys() | edit.removed):
        if any(name in each.parts and not own_only(each.parts[name].tree, identity.vo) for each in states):
            raise NotAllowedError(
                f"{name} is not a file of the VO {identity.vo} alone",
                hint="Those that you may change: dirac config pull DIRECTORY",
            )
    own = (VOS, identity.vo)
    for name, text in sorted(edit.changed.items()):
        read = document.read(text, name)
        for path, position in read.positions.items():
            if len(path) in (1, 2) and path != own[: len(path)]:
                raise NotAllowedError(
                    f"{'/'.join(path)}: this is not a part of the VO {identity.vo}",
                    where=f"{name}:{position.line}:{position.column}",
                    hint="Nothing was changed",
                )


def _same_files(head: State, outcome: Outcome) -> bool:
    # One text under another name is no news; the same in other files is.
    return not outcome.files or (len(head.parts) <= 1 and len(outcome.parts) <= 1)


def _seen(effects: Sequence[Effect], identity: Identity) -> list[Effect]:
    everything = policy.sees_everything(identity)
    return [each for each in effects if everything or each.vo in ("", identity.vo)]


def _check_files(request: Apply) -> None:
    if (request.text is None) == (not request.files and not request.removed):
        raise InvalidShapeError(
            "an application has either a text or files", hint="Send `text`, or `files` and `removed`"
        )
    for name in (*request.files, *request.removed):
        if not FILE_NAME.fullmatch(name):
            raise InvalidInputError(
                f"{name[:250]!r} is no name for a file of the configuration",
                hint="Names are relative, end with .yml or .yaml, and have letters, digits and _ . @ + - /",
            )
    if both := set(request.files) & set(request.removed):
        raise InvalidInputError(f"{min(both)} is changed and removed at once")


def _event(version: Version, changes: Sequence[Change]) -> Event:
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
    if len(comment) > MAX_COMMENT or "\x00" in comment:
        raise InvalidInputError(f"a comment has at most {MAX_COMMENT} characters, and none of them is NUL")


def _overtaken(number: int) -> ConflictError:
    return ConflictError(
        f"another configuration became version {number} meanwhile; this one was not applied",
        hint="Look at what changed, then apply again: dirac config diff",
    )
