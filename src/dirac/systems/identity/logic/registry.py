"""The registry: who is who, as the configuration declares it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from dirac.core.errors import InvalidInputError
from dirac.core.unit import Event, Units
from dirac.systems.identity.logic.events import about_user, subject_id
from dirac.systems.identity.models import (
    GroupInfo,
    Metadata,
    RegisteredGroup,
    RegisteredUser,
    RegisteredVO,
    SupportInfo,
    VOInfo,
)
from dirac.systems.identity.ports import RegistryChanges, RegistryUnit, Unit

K = TypeVar("K")
V = TypeVar("V")

_LONGEST_NAME = 64
_LONGEST_SUBJECT = 255
_RESERVED = ("pilot:", "job:", "node:")


class Registry:
    """VOs with their groups and users.

    Args:
        units: Where they are kept.
    """

    def __init__(self, units: Units[Unit]) -> None:
        self._units = units

    async def replace(
        self, unit: RegistryUnit, vos: Sequence[RegisteredVO], *, actor: str = "installation"
    ) -> None:
        """Make these the VOs of the installation, inside somebody else's unit; what differs is recorded.

        Raises:
            InvalidInputError: A name or subject is there twice, too long, or one that is reserved.
        """
        _check(vos)
        known = await unit.registry.vos()
        old_vos, new_vos = {vo.name: _bare(vo) for vo in known}, {vo.name: _bare(vo) for vo in vos}
        old_groups, new_groups = _groups(known), _groups(vos)
        old_users, new_users = _users(known), _users(vos)
        await unit.registry.change(
            RegistryChanges(
                drop_vos=_dropped(old_vos, new_vos),
                put_vos=_put(old_vos, new_vos),
                drop_groups=_dropped(old_groups, new_groups),
                put_groups=[(vo, new_groups[vo, name]) for vo, name in _new(old_groups, new_groups)],
                drop_users=_dropped(old_users, new_users),
                put_users=[(vo, new_users[vo, sub]) for vo, sub in _new(old_users, new_users)],
            )
        )
        for name, verb in _verbs(old_vos, new_vos):
            unit.record(_event("vo", verb, unit.now, name, name, actor))
        for (vo, name), verb in _verbs(old_groups, new_groups):
            unit.record(_event("group", verb, unit.now, vo, name, actor))
        for (vo, sub), verb in _verbs(old_users, new_users):
            user = new_users.get((vo, sub)) or old_users[vo, sub]
            unit.record(
                about_user(
                    f"user.{verb}",
                    unit.now,
                    vo,
                    sub,
                    actor=actor,
                    username=user.username,
                    groups=list(user.groups),
                    suspended=user.suspended,
                )
            )

    async def vos(self, vo: str | None = None) -> list[RegisteredVO]:
        """Return all VOs, or the one of that name, in order of names."""
        async with self._units.read() as unit:
            return await unit.registry.vos(vo)

    async def metadata(self) -> Metadata:
        """Return what somebody needs to know to log in: no users."""
        async with self._units.read() as unit:
            outlines = await unit.registry.outlines()
        return Metadata({vo.name: _info(vo) for vo in outlines})

    async def scopes(self) -> list[str]:
        """Return every scope that can be asked for, each once."""
        async with self._units.read() as unit:
            outlines = await unit.registry.outlines()
        groups = [group for vo in outlines for group in vo.groups]
        return [
            *(f"vo:{vo.name}" for vo in outlines),
            *sorted({f"group:{group.name}" for group in groups}),
            *sorted({f"property:{name}" for group in groups for name in group.properties}),
        ]


def _info(vo: RegisteredVO) -> VOInfo:
    support = vo.support
    return VOInfo(
        groups={group.name: GroupInfo(list(group.properties)) for group in vo.groups},
        support=SupportInfo(support.get("message") or "", support.get("webpage"), support.get("email")),
        default_group=vo.default_group,
    )


def _bare(vo: RegisteredVO) -> RegisteredVO:
    return msgspec.structs.replace(vo, groups=(), users=())


def _groups(vos: Iterable[RegisteredVO]) -> dict[tuple[str, str], RegisteredGroup]:
    return {(vo.name, group.name): group for vo in vos for group in vo.groups}


def _users(vos: Iterable[RegisteredVO]) -> dict[tuple[str, str], RegisteredUser]:
    return {(vo.name, user.sub): user for vo in vos for user in vo.users}


def _verbs(old: Mapping[K, V], new: Mapping[K, V]) -> list[tuple[K, str]]:
    """Return what happened to each thing that is not as it was."""
    removed = [(key, "removed") for key in old if key not in new]
    return removed + [(key, "changed" if key in old else "added") for key in _new(old, new)]


def _new(old: Mapping[K, V], new: Mapping[K, V]) -> list[K]:
    return [key for key, value in new.items() if old.get(key) != value]


def _put(old: Mapping[K, V], new: Mapping[K, V]) -> list[V]:
    return [new[key] for key in _new(old, new)]


def _dropped(old: Mapping[K, V], new: Mapping[K, V]) -> list[K]:
    """Return what goes for good, and what goes to come back changed."""
    return [key for key, value in old.items() if new.get(key) != value]


def _event(noun: str, verb: str, time: datetime, vo: str, name: str, actor: str) -> Event:
    return Event(
        kind=f"identity.{noun}.{verb}",
        vo=vo,
        subject_kind=noun,
        subject_id=subject_id(f"{vo}/{name}" if noun == "group" else name),
        time=time,
        actor=actor,
    )


def _check(vos: Sequence[RegisteredVO]) -> None:
    _check_names("VO", "the installation", [vo.name for vo in vos])
    for vo in vos:
        place = f"the VO {vo.name!r}"
        _check_names("group", place, [group.name for group in vo.groups])
        _check_names("user name", place, [user.username for user in vo.users])
        subs = [user.sub for user in vo.users]
        _check_names("subject", place, subs, longest=_LONGEST_SUBJECT - len(vo.name) - 1)
        for sub in subs:
            if sub.startswith(_RESERVED):
                raise InvalidInputError(
                    f"the subject {sub!r} of {place} is reserved",
                    hint=f"Subjects of users do not begin with {' or '.join(_RESERVED)}",
                )


def _check_names(kind: str, place: str, names: Sequence[str], *, longest: int = _LONGEST_NAME) -> None:
    # Some databases compare without regard to case; there, two such names would be one.
    seen: dict[str, str] = {}
    for name in names:
        if not 0 < len(name) <= longest:
            raise InvalidInputError(
                f"the {kind} {name[:80]!r} of {place} has {len(name)} characters", hint=f"Use 1 to {longest}"
            )
        if (other := seen.get(name.casefold())) is not None:
            raise InvalidInputError(
                f"{place} has the {kind} {name!r} twice", hint=f"The other one: {other!r}"
            )
        seen[name.casefold()] = name
