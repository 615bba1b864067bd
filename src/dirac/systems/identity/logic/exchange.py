"""Token exchange (RFC 8693): a token for less than one has, or for whom a trusted service acts."""

from __future__ import annotations

from typing import Any

import msgspec

from dirac.core.errors import NotAllowedError, UnauthenticatedError
from dirac.core.unit import Units
from dirac.systems.identity.logic.access import complete_scope, grant
from dirac.systems.identity.logic.capabilities import asks_capabilities
from dirac.systems.identity.logic.capability_tokens import CapabilityTokens
from dirac.systems.identity.logic.claims import Claims
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.oauth import OAuthError, narrowed, parse_scope, plain
from dirac.systems.identity.logic.tokens import BEARER, Tokens
from dirac.systems.identity.models import Property, TokenResponse
from dirac.systems.identity.models_tokens import TokenRequest
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.tokens import ClientRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
JWT = "urn:ietf:params:oauth:token-type:jwt"
SUBJECT = "urn:dirac:oauth:token-type:subject"
"""A subject in words, ``vo:sub``, for a service that the installation trusts to name one."""

_LONGEST_TOKEN = 8192
# Nobody gets these by way of a service that speaks in their name.
_OWN_ONLY = frozenset(
    {
        *(Property.SERVICE_ADMINISTRATOR, Property.CS_ADMINISTRATOR, Property.OPERATOR),
        *(Property.PROXY_MANAGEMENT, Property.TRUSTED_HOST, Property.GENERIC_PILOT),
    }
)


class Exchange:
    """Exchanges tokens.

    Nothing is kept of an exchange but, where one acts for another, an event: a repetition makes one more
    token. A token that was exchanged ends with the one that it was exchanged for, and with its session.

    Args:
        units: Where the registry is.
        tokens: Makes and reads tokens.
        settings: For whom tokens are.
        capabilities: Gives those for storage and computing elements.
    """

    def __init__(
        self,
        units: Units[Unit],
        tokens: Tokens,
        settings: IdentitySettings,
        capabilities: CapabilityTokens,
    ) -> None:
        self._capabilities = capabilities
        self._units = units
        self._tokens = tokens
        self._settings = settings

    async def exchange(self, request: TokenRequest, client: ClientRecord | None) -> TokenResponse:
        """Return another token.

        Args:
            request: What is asked for.
            client: Who asks, if it has proved who it is.

        Raises:
            OAuthError: The request cannot be granted.
        """
        subject = plain("subject_token", request.subject_token, longest=_LONGEST_TOKEN)
        kind = plain("subject_token_type", request.subject_token_type)
        if asks_capabilities(request.scope) and kind in (ACCESS_TOKEN, JWT):
            self._check_kinds(request)
            return await self._capabilities.exchange(request, client)
        self._check_target(request)
        if kind == SUBJECT:
            token, seconds, scope = await self._act_for(subject, request, client)
        elif kind in (ACCESS_TOKEN, JWT):
            token, seconds, scope = await self._narrow(subject, request, client)
        else:
            raise OAuthError(
                "invalid_request",
                f"tokens of the type {kind!r} are not exchanged here",
                hint=f"Use {ACCESS_TOKEN}",
            )
        return TokenResponse(token, seconds, BEARER, issued_token_type=ACCESS_TOKEN, scope=scope or None)

    def _check_kinds(self, request: TokenRequest) -> None:
        if request.requested_token_type not in (None, "", ACCESS_TOKEN, JWT):
            raise OAuthError("invalid_request", "only access tokens are issued", hint=f"Use {ACCESS_TOKEN}")
        if request.actor_token:
            raise OAuthError(
                "invalid_request",
                "an actor_token is not understood here",
                hint="Who acts is the client that authenticates",
            )

    def _check_target(self, request: TokenRequest) -> None:
        self._check_kinds(request)
        issuer = self._settings.issuer
        if request.audience not in (None, "", self._settings.audience, issuer):
            raise OAuthError("invalid_target", f"no tokens are issued for the audience {request.audience!r}")
        if request.resource and not f"{request.resource}/".startswith(f"{issuer}/"):
            raise OAuthError("invalid_target", f"no tokens are issued for {request.resource!r}")

    async def _narrow(
        self, subject: str, request: TokenRequest, client: ClientRecord | None
    ) -> tuple[str, int, str]:
        try:
            claims = await self._tokens.claims(subject)
        except UnauthenticatedError as error:  # RFC 8693, section 2.2.2
            raise OAuthError("invalid_request", f"the subject_token: {error.message}") from None
        if claims.kind not in ("user", "service"):
            raise OAuthError("invalid_request", f"the token of a {claims.kind} is not exchanged")
        if client is not None and client.vo not in ("", claims.vo):
            raise OAuthError("invalid_request", "the subject_token is of another VO than the client")
        has = frozenset(claims.dirac_properties)
        if claims.kind == "user":
            has &= await self._still(claims)
        wanted = narrowed(request.scope, claims.vo, claims.dirac_group, has)
        act = None if client is None else _actor(client)
        token, seconds = await self._tokens.exchanged(
            claims, wanted, act=act, client_id=client.client_id if client is not None else ""
        )
        return token, seconds, msgspec.structs.replace(claims, dirac_properties=sorted(wanted)).scope

    async def _still(self, claims: Claims) -> frozenset[str]:
        """Return what a user may have now of what the token's group and the user's others have.

        Raises:
            OAuthError: The user may no longer have the group.
        """
        async with self._units.read() as unit:
            member = await unit.registry.member(claims.vo, sub=claims.sub.partition(":")[2])
        try:
            grant(member, Scope(claims.vo, claims.dirac_group))
        except NotAllowedError as error:
            raise OAuthError("invalid_request", error.message, hint=error.hint) from None
        groups = member.groups if member is not None else {}
        return frozenset(name for properties in groups.values() for name in properties)

    async def _act_for(
        self, subject: str, request: TokenRequest, client: ClientRecord | None
    ) -> tuple[str, int, str]:
        if client is None or Property.TRUSTED_HOST not in client.properties:
            raise OAuthError(
                "unauthorized_client",
                "this client may not act for others",
                hint=f"That takes a registered client with the property {Property.TRUSTED_HOST}",
            )
        vo, _, sub = subject.partition(":")
        if client.vo not in ("", vo):
            raise OAuthError("invalid_request", f"the client does not act for users of the VO {vo!r}")
        asked = parse_scope(request.scope or f"vo:{vo}")
        if asked.vo != vo:
            raise OAuthError("invalid_scope", f"the subject is not of the VO {asked.vo!r}")
        async with self._units.write() as unit:
            outlines = await unit.registry.outlines(vo)
            wanted = complete_scope(asked, outlines[0] if outlines else None)
            try:
                granted = grant(await unit.registry.member(vo, sub=sub), wanted)
            except NotAllowedError as error:
                raise OAuthError("invalid_request", error.message, hint=error.hint) from None
            granted = msgspec.structs.replace(granted, properties=granted.properties - _OWN_ONLY)
            actor = _actor(client)["sub"]
            unit.record(about_user("token.exchanged", unit.now, vo, sub, actor=actor, scope=str(wanted)))
        token, seconds = await self._tokens.user_token(
            granted, act=_actor(client), client_id=client.client_id
        )
        return token, seconds, str(Scope(vo, granted.group, tuple(sorted(granted.properties))))


def _actor(client: ClientRecord) -> dict[str, Any]:
    return {"sub": f"{client.vo}:client:{client.client_id}"}
