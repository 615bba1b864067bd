"""What a user may ask for: pure decisions on the registry's data."""

from __future__ import annotations

import msgspec

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.logic.oauth import OAuthError
from dirac.systems.identity.models import RegisteredVO
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.registry import Member


class Grant(msgspec.Struct, frozen=True):
    """What a user gets."""

    vo: str
    sub: str
    username: str
    group: str
    properties: frozenset[str]


def complete_scope(scope: Scope, vo: RegisteredVO | None) -> Scope:
    """Fill in the default group, and refuse what nobody of the VO could get.

    Raises:
        OAuthError: There is no such VO or group, or no group of the VO has such a property.
    """
    if vo is None:
        raise OAuthError("invalid_scope", f"there is no VO {scope.vo!r} here")
    groups = {group.name: group.properties for group in vo.groups}
    group = scope.group or vo.default_group
    if group not in groups:
        raise OAuthError(
            "invalid_scope",
            f"the VO {vo.name!r} has no group {group!r}",
            hint=f"Groups are: {', '.join(sorted(groups))}",
        )
    known = {name for properties in groups.values() for name in properties}
    if unknown := sorted(set(scope.properties) - known):
        raise OAuthError("invalid_scope", f"no group of the VO {vo.name!r} has the property {unknown[0]!r}")
    return Scope(vo.name, group, scope.properties)


def grant(member: Member | None, scope: Scope) -> Grant:
    """Decide what a user gets of what was asked for: all of it.

    Raises:
        NotAllowedError: The user is gone, suspended, not in the group, or in no group with a property.
    """
    if member is None:
        raise NotAllowedError(f"there is no such user of the VO {scope.vo!r} any more")
    if member.suspended:
        raise NotAllowedError(
            f"the user {member.username!r} is suspended", hint="Ask the managers of your VO why"
        )
    if scope.group is None or scope.group not in member.groups:
        raise NotAllowedError(
            f"the user {member.username!r} is not in the group {scope.group!r}",
            hint=f"Groups of this user: {', '.join(sorted(member.groups)) or 'none'}",
        )
    possible = {name for properties in member.groups.values() for name in properties}
    if missing := sorted(set(scope.properties) - possible):
        raise NotAllowedError(f"no group of the user {member.username!r} has the property {missing[0]!r}")
    properties = frozenset(member.groups[scope.group]) | frozenset(scope.properties)
    return Grant(member.vo, member.sub, member.username, scope.group, properties)
