"""The token endpoint, and what the bearers of tokens may ask about themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request

from dirac.systems.identity import policy
from dirac.systems.identity.api.oauth import OAuthRoute, shown_secret
from dirac.systems.identity.logic.authorizations import Authorizations
from dirac.systems.identity.logic.clients import Clients
from dirac.systems.identity.logic.devices import Devices
from dirac.systems.identity.logic.discovery import CLIENT_GRANT, DEVICE_GRANT, EXCHANGE_GRANT
from dirac.systems.identity.logic.exchange import Exchange, ExchangeRequest
from dirac.systems.identity.logic.introspection import Introspector
from dirac.systems.identity.logic.oauth import OAuthError, plain
from dirac.systems.identity.logic.sessions import Sessions
from dirac.systems.identity.models import Identity, SessionToken, TokenResponse, UserInfo
from dirac.systems.identity.models_tokens import Introspection
from dirac.transport.routing import SystemRouter, allowed, open_to_all, provided

router = SystemRouter("/api/auth", "auth")
_open = [open_to_all("the grant that is presented is the credential")]
_Text = Annotated[str | None, Form()]


async def get_oidc_token(
    request: Request,
    devices: Annotated[Devices, provided(Devices)],
    authorizations: Annotated[Authorizations, provided(Authorizations)],
    sessions: Annotated[Sessions, provided(Sessions)],
    clients: Annotated[Clients, provided(Clients)],
    exchange: Annotated[Exchange, provided(Exchange)],
    grant_type: _Text = None,
    client_id: _Text = None,
    client_secret: _Text = None,
    device_code: _Text = None,
    code: _Text = None,
    redirect_uri: _Text = None,
    code_verifier: _Text = None,
    refresh_token: _Text = None,
    scope: _Text = None,
    subject_token: _Text = None,
    subject_token_type: _Text = None,
    requested_token_type: _Text = None,
    actor_token: _Text = None,
    audience: _Text = None,
    resource: _Text = None,
) -> TokenResponse:
    """Exchange a grant for tokens (RFC 6749, 7636, 8628, 8693)."""
    kind = plain("grant_type", grant_type)
    if kind == "refresh_token":
        return await sessions.refresh(refresh_token, client_id)
    if kind == DEVICE_GRANT:
        return await devices.redeem(device_code, client_id)
    if kind == "authorization_code":
        return await authorizations.redeem(code, code_verifier, redirect_uri, client_id)
    if kind == CLIENT_GRANT:
        name, secret = shown_secret(request, client_id, client_secret)
        return await clients.grant(await clients.authenticate(name, secret), scope)
    if kind == EXCHANGE_GRANT:
        name, secret = shown_secret(request, client_id, client_secret)
        wanted = ExchangeRequest(
            subject_token=subject_token,
            subject_token_type=subject_token_type,
            requested_token_type=requested_token_type,
            actor_token=actor_token,
            audience=audience,
            resource=resource,
            scope=scope,
        )
        return await exchange.exchange(wanted, await clients.known(name, secret))
    raise OAuthError("unsupported_grant_type", f"the grant type {kind!r} is not supported")


async def introspect_token(
    request: Request,
    clients: Annotated[Clients, provided(Clients)],
    introspector: Annotated[Introspector, provided(Introspector)],
    token: _Text = None,
    token_type_hint: _Text = None,
    client_id: _Text = None,
    client_secret: _Text = None,
) -> Introspection:
    """Tell a registered client what a token is good for (RFC 7662)."""
    name, secret = shown_secret(request, client_id, client_secret)
    return await introspector.look(token, await clients.authenticate(name, secret))


async def revoke_refresh_token_by_refresh_token(
    sessions: Annotated[Sessions, provided(Sessions)],
    token: _Text = None,
    token_type_hint: _Text = None,
    client_id: Annotated[str, Form()] = "myDIRACClientID",
) -> str:
    """Revoke a token (RFC 7009): with a refresh token ends its session, an access token ends alone."""
    await sessions.revoke(token, client_id)
    return "Refresh token revoked"


router.add_api_route(
    "/token", get_oidc_token, methods=["POST"], dependencies=_open, route_class_override=OAuthRoute
)
router.add_api_route(
    "/introspect",
    introspect_token,
    methods=["POST"],
    dependencies=[open_to_all("the client's secret is the credential")],
    route_class_override=OAuthRoute,
)
router.add_api_route(
    "/revoke",
    revoke_refresh_token_by_refresh_token,
    methods=["POST"],
    dependencies=_open,
    route_class_override=OAuthRoute,
)


@router.get("/userinfo")
async def userinfo(caller: Annotated[Identity, allowed(policy.anybody)]) -> UserInfo:
    """Return the claims of the token that is presented."""
    return UserInfo(
        sub=caller.subject,
        vo=caller.vo,
        dirac_group=caller.group,
        policies={},
        properties=sorted(caller.properties),
        preferred_username=caller.username,
    )


@router.get("/refresh-tokens")
async def get_refresh_tokens(
    caller: Annotated[Identity, allowed(policy.person)], sessions: Annotated[Sessions, provided(Sessions)]
) -> list[SessionToken]:
    """List the refresh tokens in use: one's own, or with ProxyManagement all of one's VO."""
    return await sessions.active(caller)


@router.delete("/refresh-tokens/{jti}")
async def revoke_refresh_token_by_jti(
    jti: str,
    caller: Annotated[Identity, allowed(policy.person)],
    sessions: Annotated[Sessions, provided(Sessions)],
) -> str:
    """End the session of a refresh token, by the token's identifier."""
    await sessions.end(caller, jti)
    return "Refresh token revoked"
