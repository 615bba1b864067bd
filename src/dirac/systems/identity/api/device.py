"""Logins of devices without a browser (RFC 8628), and the pages on which they are confirmed."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Form, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dirac.core.errors import DiracError, InvalidInputError, NotFoundError
from dirac.systems.identity.api.login import FINISHED, ask, cookie_of, go, lead
from dirac.systems.identity.api.oauth import OAuthRoute
from dirac.systems.identity.api.pages import explain, fault, page, wants_json
from dirac.systems.identity.logic.devices import Devices, shown_code, typed_code
from dirac.systems.identity.logic.logins import Logins, Waiting
from dirac.systems.identity.logic.oauth import OAuthError, plain
from dirac.systems.identity.models import DeviceFlow
from dirac.systems.identity.ports.logins import DeviceRecord
from dirac.systems.identity.settings import IdentitySettings
from dirac.transport.routing import SystemRouter, open_to_all, provided
from dirac.transport.server import respond
from dirac.transport.wire import status_of

router = SystemRouter("/api/auth", "auth")
router.route_class = OAuthRoute
_PATH = "/api/auth/device"
_open = [open_to_all("logging in is what people do who have no token yet")]
_CodeTyped = Annotated[str, Query(description="The code that the device shows")]


@router.post("/device", dependencies=_open)
async def initiate_device_flow(
    devices: Annotated[Devices, provided(Devices)],
    client_id: Annotated[str | None, Query()] = None,
    scope: Annotated[str | None, Query(description="vo:NAME group:NAME property:NAME")] = None,
    form_client_id: Annotated[str | None, Form(alias="client_id")] = None,
    form_scope: Annotated[str | None, Form(alias="scope")] = None,
) -> DeviceFlow:
    """Begin a login on a device; parameters are in the form (RFC 8628) or in the address (DiracX)."""
    return await devices.start(form_client_id or client_id, form_scope or scope)


@router.get("/device", dependencies=_open, response_class=HTMLResponse)
async def do_device_flow(
    request: Request,
    devices: Annotated[Devices, provided(Devices)],
    logins: Annotated[Logins, provided(Logins)],
    user_code: _CodeTyped = "",
) -> Response:
    """Show the page on which a login is confirmed; without a code, the one that asks for it."""
    if not typed_code(user_code):
        return page("code", action=_PATH, error=None, typed="")
    try:
        record = await devices.pending(user_code)
        return _login(record, await logins.outside(record.vo))
    except NotFoundError as error:
        if wants_json(request):
            return respond(error)
        return page("code", status_of(error), action=_PATH, error=explain(error), typed=user_code[:20])


@router.post("/device/confirm", dependencies=_open, response_class=HTMLResponse)
async def confirm_device_flow(
    request: Request,
    devices: Annotated[Devices, provided(Devices)],
    logins: Annotated[Logins, provided(Logins)],
    settings: Annotated[IdentitySettings, provided(IdentitySettings)],
    user_code: Annotated[str, Form()] = "",
    username: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    decision: Annotated[str, Form(description="allow or deny")] = "allow",
) -> Response:
    """Confirm a login with a user name and a password, or refuse it; or go on to the VO's provider."""
    record, issuer = None, None
    try:
        record = await devices.pending(user_code)
        if decision == "deny":
            await devices.refuse(user_code)
            return page("finished", allowed=False)
        waiting = Waiting(record.vo, user_code=record.user_code)
        issuer = await logins.outside(record.vo)
        if issuer is not None:
            return await lead(request, logins, waiting, issuer, settings)
        try:
            plain("username", username, longest=255)
            plain("password", password)
        except OAuthError as error:
            raise InvalidInputError(error.message) from None
        member = await devices.check(user_code, username, password)
        # A program cannot accept anything in a person's name: it is refused below.
        known = None if wants_json(request) else await logins.hold(member, waiting, cookie_of(request))
        if known is not None:
            return ask(known, settings)
        await devices.approve(user_code, member)
    except DiracError as error:
        if wants_json(request):
            return respond(error)
        if record is None:
            return page("code", status_of(error), action=_PATH, error=explain(error), typed=user_code[:20])
        return _login(record, issuer, error, username)
    return go(FINISHED)


@router.get("/device/complete", dependencies=_open, response_class=HTMLResponse)
async def finish_device_flow(
    request: Request,
    logins: Annotated[Logins, provided(Logins)],
    settings: Annotated[IdentitySettings, provided(IdentitySettings)],
    code: str = "",
    state: str = "",
    iss: str = "",
    error: str = "",
) -> Response:
    """Take the answer of a VO's identity provider, for a device or a program; ask whether it is wanted."""
    try:
        return ask(await logins.returned(state, cookie_of(request), code, iss, error), settings)
    except DiracError as refusal:
        return fault(request, refusal)


@router.get("/device/complete/finished", dependencies=_open, response_class=HTMLResponse)
async def finished() -> Response:
    """Say that the login is confirmed."""
    return page("finished", allowed=True)


def _login(
    record: DeviceRecord, issuer: str | None, error: DiracError | None = None, username: str = ""
) -> Response:
    return page(
        "login",
        status_of(error) if error else 200,
        action=f"{_PATH}/confirm",
        hidden={"user_code": record.user_code},
        code=shown_code(record.user_code),
        provider=urlsplit(issuer).netloc if issuer else None,
        vo=record.vo,
        group=record.scope.group,
        properties=record.scope.properties,
        client=record.client_id,
        error=explain(error) if error else None,
        username=username[:255],
    )
