"""Refusals that a client understands by a code of the OAuth specifications, and what clients send."""

from __future__ import annotations

import hashlib
import re

from dirac.core.errors import InvalidInputError
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.settings import IdentitySettings

_LONGEST = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}\Z")
_MOST_PROPERTIES = 50
_UNSAFE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


class OAuthError(InvalidInputError):
    """A request to the authorisation server cannot be granted.

    Attributes:
        oauth: The ``error`` code of RFC 6749, 7009 or 8628.
    """

    def __init__(self, oauth: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.oauth = oauth

    @property
    def described(self) -> str:
        """What it says, in the characters of an ``error_description`` (RFC 6749, section 4.1.2.1)."""
        return _UNSAFE.sub("?", str(self))


def plain(name: str, value: str | None, *, longest: int = _LONGEST) -> str:
    """Return what a client sent for a parameter.

    Raises:
        OAuthError: It is absent or empty, too long, or holds control characters.
    """
    if not value:
        raise OAuthError("invalid_request", f"the parameter {name!r} is missing")
    if len(value) > longest:
        raise OAuthError("invalid_request", f"the parameter {name!r} is longer than {longest} characters")
    if _CONTROL.search(value):
        raise OAuthError("invalid_request", f"the parameter {name!r} holds a control character")
    return value


def known_client(settings: IdentitySettings, client_id: str | None) -> str:
    """Return the client's identifier.

    Raises:
        OAuthError: It is not one of those that this installation knows.
    """
    client_id = plain("client_id", client_id, longest=255)
    if client_id not in settings.client_ids:
        raise OAuthError("invalid_client", f"there is no client {client_id!r} here")
    return client_id


def parse_scope(text: str | None) -> Scope:
    """Read a scope: one ``vo:``, at most one ``group:``, any number of ``property:``.

    Raises:
        OAuthError: It is not of that form.
    """
    found: dict[str, list[str]] = {"vo": [], "group": [], "property": []}
    for part in plain("scope", text).split():
        kind, _, name = part.partition(":")
        if kind not in found or not _NAME.match(name):
            raise OAuthError(
                "invalid_scope",
                f"the scope {part!r} is not understood",
                hint="Use vo:NAME, group:NAME and property:NAME",
            )
        if name not in found[kind]:
            found[kind].append(name)
    if len(found["vo"]) != 1:
        raise OAuthError(
            "invalid_scope", f"{len(found['vo'])} VOs are asked for", hint="Ask for one: vo:NAME"
        )
    if len(found["group"]) > 1:
        raise OAuthError("invalid_scope", f"{len(found['group'])} groups are asked for", hint="Ask for one")
    if len(found["property"]) > _MOST_PROPERTIES:
        raise OAuthError("invalid_scope", f"more than {_MOST_PROPERTIES} properties are asked for")
    group = found["group"][0] if found["group"] else None
    return Scope(found["vo"][0], group, tuple(sorted(found["property"])))


def digest(secret: str) -> str:
    """Return what is kept of a random secret; it has too much entropy to need salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ClientError(OAuthError):
    """A client has not proved who it is (RFC 6749, section 5.2): the one error that is a 401."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_client", message)


def narrowed(text: str | None, vo: str, group: str, properties: frozenset[str]) -> frozenset[str]:
    """Return the properties that a scope leaves of those that there are: exactly the ones that it names.

    Args:
        text: The scope; None leaves all of them.
        vo: The only VO that it may name.
        group: The only group that it may name.
        properties: What there is.

    Raises:
        OAuthError: It asks for more, or is not of that form.
    """
    if not text:
        return properties
    wanted = set()
    for part in plain("scope", text).split():
        kind, _, name = part.partition(":")
        if kind == "property" and name in properties:
            wanted.add(name)
        elif not name or (kind, name) not in (("vo", vo), ("group", group)):
            raise OAuthError(
                "invalid_scope",
                f"the scope {part!r} is more than there is to give",
                hint=f"Use some of property:{', property:'.join(sorted(properties))}" if properties else None,
            )
    return frozenset(wanted)
