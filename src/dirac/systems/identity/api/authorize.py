"""Logins of programs that have a browser: authorisation code with PKCE (RFC 6749, 7636)."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from fastapi import Form
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dirac.core.errors import DiracError, InvalidInputError
from dirac.systems.identity.api.pages import explain, fault, page, wants_json
from dirac.systems.identity.logic.authorizations import (
    AuthorizationRequest,
    Authorizations,
    with_parameters,
)
from dirac.systems.identity.logic.oauth import OAuthError, plain
from dirac.systems.identity.ports import Scope
from dirac.systems.identity.settings import IdentitySettings
from dirac.transport.routing import SystemRouter, open_to_all, provided
from dirac.transport.server import respond
from dirac.transport.wire import status_of

router = SystemRouter("/api/auth", "auth")
_PATH = "/api/auth/authorize"
_open = [open_to_all("logging in is what people do who have no token yet")]
_Field = Annotated[str, Form()]
_UNSAFE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")  # RFC 6749, section 4.1.2.1


@router.get("/authorize", dependencies=_open, response_class=HTMLResponse)
async def initiate_authorization_flow(
    request: Request,
    authorizations: Annotated[Authorizations, provided(Authorizations)],
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
        return _login(wanted, await authorizations.check(wanted))
    except OAuthError as error:
        return _send_back(wanted, error, settings)


@router.post("/authorize/confirm", dependencies=_open, response_class=HTMLResponse)
async def confirm_authorization_flow(
    request: Request,
    authorizations: Annotated[Authorizations, provided(Authorizations)],
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
        return _send_back(wanted, OAuthError("access_denied", "the user refused"), settings)
    try:
        try:
            plain("username", username, longest=255)
            plain("password", password)
        except OAuthError as error:
            raise InvalidInputError(error.message) from None
        code = await authorizations.confirm(wanted, username, password)
    except DiracError as error:
        return respond(error) if wants_json(request) else _login(wanted, found, error, username)
    return _go(with_parameters(_PATH + "/complete", code=code, state=state))


@router.get("/authorize/complete", dependencies=_open, response_class=HTMLResponse)
async def complete_authorization_flow(
    request: Request,
    authorizations: Annotated[Authorizations, provided(Authorizations)],
    code: str = "",
    state: str = "",
) -> Response:
    """Send the browser back to the program that waits for the code."""
    try:
        return _go(await authorizations.target(code, state))
    except DiracError as error:
        return fault(request, error)


def _send_back(wanted: AuthorizationRequest, error: OAuthError, settings: IdentitySettings) -> Response:
    """Tell the program what was wrong (RFC 6749, section 4.1.2.1; `iss`: RFC 9207)."""
    return _go(
        with_parameters(
            wanted.redirect_uri,
            error=error.oauth,
            error_description=_UNSAFE.sub("?", str(error)),
            state=wanted.state,
            iss=settings.issuer,
        )
    )


def _go(target: str) -> Response:
    # 303, so that no browser sends the password on (RFC 9700, section 4.12).
    return RedirectResponse(target, 303, {"Cache-Control": "no-store"})


def _login(
    wanted: AuthorizationRequest, scope: Scope, error: DiracError | None = None, username: str = ""
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
        vo=scope.vo,
        group=scope.group,
        properties=scope.properties,
        client=wanted.client_id,
        error=explain(error) if error else None,
        username=username[:255],
    )
