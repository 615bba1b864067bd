"""The token endpoint, and what the bearers of tokens may ask about themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from dirac.systems.identity import policy
from dirac.systems.identity.api.oauth import ClientForm, OAuthRoute
from dirac.systems.identity.logic.authorizations import Authorizations
from dirac.systems.identity.logic.clients import Clients
from dirac.systems.identity.logic.devices import Devices
from dirac.systems.identity.logic.discovery import CLIENT_GRANT, DEVICE_GRANT, EXCHANGE_GRANT
from dirac.systems.identity.logic.exchange import Exchange
from dirac.systems.identity.logic.introspection import Introspector
from dirac.systems.identity.logic.oauth import OAuthError, plain
from dirac.systems.identity.logic.sessions import Sessions
from dirac.systems.identity.models import Identity, Property, SessionToken, TokenResponse, UserInfo
from dirac.systems.identity.models_tokens import Introspection, TokenQuestion, TokenRequest
from dirac.transport.routing import Form, SystemRouter, allowed, open_to_all, provided

router = SystemRouter("/api/auth", "auth")
_open = [open_to_all("the grant that is presented is the credential")]
_LONGEST = 65_536
# DiracX's clients do not name themselves when they log out.
_DEFAULT_CLIENT = "myDIRACClientID"


async def get_oidc_token(
    form: Annotated[TokenRequest, Depends(ClientForm(TokenRequest, _LONGEST))],
    devices: Annotated[Devices, provided(Devices)],
    authorizations: Annotated[Authorizations, provided(Authorizations)],
    sessions: Annotated[Sessions, provided(Sessions)],
    clients: Annotated[Clients, provided(Clients)],
    exchange: Annotated[Exchange, provided(Exchange)],
) -> TokenResponse:
    """Exchange a grant for tokens (RFC 6749, 7636, 8628, 8693)."""
    kind = plain("grant_type", form.grant_type)
    if kind == "refresh_token":
        return await sessions.refresh(form.refresh_token, form.client_id)
    if kind == DEVICE_GRANT:
        return await devices.redeem(form.device_code, form.client_id)
    if kind == "authorization_code":
        return await authorizations.redeem(form.code, form.code_verifier, form.redirect_uri, form.client_id)
    if kind == CLIENT_GRANT:
        return await clients.grant(await clients.authenticate(form), form.scope)
    if kind == EXCHANGE_GRANT:
        return await exchange.exchange(form, await clients.known(form))
    raise OAuthError("unsupported_grant_type", f"the grant type {kind!r} is not supported")


async def introspect_token(
    form: Annotated[TokenQuestion, Depends(ClientForm(TokenQuestion, _LONGEST))],
    clients: Annotated[Clients, provided(Clients)],
    introspector: Annotated[Introspector, provided(Introspector)],
) -> Introspection:
    """Tell a registered client what a token is good for (RFC 7662)."""
    client = await clients.authenticate(form)
    return await introspector.look(form.token, client)


async def revoke_refresh_token_by_refresh_token(
    form: Annotated[TokenQuestion, Depends(Form(TokenQuestion, _LONGEST))],
    sessions: Annotated[Sessions, provided(Sessions)],
) -> str:
    """Revoke a token (RFC 7009): with a refresh token ends its session, an access token ends alone."""
    await sessions.revoke(form.token, form.client_id or _DEFAULT_CLIENT)
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
    caller: Annotated[Identity, allowed(policy.person, widened=(Property.PROXY_MANAGEMENT,))],
    sessions: Annotated[Sessions, provided(Sessions)],
) -> str:
    """End the session of a refresh token, by the token's identifier."""
    await sessions.end(caller, jti)
    return "Refresh token revoked"
