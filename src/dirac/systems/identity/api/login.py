"""The steps of a login in a browser that a device and a program have in common."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Form
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dirac.core.errors import DiracError, InvalidInputError, NotAllowedError
from dirac.systems.identity.api.pages import explain, fault, page, wants_json
from dirac.systems.identity.logic.authorizations import AuthorizationRequest, with_parameters
from dirac.systems.identity.logic.devices import shown_code
from dirac.systems.identity.logic.logins import Decided, Known, Logins, Waiting
from dirac.systems.identity.logic.oauth import OAuthError
from dirac.systems.identity.settings import IdentitySettings
from dirac.transport.routing import SystemRouter, open_to_all, provided
from dirac.transport.server import respond
from dirac.transport.wire import status_of

router = SystemRouter("/api/auth", "auth")
_open = [open_to_all("logging in is what people do who have no token yet")]
_Field = Annotated[str, Form()]
_COOKIE = "dirac_login"
FINISHED = "/api/auth/device/complete/finished"
COMPLETE = "/api/auth/authorize/complete"


def cookie_of(request: Request) -> str:
    """Return what ties the steps of a login to one browser, empty if it has nothing."""
    return request.cookies.get(_COOKIE, "")


@router.post("/login/confirm", dependencies=_open, response_class=HTMLResponse)
async def confirm_login(
    request: Request,
    logins: Annotated[Logins, provided(Logins)],
    settings: Annotated[IdentitySettings, provided(IdentitySettings)],
    state: _Field = "",
    decision: Annotated[str, Form(description="allow or deny")] = "deny",
    accept: Annotated[str, Form(description="Version of the acceptable-use policy that is accepted")] = "",
) -> Response:
    """End a login as the person wants who is logged in at the VO's identity provider, or by password."""
    try:
        outcome = await logins.decide(state, cookie_of(request), allow=decision == "allow", accepted=accept)
    except DiracError as error:
        return fault(request, error)
    if isinstance(outcome, Known):
        needed = InvalidInputError("the acceptable-use policy has to be accepted", hint="Tick the box")
        return respond(needed) if wants_json(request) else ask(outcome, settings, needed)
    return _end(outcome, settings)


def ask(known: Known, settings: IdentitySettings, error: DiracError | None = None) -> Response:
    """Show who somebody is, what waits and what is to be accepted, and ask whether that is wanted."""
    target = _origin(known.waiting.request)
    answer = page(
        "consent",
        status_of(error) if error else 200,
        form_target=target,
        state=known.state,
        person=known.member.username,
        vo=known.scope.vo,
        group=known.scope.group,
        properties=known.scope.properties,
        client=known.client,
        code=shown_code(known.waiting.user_code) if known.waiting.user_code else None,
        policy=known.policy,
        error=explain(error) if error else None,
    )
    return _with_cookie(answer, known.cookie, settings)


async def lead(
    request: Request, logins: Logins, waiting: Waiting, issuer: str, settings: IdentitySettings
) -> Response:
    """Lead the browser to an identity provider.

    By a page, not by a redirect: browsers hold the page's policy for forms against each step of what follows
    a form, and the provider may lead on to places that we do not know.

    Raises:
        NotAllowedError: It is a program, which cannot go there.
        UnavailableError: The provider does not answer.
    """
    if wants_json(request):
        raise NotAllowedError(
            f"members of the VO {waiting.vo!r} log in at {issuer}", hint="Open the page in a browser"
        )
    onward = await logins.begin(waiting, cookie_of(request))
    answer = page("onward", address=onward.address, provider=urlsplit(issuer).netloc)
    return _with_cookie(answer, onward.cookie, settings)


def send_back(request: AuthorizationRequest, error: OAuthError, settings: IdentitySettings) -> Response:
    """Tell the program what was wrong (RFC 6749, section 4.1.2.1; `iss`: RFC 9207)."""
    return go(
        with_parameters(
            request.redirect_uri,
            error=error.oauth,
            error_description=error.described,
            state=request.state,
            iss=settings.issuer,
        )
    )


def go(target: str) -> Response:
    """Send the browser on; with 303, so that it does not send the form on (RFC 9700, section 4.12)."""
    return RedirectResponse(target, 303, {"Cache-Control": "no-store"})


def _end(outcome: Decided, settings: IdentitySettings) -> Response:
    request = outcome.waiting.request
    if request is None and outcome.allowed:
        return go(FINISHED)
    if request is None:
        return page("finished", allowed=False)
    if not outcome.allowed:
        return send_back(request, OAuthError("access_denied", "the user refused"), settings)
    return go(with_parameters(COMPLETE, code=outcome.code, state=request.state))


def _with_cookie(answer: Response, cookie: str, settings: IdentitySettings) -> Response:
    answer.set_cookie(
        _COOKIE,
        cookie,
        max_age=settings.device_seconds,
        path="/api/auth",
        secure=settings.issuer.startswith("https:"),
        httponly=True,
        samesite="lax",
    )
    return answer


def _origin(request: AuthorizationRequest | None) -> str:
    if request is None:
        return ""
    parts = urlsplit(request.redirect_uri)
    return f"{parts.scheme}://{parts.netloc}"
