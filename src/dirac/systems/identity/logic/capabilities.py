"""What a token of the WLCG profile lets its bearer do: scopes, and who may have which; pure decisions.

Source: WLCG Common JWT Profiles 1.2, https://doi.org/10.5281/zenodo.3460257.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from dirac.systems.identity.logic.oauth import OAuthError, plain

ANY_AUDIENCE = "https://wlcg.cern.ch/jwt/v1/any"
GROUPS = "wlcg.groups"
STORAGE = ("storage.read", "storage.create", "storage.modify", "storage.stage")
COMPUTE = ("compute.read", "compute.create", "compute.modify", "compute.cancel")

_MOST = 50
# What may do one thing may do the other: to stage is to read, to modify is to create.
_IMPLIED_BY = {"storage.read": "storage.stage", "storage.create": "storage.modify"}
_PART = re.compile(r"[A-Za-z0-9_@:=,+~.-]+\Z")


class CapabilityRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of a VO's tokens for storage and computing elements.

    Attributes:
        audiences: For whom there are tokens.
        groups: By group and scope, the paths below which its members may; of scopes without paths, any.
        seconds: How long a token lives.
        from_provider: Whether the VO's provider issues them, not the installation.
    """

    audiences: Sequence[str]
    groups: Mapping[str, Mapping[str, Sequence[str]]]
    seconds: int = 1200
    from_provider: bool = False


class Capability(msgspec.Struct, frozen=True, order=True):
    """One thing that a bearer may do; those for computing have no path."""

    verb: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.verb}:{self.path}" if self.path else self.verb


def asks_capabilities(scope: str | None) -> bool:
    """Tell whether a scope is one for storage or computing elements."""
    return any(part.startswith(("storage.", "compute.", GROUPS)) for part in (scope or "").split())


def parse_capabilities(scope: str | None) -> tuple[list[Capability], bool]:
    """Return what a scope asks for, in order, and whether it asks for the claim of groups.

    Raises:
        OAuthError: It is not of that form.
    """
    found: dict[Capability, None] = {}
    groups = False
    parts = plain("scope", scope).split()
    if len(parts) > _MOST:
        raise OAuthError("invalid_scope", f"more than {_MOST} capabilities are asked for")
    for part in parts:
        verb, colon, path = part.partition(":")
        if part == GROUPS:
            groups = True
        elif verb in COMPUTE and not colon:
            found[Capability(verb)] = None
        elif verb in STORAGE:
            found[Capability(verb, normalised(path))] = None
        else:
            raise OAuthError(
                "invalid_scope",
                f"the scope {part!r} is not understood",
                hint=f"Use {STORAGE[0]}:/PATH, {', '.join((*STORAGE[1:], *COMPUTE))} or {GROUPS}",
            )
    return sorted(found), groups


def normalised(path: str) -> str:
    """Return an absolute path without a slash at its end.

    What a storage element could read in another way is refused: steps up, empty parts, escapes.

    Raises:
        OAuthError: It is none.
    """
    if path == "/":
        return path
    parts = path.removesuffix("/").split("/")
    fine = parts[0] == "" and len(parts) > 1
    if not fine or any(part in (".", "..") or not _PART.match(part) for part in parts[1:]):
        raise OAuthError(
            "invalid_scope",
            f"the path {path!r} is not usable in a scope",
            hint="Use absolute paths of plain letters, without '.', '..', '//' and escapes",
        )
    return "/".join(parts)


def is_below(path: str, base: str) -> bool:
    """Tell whether a path is another one, or below it; both are normalised."""
    return base == "/" or path == base or path.startswith(f"{base}/")


def check(rules: CapabilityRules, group: str, wanted: Sequence[Capability], audience: str) -> None:
    """Refuse what a member of a group may not have.

    Raises:
        OAuthError: There are no tokens for that audience, or not for that group, or not for such paths.
    """
    if audience not in rules.audiences:
        raise OAuthError(
            "invalid_target",
            f"no tokens are issued for the audience {audience!r}",
            hint=f"Audiences are: {', '.join(rules.audiences)}",
        )
    has = rules.groups.get(group)
    if has is None:
        raise OAuthError(
            "invalid_scope",
            f"the group {group!r} gets no tokens for storage and computing elements",
            hint=f"Groups that do: {', '.join(sorted(rules.groups)) or 'none'}",
        )
    for one in wanted:
        if not _has(has, one):
            raise OAuthError(
                "invalid_scope",
                f"the scope {str(one)!r} is more than the group {group!r} may have",
                hint=f"It may have {_shown(has) or 'nothing'}",
            )


def _has(has: Mapping[str, Sequence[str]], one: Capability) -> bool:
    if not one.path:
        return one.verb in has
    bases = (*has.get(one.verb, ()), *has.get(_IMPLIED_BY.get(one.verb, ""), ()))
    return any(is_below(one.path, normalised(base)) for base in bases)


def _shown(has: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(
        str(Capability(verb, path))
        for verb in sorted(has)
        for path in (has[verb] if verb in STORAGE else [""])
    )
