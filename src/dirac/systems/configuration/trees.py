"""What can be done with trees: normal form, differences, the part that belongs to a VO."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct, structs

from dirac.systems.configuration.models import (
    Change,
    ComputingElement,
    IdentityProvider,
    Managers,
    Site,
    Tree,
    VirtualOrganisation,
)
from dirac.systems.identity.models import RegisteredGroup, RegisteredHost, RegisteredUser, RegisteredVO


@cache
def _options(cls: type[Struct]) -> tuple[tuple[str, Any], ...]:
    """Return name and default of the options of a section."""
    return tuple(
        (field.name, field.default if field.default_factory is NODEFAULT else field.default_factory())
        for field in structs.fields(cls)
    )


def plain(value: Any) -> Any:
    """Return a value as JSON has it; options that have their default are left out."""
    if isinstance(value, Struct):
        return {
            name: plain(option)
            for name, default in _options(type(value))
            if (option := getattr(value, name)) != default
        }
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def normal_form(value: Any) -> bytes:
    """Return the JSON text that all equal trees, or parts of trees, have in common: with all defaults."""
    return msgspec.json.encode(value, order="sorted")


def digest(normal: bytes) -> str:
    """Return the name of a normal form: its SHA-256, hexadecimal."""
    return hashlib.sha256(normal).hexdigest()


def diff(old: Tree, new: Tree) -> list[Change]:
    """Return the differences between two trees, ordered by path.

    Options are compared with their defaults, so that writing a default out is no difference. What is there
    on one side only is one difference, whatever it contains.
    """
    return list(_differences(old, new, ()))


def _differences(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[Change]:
    if isinstance(old, Struct) and isinstance(new, Struct):
        for name in sorted(name for name, _ in _options(type(new))):
            yield from _differences(getattr(old, name), getattr(new, name), (*path, name))
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if name in old and name in new:
                # Versions share what they have in common, and comparing texts is faster than looking inside.
                if old[name] is not new[name] and normal_form(old[name]) != normal_form(new[name]):
                    yield from _differences(old[name], new[name], (*path, name))
            else:
                yield Change("/".join((*path, name)), plain(old.get(name)), plain(new.get(name)))
    else:
        # As JSON, because to Python 1, 1.0 and True are the same.
        if normal_form(old) != normal_form(new):
            yield Change("/".join(path), plain(old), plain(new))


def visible(tree: Tree, vo: str) -> Tree:
    """Return the part of a tree that members of a VO may see; of shared sites, nothing of other VOs."""
    own = tree.virtual_organisations.get(vo)
    strange = _Strangers(tree, vo)
    return structs.replace(
        tree,
        virtual_organisations={} if own is None else {vo: own},
        hosts={},
        sites={
            name: structs.replace(
                site,
                virtual_organisations=[vo],
                managers=_own(site.managers, vo),
                computing_elements=_elements(site, strange),
                limits={
                    each: limit
                    for each, limit in site.limits.items()
                    if limit.vo in (None, vo) and not (strange.group(limit.group) or strange.user(limit.user))
                },
            )
            for name, site in tree.sites.items()
            if vo in site.virtual_organisations
        },
        data=structs.replace(
            tree.data,
            storage_elements={
                name: structs.replace(
                    element, virtual_organisations=[vo] if element.virtual_organisations else []
                )
                for name, element in tree.data.storage_elements.items()
                if not element.virtual_organisations or vo in element.virtual_organisations
            },
        ),
        # A candidate is about all of them.
        workload=structs.replace(tree.workload, shadow=None),
        # What nobody knows may be about anybody.
        extensions={},
    )


class _Strangers:
    """Tells what is other VOs' only; people of outside providers are in no tree."""

    def __init__(self, tree: Tree, vo: str) -> None:
        self.vo = vo
        self._own = tree.virtual_organisations.get(vo)
        self._others = [one for name, one in tree.virtual_organisations.items() if name != vo]

    def group(self, name: str | None) -> bool:
        """Tell it of a group."""
        mine = self._own is not None and name in self._own.groups
        return not mine and any(name in other.groups for other in self._others)

    def user(self, name: str | None) -> bool:
        """Tell it of a user."""
        mine = self._own is not None and name in self._own.users
        return not mine and any(name in other.users for other in self._others)


def _elements(site: Site, strange: _Strangers) -> dict[str, ComputingElement]:
    """Return the computing elements of a shared site, without queues that are for others only."""
    elements = site.computing_elements
    queues_ = (queue for one in elements.values() for queue in one.queues.values())
    if not any(one.managers for one in elements.values()) and not any(q.groups or q.users for q in queues_):
        return elements
    found = {}
    for name, element in elements.items():
        queues = {}
        for each, queue in element.queues.items():
            groups = [one for one in queue.groups if not strange.group(one)]
            users = [one for one in queue.users if not strange.user(one)]
            # An empty list is for everybody.
            if bool(groups) == bool(queue.groups) and bool(users) == bool(queue.users):
                queues[each] = structs.replace(queue, groups=groups, users=users)
        if queues:
            found[name] = structs.replace(element, queues=queues, managers=_own(element.managers, strange.vo))
    return found


def _own(managers: dict[str, Managers], vo: str) -> dict[str, Managers]:
    return {name: one for name, one in managers.items() if name == vo}


def registered(tree: Tree, names: Iterable[str]) -> list[RegisteredVO]:
    """Return what the identity system needs to know of some VOs, as far as they are there."""
    vos = tree.virtual_organisations
    return [_registered(name, vos[name]) for name in names if name in vos]


def overlaid(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with others laid over them, section by section."""
    found = dict(under)
    for name, value in over.items():
        below = found.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        found[name] = overlaid(below, value) if both else value  # type: ignore[arg-type]
    return found


def at(tree: Any, path: Sequence[str]) -> Any:
    """Return what is at a place of a tree.

    Raises:
        LookupError: Nothing can be there; the argument says how much of the path is known.
    """
    value = tree
    for depth, name in enumerate(path):
        if isinstance(value, Struct):
            if name not in type(value).__struct_fields__:
                raise LookupError(depth)
            value = getattr(value, name)
        elif isinstance(value, Mapping):
            if name not in value:
                raise LookupError(depth)
            value = value[name]
        else:
            raise LookupError(depth)
    return value


def registered_hosts(tree: Tree) -> list[RegisteredHost]:
    """Return the hosts that the identity system needs to know."""
    return [
        RegisteredHost(name, host.dn, tuple(map(str, host.properties))) for name, host in tree.hosts.items()
    ]


def subject(username: str, sub: str | None) -> str:
    """Return the subject of a user: the user name unless another one is given."""
    return sub or username


def _registered(name: str, vo: VirtualOrganisation) -> RegisteredVO:
    return RegisteredVO(
        name=name,
        default_group=vo.default_group,
        groups=tuple(
            RegisteredGroup(group, tuple(map(str, options.properties)))
            for group, options in vo.groups.items()
        ),
        users=tuple(
            RegisteredUser(
                username=username,
                sub=subject(username, user.sub),
                groups=tuple(user.groups),
                suspended=user.suspended,
                dns=tuple(user.dns),
            )
            for username, user in vo.users.items()
        ),
        support={"message": vo.support.message, "webpage": vo.support.webpage, "email": vo.support.email},
        identity_provider=_provider_name(vo.identity_provider),
    )


def _provider_name(provider: str | IdentityProvider) -> str:
    return provider if isinstance(provider, str) else provider.type
