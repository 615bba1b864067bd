"""The base of every HTTP application: errors, limits, request ids, refusal of unguarded routes."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dirac.core.audit import Journal, present
from dirac.core.errors import (
    DiracError,
    InternalError,
    InvalidInputError,
    InvalidShapeError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
)
from dirac.core.logging import request_id
from dirac.transport.direct import DirectRoute, direct_routes
from dirac.transport.docs import add_docs
from dirac.transport.drain import Drain
from dirac.transport.openapi import describe
from dirac.transport.peer import Peer
from dirac.transport.routing import MAX_BODY, Allowed, Open, Provided, dependencies
from dirac.transport.wire import ErrorBody, encode, error_body, status_of

log = logging.getLogger(__name__)

Authenticate = Callable[[str], Awaitable[Any]]
AuthenticatePeer = Callable[[Peer, Mapping[str, str]], Awaitable[Any]]
"""Turns what a client has shown, and the headers of its request, into an identity."""
Observe = Callable[[str, str, int, float], None]
"""Called after each request: method, template of the route ("" for none), status, seconds."""
_FAULT = 400
_CLOSE = (b"connection", b"close")
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class Application(FastAPI):
    """FastAPI's application inside of `Guard`.

    What the guard answers by itself, and each direct route, does not pass through the framework's layers.
    """

    guard: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the application's life."""
        scope["app"] = self
        await self.guard(scope, receive, send)


