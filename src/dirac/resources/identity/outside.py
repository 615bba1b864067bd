"""The interface of outside identity providers: a person is sent there, and comes back with a proof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import msgspec

from dirac.core.errors import UnauthenticatedError
from dirac.core.secrets import Secret

KIND = "dirac.identity_provider"
"""Plugins of this kind are called with `ProviderSettings` and a `Clock`."""


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to speak to one provider, in the name of one VO.

    Attributes:
        issuer: Its address, letter by letter as its discovery document has it.
        client_id: Name under which DIRAC is registered there.
        client_secret: The client's secret, which may be replaced at any time; None: a public client.
        client_key: The client's private key, to be used instead of a secret.
        client_key_id: Name of that key at the provider.
        scopes: What is asked for; without ``offline_access`` sessions last as long as its tokens.
        username_claim: Claim that user names are made of.
        group_claims: Claims that may hold groups; dots lead into nested ones.
        scim_url: Address of its list of users (SCIM), if it has one.
        scim_scopes: Scopes of the client's own token that reads it.
        scim_token: Token that reads it instead, if the list is not the provider's own.
        scim_groups: Whether groups are taken from there as well.
    """

    issuer: str
    client_id: str
    client_secret: Secret | None = None
    client_key: Secret | None = None
    client_key_id: str | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email", "offline_access")
    username_claim: str = "preferred_username"
    group_claims: tuple[str, ...] = ("wlcg.groups", "groups", "eduperson_entitlement", "entitlements")
    scim_url: str | None = None
    scim_scopes: tuple[str, ...] = ("scim:read",)
    scim_token: Secret | None = None
    scim_groups: bool = False


class Begin(msgspec.Struct, frozen=True):
    """What a login at a provider begins with.

    Attributes:
        state: Comes back with the person.
        nonce: Comes back in the proof.
        verifier: What only we can show when the code is exchanged (RFC 7636).
        redirect_uri: Where the person comes back to.
    """

    state: str
    nonce: str
    verifier: str
    redirect_uri: str


class Person(msgspec.Struct, frozen=True):
    """What a provider says of a person.

    Attributes:
        sub: Subject; the provider never gives it to anybody else.
        username: For people to read.
        email: Mail address, empty if it says none.
        values: Values of the claims that may hold groups.
    """

    sub: str
    username: str
    email: str
    values: frozenset[str]


class Grant(msgspec.Struct, frozen=True):
    """What lets us ask again later.

    Attributes:
        refresh_token: Empty if the provider gave none.
        access_token: Good until `expires`.
        expires: Its end.
    """

    refresh_token: str
    access_token: str
    expires: datetime


Keep = Callable[[Grant], Awaitable[None]]
"""Keeps what a provider has given, however the rest goes."""


class Proof(msgspec.Struct, frozen=True):
    """A person, and how to ask again."""

    person: Person
    grant: Grant


class LoginEndedError(UnauthenticatedError):
    """The provider does not stand by a login any more: it was revoked, the person is gone, or it is over."""


class OutsideProvider(Protocol):
    """Speaks to one provider. Every call ends within seconds."""

    async def own_token(self, scope: str, audience: str) -> tuple[str, datetime]:
        """Return an access token of our client's own, and its end.

        Raises:
            UnavailableError: It does not answer, or gives less than was asked for.
        """
        ...

    async def probe(self) -> str:
        """Return where it lets people log in, if it is usable.

        Raises:
            UnavailableError: It does not answer, or what it says of itself is not usable.
            InvalidInputError: The settings are not usable, for instance for want of the secret.
        """
        ...

    async def begin(self, begin: Begin) -> str:
        """Return the address that a person is sent to.

        Raises:
            UnavailableError: It does not answer.
        """
        ...

    async def finish(self, begin: Begin, code: str, issuer: str) -> Proof:
        """Return who came back with a code; `issuer` is who says so (RFC 9207), empty if nobody.

        Raises:
            UnauthenticatedError: What it says is no proof.
            UnavailableError: It does not answer.
        """
        ...

    async def again(self, sub: str, grant: Grant, keep: Keep) -> Proof:
        """Return what it says today of a person who logged in earlier.

        Args:
            sub: Who it is.
            grant: What it gave last.
            keep: Told at once of what it gives instead, before it is asked anything else: with what was
                replaced, one would be taken for a thief.

        Raises:
            LoginEndedError: It does not stand by that login any more.
            UnavailableError: It does not answer.
        """
        ...

    async def people(self) -> dict[str, bool] | None:
        """Return who there is, by subject, and whether they are active; None if it has no such list.

        Raises:
            UnavailableError: It does not answer, or not completely.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
