"""Which rights a policy asks for, found by asking it: a policy is a pure function of an identity.

So what is told about a refusal, or written into the documentation, is never another opinion than the one that
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import combinations
from typing import get_args

import msgspec

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.models import Identity, Kind, Place, Property

Policy = Callable[[Identity], None]

_KINDS: dict[Kind, str] = {
    "user": "people",
    "pilot": "pilots",
    "job": "running jobs",
    "service": "services of the installation",
    "node": "worker nodes",
}
_MOST_TOGETHER = 2
MANAGER = "manager"
"""What the right of those is called who look after a site, in front of its name."""
assert set(_KINDS) == set(get_args(Kind))  # noqa: S101 - a new kind needs a name


def allows(policy: Policy, identity: Identity) -> bool:
    """Tell whether a policy lets somebody pass."""
    try:
        policy(identity)
    except NotAllowedError:
        return False
    return True


def with_properties(identity: Identity, properties: Iterable[str]) -> Identity:
    """Return somebody with other properties."""
    return msgspec.structs.replace(identity, properties=frozenset(map(str, properties)))


def used(policy: Policy, identity: Identity) -> list[str]:
    """Return the properties of somebody each of which opens a door that is closed without any.

    Where only several together open it, these are returned. What somebody looks after opens doors as well.
    """
    bare = msgspec.structs.replace(identity, properties=frozenset(), manages=frozenset())
    if allows(policy, bare):
        return []
    alone = [name for name in sorted(identity.properties) if allows(policy, with_properties(bare, [name]))]
    if identity.manages and allows(policy, msgspec.structs.replace(bare, manages=identity.manages)):
        alone += [f"{MANAGER}:{place.site}" for place in sorted(identity.manages)]
    if alone or not allows(policy, identity):
        return alone
    return [
        name
        for name in sorted(identity.properties)
        if not allows(policy, with_properties(identity, identity.properties - {name}))
    ]


def missing(policy: Policy, identity: Identity) -> list[str]:
    """Return what would open a door to somebody who has been refused, in words; empty if nothing would.

    Fewest rights first: one property more, or two together, or being something else than one is.
    """
    names = [str(name) for name in Property if name not in identity.properties]
    for count in range(1, _MOST_TOGETHER + 1):
        found = [
            " with ".join(more)
            for more in combinations(names, count)
            if allows(policy, with_properties(identity, identity.properties.union(more)))
        ]
        if found:
            return found
    return [line for line in openings(policy) if not line.startswith(_KINDS[identity.kind])]


def openings(policy: Policy) -> list[str]:
    """Return to whom a policy opens a door, in words: for each kind of bearer, with which properties."""
    found: dict[str, list[str]] = {}
    for kind, name in _KINDS.items():
        identity = somebody(kind)
        if allows(policy, identity):
            found.setdefault("", []).append(name)
            continue
        alone = [str(each) for each in Property if allows(policy, with_properties(identity, [each]))]
        if alone:
            found.setdefault(" or ".join(alone), []).append(name)
    if len(found.get("", ())) == len(_KINDS):
        return ["everybody with a token"]
    lines = [
        f"{', '.join(names)}{f' with {properties}' if properties else ''}"
        for properties, names in found.items()
    ]
    manager = msgspec.structs.replace(somebody("user"), manages=frozenset({Place("site")}))
    if allows(policy, manager) and not allows(policy, somebody("user")):
        lines.append("people who look after a site, for that site")
    return lines


def somebody(kind: Kind, *, vo: str = "vo", group: str = "group", properties: Iterable[str] = ()) -> Identity:
    """Return somebody to ask policies about, who has nothing but this."""
    return Identity(
        vo=vo if kind in ("user", "pilot", "job") else "",
        sub="somebody",
        username="somebody",
        group=group,
        properties=frozenset(map(str, properties)),
        kind=kind,
        token_id="",
        expires=datetime(1970, 1, 1, tzinfo=UTC),
    )