class Guard:
    """The outermost layer: a request id for the logs, limits on what comes in, headers on what goes out.

    Args:
        app: What handles the request.
        unlimited: Paths with a limit of their own for the size of a body.
        drain: Once it has begun, connections are closed after their answer.
        observe: Told about each request.
        direct: Routes that are called at once, by method and path.
        journal: Told about requests that are not carried out.
    """

    def __init__(
        self,
        app: ASGIApp,
        unlimited: frozenset[str] = frozenset(),
        drain: Drain | None = None,
        observe: Observe | None = None,
        direct: Mapping[tuple[str, str], DirectRoute] | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._app = app
        self._journal = journal
        self._direct = direct or {}
        self._unlimited = unlimited
        self._drain = drain or Drain()
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = secrets.token_hex(8)
        token, before = request_id.set(identifier), present.set(None)
        stamped = [*_HEADERS, (b"x-request-id", identifier.encode())]
        began, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                await self._note(status, identifier)
                closing = (_CLOSE,) if self._drain.begun else ()
                message["headers"] = [*message.get("headers", ()), *stamped, *closing]
            await send(message)

        try:
            if (refusal := self._refusal(scope)) is not None:
                await respond(refusal)(scope, receive, sending)
            else:
                direct = self._direct.get((scope["method"], scope["path"]))
                receiving = self._counting(scope, receive)
                if direct is None or (given := direct.given(scope)) is None:
                    await self._app(scope, receiving, sending)
                else:
                    await direct(given, scope, receiving, sending)
        except Exception as error:
            if status:  # it has begun to answer
                raise
            # Not left to the framework, which would close the connection over it.
            log.error("defect in %s %s", scope["method"], scope["path"], exc_info=error)
            defect = InternalError("a defect on the server's side; it was logged", where=identifier)
            await respond(defect)(scope, receive, sending)
        finally:
            if (deed := present.get()) is not None:
                deed.over = True  # what it has started may live on
            present.reset(before)
            request_id.reset(token)
            if self._observe is not None:
                # The router leaves the route here. Of paths there are as many as there are jobs.
                template = getattr(scope.get("route"), "path", "")
                self._observe(scope["method"], template, status, time.perf_counter() - began)

    async def _note(self, status: int, identifier: str) -> None:
        """Have it noted that a request is not carried out; what goes wrong with that changes no answer."""
        deed = present.get()
        if status < _FAULT or self._journal is None or deed is None or deed.over:
            return
        try:
            await self._journal.failed(deed, status, identifier)
        except Exception as error:
            log.error("a refusal is not in the audit log", exc_info=error)

    def _refusal(self, scope: Scope) -> DiracError | None:
        """Say what can be seen to be wrong before anything is read."""
        if b"%00" in scope["query_string"] or "\x00" in scope["path"]:
            return InvalidInputError("the address holds a NUL character", hint="Remove %00")
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > MAX_BODY and scope["path"] not in self._unlimited:
            return _too_large()
        return None

    def _counting(self, scope: Scope, receive: Receive) -> Receive:
        if scope["path"] in self._unlimited:
            return receive
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY:
                raise _too_large()
            return message

        return counting


def _too_large() -> TooLargeError:
    return TooLargeError(f"the body is larger than {MAX_BODY} bytes", hint="Send less at once")


def respond(error: DiracError) -> Response:
    """Make the response for an error."""
    if (deed := present.get()) is not None:
        deed.error = error
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    status = status_of(error)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(encode(error_body(error)), status, headers, "application/json")


async def _on_error(request: Request, error: Exception) -> Response:
    if isinstance(error, DiracError):
        return respond(error)
    if isinstance(error, RequestValidationError):
        faults = [(".".join(str(part) for part in fault["loc"]), fault["msg"]) for fault in error.errors()]
        return respond(InvalidShapeError("; ".join(f"{where}: {message}" for where, message in faults)))
    assert isinstance(error, HTTPException)  # noqa: S101 - this is registered for no other
    cause, path = error.__cause__, request.url.path
    if isinstance(cause, DiracError):
        return respond(cause)
    if error.status_code == 404:
        return respond(NotFoundError(f"there is nothing at {path}", hint="See /api/docs"))
    detail = f"the body cannot be read: {error.detail}"
    if error.status_code == 405:
        possible = (error.headers or {}).get("Allow", "another method")
        detail = f"{request.method} is not possible at {path}. Use {possible}"
    body = ErrorBody(detail=detail, error="http")
    return Response(encode(body), error.status_code, error.headers, "application/json")


def create_app(
    routers: Iterable[APIRouter],
    *,
    provided: Mapping[type, Any],
    authenticate: Authenticate,
    authenticate_peer: AuthenticatePeer | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    version: str,
    unlimited: frozenset[str] = frozenset(),
    drain: Drain | None = None,
    observe: Observe | None = None,
    journal: Journal | None = None,
) -> FastAPI:
    """Put an application together.

    Args:
        routers: The systems' routes.
        provided: What the routes may ask for, by type.
        authenticate: Turns an access token into an identity, or raises `UnauthenticatedError`.
        authenticate_peer: Does so with the certificate of a client that has no token; raises as well.
        lifespan: What runs while the application runs.
        version: Shown in the API's description.
        unlimited: Paths that enforce a size limit of their own.
        drain: Tells when the process is about to end.
        observe: Told about each request.
        journal: Told about requests that are not carried out.

    Raises:
        RuntimeError: A route has no policy, or asks for something that is not provided.
    """
    app = Application(
        title="DIRAC",
        version=version,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.provided = dict(provided)
    app.state.authenticate = authenticate
    app.state.authenticate_peer = authenticate_peer or _no_certificates
    for router in routers:
        app.router.routes.extend(router.routes)  # prefix and tags are in the routes already
    check_routes(app)
    for kind in (DiracError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _on_error)
    direct = direct_routes(app.routes, respond, app.state.provided)
    app.guard = Guard(
        super(Application, app).__call__,
        unlimited=unlimited,
        drain=drain,
        observe=observe,
        direct=direct,
        journal=journal,
    )
    add_docs(app)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _no_certificates(_peer: Peer, _headers: Mapping[str, str]) -> Any:
    raise UnauthenticatedError("certificates are not accepted here", hint="Log in: dirac login VO")


def check_routes(app: FastAPI) -> None:
    """Refuse to start with a route that nobody guards, or that would fail when it is called."""
    for route in app.routes:
        if not isinstance(route, APIRoute):
            continue
        needs = list(dependencies(route.dependant))
        if not any(isinstance(need, Allowed | Open) for need in needs):
            raise RuntimeError(
                f"{route.methods} {route.path} has no policy; declare allowed() or open_to_all()"
            )
        for need in needs:
            if isinstance(need, Provided) and need.kind not in app.state.provided:
                raise RuntimeError(f"{route.path} asks for {need.kind.__name__}, which nobody provides")
