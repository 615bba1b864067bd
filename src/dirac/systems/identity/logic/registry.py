"""The registry: who is who, as the configuration declares it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from dirac.core.errors import InvalidInputError
from dirac.core.unit import Event, Units
from dirac.systems.identity.logic.certificates import check_dns
from dirac.systems.identity.logic.events import about_user, subject_id
from dirac.systems.identity.models import (
    GroupInfo,
    Metadata,
    RegisteredGroup,
    RegisteredHost,
    RegisteredUser,
    RegisteredVO,
    SupportInfo,
    VOInfo,
)
from dirac.systems.identity.ports.registry import RegistryChanges, RegistryUnit
from dirac.systems.identity.ports.tokens import RevocationRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

K = TypeVar("K")
V = TypeVar("V")

_LONGEST_NAME = 64
_LONGEST_SUBJECT = 255
_RESERVED = ("pilot:", "job:", "node:", "host:", "client:")


class Registry:
    """VOs with their groups and users.

    Args:
        units: Where they are kept.
        settings: How long the tokens of those who are shut out would have lived.
    """

    def __init__(self, units: Units[Unit], settings: IdentitySettings) -> None:
        self._units = units
        self._longest = timedelta(seconds=settings.access_token_seconds)

    async def replace(
        self,
        unit: RegistryUnit,
        vos: Sequence[RegisteredVO],
        *,
        hosts: Sequence[RegisteredHost] = (),
        actor: str = "installation",
        scope: Collection[str] | None = None,
    ) -> None:
        """Make these the VOs and hosts of the installation, in another's unit; what differs is recorded.

        Args:
            unit: The unit.
            vos: The VOs.
            hosts: All hosts, whatever the scope.
            actor: Who wants it so.
            scope: Names of the VOs that may differ from what is registered: the others stay as they are, and
                nothing of them is read. None if all may.

        Raises:
            InvalidInputError: A name or subject is there twice, too long, or one that is reserved.
        """
        known = await unit.registry.vos(scope)
        staying = [] if scope is None else [name for name in await unit.registry.names() if name not in scope]
        _check(vos, staying)
        check_dns(vos, hosts)
        old_vos, new_vos = {vo.name: _bare(vo) for vo in known}, {vo.name: _bare(vo) for vo in vos}
        old_groups, new_groups = _groups(known), _groups(vos)
        old_users, new_users = _users(known), _users(vos)
        old_hosts = {host.name: host for host in await unit.registry.hosts()}
        new_hosts = {host.name: host for host in hosts}
        await unit.registry.change(
            RegistryChanges(
                drop_vos=_dropped(old_vos, new_vos),
                put_vos=_put(old_vos, new_vos),
                drop_groups=_dropped(old_groups, new_groups),
                put_groups=[(vo, new_groups[vo, name]) for vo, name in _new(old_groups, new_groups)],
                drop_users=_dropped(old_users, new_users),
                put_users=[(vo, new_users[vo, sub]) for vo, sub in _new(old_users, new_users)],
                revoke=[
                    RevocationRecord("person", vo, sub, unit.now, unit.now + self._longest)
                    for vo, sub in _shut_out(old_users, new_users)
                ],
                drop_hosts=_dropped(old_hosts, new_hosts),
                put_hosts=_put(old_hosts, new_hosts),
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
                    dns=list(user.dns),
                )
            )
        for name, verb in _verbs(old_hosts, new_hosts):
            unit.record(_event("host", verb, unit.now, "", name, actor))

    async def vos(self, vo: str | None = None) -> list[RegisteredVO]:
        """Return all VOs, or the one of that name, in order of names."""
        async with self._units.read() as unit:
            return await unit.registry.vos(None if vo is None else [vo])

    async def names(self) -> list[str]:
        """Return the names of the VOs."""
        async with self._units.read() as unit:
            return [vo.name for vo in await unit.registry.outlines()]

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
    # Names of certificates have no order; what is kept has one.
    return {
        (vo.name, user.sub): msgspec.structs.replace(user, dns=tuple(sorted(user.dns)))
        for vo in vos
        for user in vo.users
    }


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


def _shut_out(
    old: Mapping[tuple[str, str], RegisteredUser], new: Mapping[tuple[str, str], RegisteredUser]
) -> list[tuple[str, str]]:
    """Return who was let in and is not any more: they were suspended or removed."""
    return [
        key
        for key, user in old.items()
        if not user.suspended and ((now := new.get(key)) is None or now.suspended)
    ]


def _event(noun: str, verb: str, time: datetime, vo: str, name: str, actor: str) -> Event:
    return Event(
        kind=f"identity.{noun}.{verb}",
        vo=vo,
        subject_kind=noun,
        subject_id=subject_id(f"{vo}/{name}" if noun == "group" else name),
        time=time,
        actor=actor,
    )


def _check(vos: Sequence[RegisteredVO], others: Sequence[str] = ()) -> None:
    _check_names("VO", "the installation", [*others, *(vo.name for vo in vos)])
    for vo in vos:
        place = f"the VO {vo.name!r}"
        _check_names("group", place, [group.name for group in vo.groups])
        _check_names("user name", place, [user.username for user in vo.users])
        subs = [user.sub for user in vo.users]
        _check_names("subject", place, subs, longest=_LONGEST_SUBJECT - len(vo.name) - 1)
        for sub in subs:
            check_subject(vo.name, sub)


def check_subject(vo: str, sub: str) -> None:
    """Refuse a subject that nobody can have, whoever says so.

    Raises:
        InvalidInputError: It is empty, too long, not readable, or one that is reserved.
    """
    if not 0 < len(sub) <= _LONGEST_SUBJECT - len(vo) - 1 or not sub.isprintable():
        raise InvalidInputError(
            f"the subject {sub[:80]!r} of the VO {vo!r} has {len(sub)} characters, or ones that do not print",
            hint=f"Use 1 to {_LONGEST_SUBJECT - len(vo) - 1}",
        )
    if sub.startswith(_RESERVED):
        raise InvalidInputError(
            f"the subject {sub!r} of the VO {vo!r} is reserved",
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
