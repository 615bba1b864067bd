"""From what an outside provider says of a person to what the person is here: pure decisions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple
from urllib.parse import unquote

import msgspec

from dirac.resources.identity.outside import Person, ProviderSettings
from dirac.systems.identity.logic.capabilities import CapabilityRules
from dirac.systems.identity.models import AcceptableUse

Admits = Literal["declared", "members", "everybody"]

_LONGEST_NAME = 63
_UNFIT = re.compile(r"[^A-Za-z0-9_.@-]+")
_ENTITLEMENT = re.compile(
    r"(?P<namespace>urn:[^#]+?):group:(?P<path>[^#]+?)(?::role=(?P<role>[^:#]+))?(?:#(?P<authority>.+))?\Z"
)
_MEMBER = "member"


class LoginRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of logins to a VO.

    Attributes:
        plugin: Plugin that speaks to the outside provider.
        provider: Its settings; None if people log in with a password here.
        admits: Who may log in whom the configuration does not declare: nobody, those in a group, everybody.
        groups: Groups of the VO by values of the provider's claims.
        default_group: Group of everybody, if everybody is admitted.
        offline_seconds: So long what the provider said last is good if it does not answer.
        policy: What people have to accept before they get a token.
        capabilities: Who gets tokens for storage and computing elements; None for nobody.
    """

    plugin: str = "oidc"
    provider: ProviderSettings | None = None
    admits: Admits = "declared"
    groups: Mapping[str, Sequence[str]] = {}
    default_group: str = ""
    offline_seconds: int = 12 * 3600
    policy: AcceptableUse | None = None
    capabilities: CapabilityRules | None = None


class Entitlement(NamedTuple):
    """Membership of a group as AARC-G002 and AARC-G069 write it; what is left out is None."""

    namespace: str
    path: tuple[str, ...]
    role: str | None
    authority: str | None


def entitlement(value: str) -> Entitlement | None:
    """Read ``<namespace>:group:<group>[:<subgroup>...][:role=<role>][#<authority>]``, or return None."""
    found = _ENTITLEMENT.match(value)
    if found is None:
        return None
    path = tuple(unquote(part) for part in found["path"].split(":"))
    role = None if found["role"] is None else unquote(found["role"])
    return Entitlement(found["namespace"], path, role, found["authority"])


def covers(wanted: str, value: str) -> bool:
    """Tell whether a value of a claim is one that the configuration names.

    Entitlements may be named in short: without an authority for any, without a role for plain members. A
    member of a subgroup is not one of the group, unless the provider says so as well.
    """
    if wanted == value:
        return True
    ours, theirs = entitlement(wanted), entitlement(value)
    if ours is None or theirs is None or (ours.namespace, ours.path) != (theirs.namespace, theirs.path):
        return False
    if ours.authority is not None and ours.authority != theirs.authority:
        return False
    return (ours.role or _MEMBER) == (theirs.role or _MEMBER)


def admitted(rules: LoginRules, values: Collection[str]) -> tuple[str, ...]:
    """Return the groups that a person whom the configuration does not declare gets; none: not admitted."""
    if rules.admits == "declared":
        return ()
    groups = {
        group
        for wanted, mapped in rules.groups.items()
        if any(covers(wanted, value) for value in values)
        for group in mapped
    }
    if rules.admits == "everybody" and rules.default_group:
        groups.add(rules.default_group)
    return tuple(sorted(groups))


def username(person: Person) -> str:
    """Return a name for people to read; two people may have the same one."""
    for text in (person.username, person.email.partition("@")[0]):
        name = _UNFIT.sub("-", text).strip("_.@-")[:_LONGEST_NAME]
        if name:
            return name
    return f"user-{hashlib.sha256(person.sub.encode()).hexdigest()[:8]}"
