"""Errors as the OAuth specifications shape them (RFC 6749, section 5.2)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from dirac.core.errors import DiracError, UnavailableError
from dirac.systems.identity.logic.oauth import ClientError, OAuthError
from dirac.transport.routing import Form, SystemRoute
from dirac.transport.wire import encode, status_of

# What is not in RFC 6749's list keeps the status it has everywhere here.
_BY_STATUS = {400: "invalid_request", 413: "invalid_request"}
_MALFORMED = (415, 422)  # RFC 6749 has one status for all of it
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
NEVER_KEPT = {"Cache-Control": "no-store"}


def oauth_error(error: Exception) -> Response:
    """Make the response for an error; `detail` is where DiracX clients look."""
    status, headers = 400, dict(NEVER_KEPT)
    if isinstance(error, HTTPException) and isinstance(error.__cause__, DiracError):
        error = error.__cause__
    if isinstance(error, OAuthError):
        code, text = error.oauth, str(error)
        if isinstance(error, ClientError):
            status, headers["WWW-Authenticate"] = 401, 'Basic realm="dirac", charset="UTF-8"'
    elif isinstance(error, DiracError):
        status, text = status_of(error), str(error)
        status = 400 if status in _MALFORMED else status
        code = "temporarily_unavailable" if isinstance(error, UnavailableError) else error.code
        code = _BY_STATUS.get(status, code)
        if error.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(error.retry_after)))
    elif isinstance(error, RequestValidationError):
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        code, text = "invalid_request", "; ".join(faults)
    else:
        code, text = "invalid_request", str(getattr(error, "detail", error))
    body = {"error": code, "error_description": text, "detail": text}
    return Response(encode(body), status, headers, "application/json")


def _check_media(request: Request) -> None:
    """Refuse a body that no parameter would be found in; DiracX's clients send none, and an address."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media and media not in _FORMS and request.headers.get("content-length", "0") != "0":
        raise OAuthError(
            "invalid_request", f"a body of type {media!r} is not understood here", hint=f"Send {_FORMS[0]}"
        )


class ClientForm(Form):
    """Reads a form with `client_id` and `client_secret`, which may also be in the header Authorization."""

    async def __call__(self, request: Request) -> Any:
        """Return the form's values."""
        form = await super().__call__(request)
        header = request.headers.get("authorization")
        if header is None:
            return form
        name, secret = _shown_secret(header, form.client_id, form.client_secret)
        return msgspec.structs.replace(form, client_id=name, client_secret=secret)


def _shown_secret(header: str, client_id: str | None, secret: str | None) -> tuple[str | None, str | None]:
    """Return the name and the secret that a client shows (RFC 6749, section 2.3.1), None for what is absent.

    Raises:
        OAuthError: It shows them in two ways, or in one that cannot be read.
    """
    scheme, _, given = header.partition(" ")
    if scheme.lower() != "basic":
        return client_id, secret
    if secret:
        raise OAuthError("invalid_request", "the client shows its secret in two ways", hint="Use one")
    try:
        name, colon, shown = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except ValueError:
        name = colon = shown = ""
    if not colon:
        raise ClientError("the header Authorization holds no name and secret of a client")
    name, shown = unquote_plus(name), unquote_plus(shown)
    if client_id and client_id != name:
        raise OAuthError("invalid_request", "client_id is not the client that shows its secret")
    return name, shown


class OAuthRoute(SystemRoute):
    """A route whose refusals are for OAuth clients, and whose answers no cache keeps."""

    headers = NEVER_KEPT
    respond = staticmethod(oauth_error)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with its errors shaped."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                _check_media(request)
                answer = await handler(request)
            except (DiracError, RequestValidationError, HTTPException) as error:
                return oauth_error(error)
            answer.headers.update(NEVER_KEPT)
            return answer

        return handle
