"""The token endpoint, and what the bearers of tokens may ask about themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form

from dirac.systems.identity import policy
from dirac.systems.identity.api.oauth import OAuthRoute
from dirac.systems.identity.logic.authorizations import Authorizations
from dirac.systems.identity.logic.devices import Devices
from dirac.systems.identity.logic.discovery import DEVICE_GRANT
from dirac.systems.identity.logic.oauth import OAuthError, plain
from dirac.systems.identity.logic.sessions import Sessions
from dirac.systems.identity.models import Identity, Property, SessionToken, TokenResponse, UserInfo
from dirac.transport.routing import SystemRouter, allowed, open_to_all, provided

router = SystemRouter("/api/auth", "auth")
_open = [open_to_all("the grant that is presented is the credential")]
_Text = Annotated[str | None, Form()]


async def get_oidc_token(
    devices: Annotated[Devices, provided(Devices)],
    authorizations: Annotated[Authorizations, provided(Authorizations)],
    sessions: Annotated[Sessions, provided(Sessions)],
    grant_type: _Text = None,
    client_id: _Text = None,
    device_code: _Text = None,
    code: _Text = None,
    redirect_uri: _Text = None,
    code_verifier: _Text = None,
    refresh_token: _Text = None,
) -> TokenResponse:
    """Exchange a grant for tokens (RFC 6749, 7636, 8628)."""
    kind = plain("grant_type", grant_type)
    if kind == DEVICE_GRANT:
        answer = await devices.redeem(device_code, client_id)
    elif kind == "authorization_code":
        answer = await authorizations.redeem(code, code_verifier, redirect_uri, client_id)
    elif kind == "refresh_token":
        answer = await sessions.refresh(refresh_token, client_id)
    else:
        raise OAuthError("unsupported_grant_type", f"the grant type {kind!r} is not supported")
    return answer


async def revoke_refresh_token_by_refresh_token(
    sessions: Annotated[Sessions, provided(Sessions)],
    token: _Text = None,
    token_type_hint: _Text = None,
    client_id: Annotated[str, Form()] = "myDIRACClientID",
) -> str:
    """End the session of a refresh token (RFC 7009)."""
    await sessions.revoke(token, client_id)
    return "Refresh token revoked"


router.add_api_route(
    "/token", get_oidc_token, methods=["POST"], dependencies=_open, route_class_override=OAuthRoute
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
