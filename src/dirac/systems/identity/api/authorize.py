"""Logins of programs that have a browser: authorisation code with PKCE (RFC 6749, 7636)."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from fastapi import Form
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dirac.core.errors import DiracError, InvalidInputError
from dirac.systems.identity.api.login import COMPLETE, ask, cookie_of, go, lead, send_back
from dirac.systems.identity.api.pages import explain, fault, page, wants_json
from dirac.systems.identity.logic.authorizations import (
    AuthorizationRequest,
    Authorizations,
    with_parameters,
)
from dirac.systems.identity.logic.logins import Logins, Waiting
from dirac.systems.identity.logic.oauth import OAuthError, plain
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.settings import IdentitySettings
from dirac.transport.routing import SystemRouter, open_to_all, provided
from dirac.transport.server import respond
from dirac.transport.wire import status_of

router = SystemRouter("/api/auth", "auth")
_PATH = "/api/auth/authorize"
_open = [open_to_all("logging in is what people do who have no token yet")]
_Field = Annotated[str, Form()]


@router.get("/authorize", dependencies=_open, response_class=HTMLResponse)
async def initiate_authorization_flow(
    request: Request,
    authorizations: Annotated[Authorizations, provided(Authorizations)],
    logins: Annotated[Logins, provided(Logins)],
    settings: Annotated[IdentitySettings, provided(IdentitySettings)],
    response_type: str = "",
    code_challenge: str = "",
    code_challenge_method: str = "",
    client_id: str = "",
    redirect_uri: str = "",
    scope: str = "",
    state: str = "",
) -> Response:
    """Show the page on which a user logs in for a program."""
    wanted = AuthorizationRequest(
        response_type=response_type,
        client_id=client_id,
        redirect_uri=redirect_uri,
        scope=scope,
        state=state,
        code_challenge=code_challenge,
        code_challenge_method=code_challenge_method,
    )
    try:
        authorizations.check_target(wanted)
    except DiracError as error:
        return fault(request, error)
    try:
        found = await authorizations.check(wanted)
        return _login(wanted, found, await logins.outside(found.vo))
    except OAuthError as error:
        return send_back(wanted, error, settings)


@router.post("/authorize/confirm", dependencies=_open, response_class=HTMLResponse)
async def confirm_authorization_flow(
    request: Request,
    authorizations: Annotated[Authorizations, provided(Authorizations)],
    logins: Annotated[Logins, provided(Logins)],
    settings: Annotated[IdentitySettings, provided(IdentitySettings)],
    code_challenge: _Field = "",
    client_id: _Field = "",
    redirect_uri: _Field = "",
    scope: _Field = "",
    state: _Field = "",
    username: _Field = "",
    password: _Field = "",
    decision: _Field = "allow",
) -> Response:
    """Log a user in for a program, or refuse."""
    wanted = AuthorizationRequest("code", client_id, redirect_uri, scope, state, code_challenge, "S256")
    try:
        authorizations.check_target(wanted)
        found = await authorizations.check(wanted)
    except DiracError as error:
        return fault(request, error)
    if decision == "deny":
        return send_back(wanted, OAuthError("access_denied", "the user refused"), settings)
    waiting = Waiting(found.vo, request=wanted)
    issuer = await logins.outside(found.vo)
    try:
        if issuer is not None:
            return await lead(request, logins, waiting, issuer, settings)
        try:
            plain("username", username, longest=255)
            plain("password", password)
        except OAuthError as error:
            raise InvalidInputError(error.message) from None
        member = await authorizations.authenticate(wanted, username, password)
        # A program cannot accept anything in a person's name: it is refused below.
        known = None if wants_json(request) else await logins.hold(member, waiting, cookie_of(request))
        if known is not None:
            return ask(known, settings)
        code = await authorizations.approve(wanted, member)
    except DiracError as error:
        return respond(error) if wants_json(request) else _login(wanted, found, issuer, error, username)
    return go(with_parameters(COMPLETE, code=code, state=state))


@router.get("/authorize/complete", dependencies=_open, response_class=HTMLResponse)
async def complete_authorization_flow(
    request: Request,
    authorizations: Annotated[Authorizations, provided(Authorizations)],
    code: str = "",
    state: str = "",
) -> Response:
    """Send the browser back to the program that waits for the code."""
    try:
        return go(await authorizations.target(code, state))
    except DiracError as error:
        return fault(request, error)


def _login(
    wanted: AuthorizationRequest,
    scope: Scope,
    issuer: str | None,
    error: DiracError | None = None,
    username: str = "",
) -> Response:
    target = urlsplit(wanted.redirect_uri)
    hidden = msgspec.structs.asdict(wanted)
    del hidden["response_type"], hidden["code_challenge_method"]
    return page(
        "login",
        status_of(error) if error else 200,
        form_target=f"{target.scheme}://{target.netloc}",
        action=f"{_PATH}/confirm",
        hidden=hidden,
        code=None,
        provider=urlsplit(issuer).netloc if issuer else None,
        vo=scope.vo,
        group=scope.group,
        properties=scope.properties,
        client=wanted.client_id,
        error=explain(error) if error else None,
        username=username[:255],
    )
