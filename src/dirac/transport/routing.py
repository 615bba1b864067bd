"""Routes: typed JSON bodies, what they need from the composition root, and a policy on every one.

A route declares in its signature all that it depends on::

    @router.post("/jdl", status_code=201)
    async def submit_jdl_jobs(
        caller: Annotated[Identity, allowed(policy.submit)],
        jdls: Annotated[list[str], body(list[str])],
        jobs: Annotated[Submission, provided(Submission)],
    ) -> list[InsertedJob]: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.responses import Response

from dirac.core.audit import Deed, present
from dirac.core.errors import (
    DiracError,
    InvalidInputError,
    TooLargeError,
    UnauthenticatedError,
    UnsupportedMediaTypeError,
)
from dirac.transport.peer import peer_of
from dirac.transport.wire import decode, encode

T = TypeVar("T")
Policy = Callable[[Any], None]

MAX_BODY = 16 * 1024 * 1024
_MOST_FIELDS = 100


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class Body:
    """Reads the request's body as JSON of a type."""

    required = True
    media = "application/json"

    def __init__(self, kind: Any, limit: int) -> None:
        self.kind = kind
        self._limit = limit

    async def __call__(self, request: Request) -> Any:
        """Return the body's value."""
        self.check(request)
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._limit:
                raise TooLargeError(f"the body is larger than {self._limit} bytes", hint="Send less at once")
            chunks.append(chunk)
        return self.read(b"".join(chunks))

    def check(self, request: Request) -> None:
        """Refuse a body of another type, by its own word.

        Raises:
            UnsupportedMediaTypeError: It is something else.
        """
        check_media(request)

    def read(self, content: bytes) -> Any:
        """Return the value of a body that has come."""
        return decode(content, self.kind)


def check_media(request: Request) -> None:
    """Refuse a body that is no JSON by its own word.

    Raises:
        UnsupportedMediaTypeError: It is something else.
    """
    media = _media(request)
    if media != "application/json" and not media.endswith("+json"):
        raise UnsupportedMediaTypeError(
            f"a body of type {media or 'unknown'!r} is not understood here",
            hint="Send JSON, with the header Content-Type: application/json",
        )


class Form(Body):
    """Reads the request's body as a form of a type, whose fields are all optional texts.

    What has no value is absent, what is not known is ignored, and what is there twice is refused (RFC 6749,
    section 3.2).
    """

    media = "application/x-www-form-urlencoded"

    def __init__(self, kind: type[msgspec.Struct], limit: int) -> None:
        super().__init__(kind, limit)
        self._names = frozenset(kind.__struct_fields__)

    def check(self, request: Request) -> None:
        """Refuse a body that is no form by its own word.

        Raises:
            UnsupportedMediaTypeError: It is something else.
        """
        media = _media(request)
        if media and media != self.media and request.headers.get("content-length", "0") != "0":
            raise UnsupportedMediaTypeError(
                f"a body of type {media!r} is not understood here", hint=f"Send {self.media}"
            )

    def read(self, content: bytes) -> Any:
        """Return the values of a form that has come."""
        found: dict[str, str] = {}
        try:
            pairs = parse_qsl(content.decode(), errors="strict", max_num_fields=_MOST_FIELDS)
        except ValueError:
            raise InvalidInputError("the body is no form") from None
        for name, value in pairs:
            if name in found:
                raise InvalidInputError(f"the parameter {name!r} is there twice")
            if name in self._names:
                found[name] = value
        return self.kind(**found)


class Provided:
    """Hands out an object that the composition root has built.

    It waits for nothing, and is asynchronous all the same: the framework calls what is not in a thread.
    """

    def __init__(self, kind: type) -> None:
        self.kind = kind

    async def __call__(self, request: Request) -> Any:
        """Return the object."""
        return request.app.state.provided[self.kind]


class Allowed:
    """Finds out who is asking and whether they may; hands out their identity."""

    def __init__(self, policy: Policy, widened: tuple[str, ...] = ()) -> None:
        self.policy = policy
        self.widened = widened

    async def __call__(self, request: Request) -> Any:
        """Return the caller's identity.

        Raises:
            UnauthenticatedError: There is neither a bearer token nor a certificate, or not a valid one.
            NotAllowedError: The policy says no.
        """
        identity = await self._identity(request)
        present.set(Deed(identity, self.policy, self.widened, request.scope))
        self.policy(identity)
        return identity

    async def _identity(self, request: Request) -> Any:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme and (peer := peer_of(request.scope)) is not None:
            return await request.app.state.authenticate_peer(peer, request.headers)
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError("this needs an access token", hint="Log in: dirac login VO")
        return await request.app.state.authenticate(token.strip())


class Open:
    """Marks a route that anybody may call, with the reason why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    async def __call__(self, request: Request) -> None:
        """Do nothing: the mark is what counts."""


def body(kind: Any, *, limit: int = MAX_BODY) -> Any:
    """Declare a parameter that is the request's JSON body."""
    return Depends(Body(kind, limit))


def provided(kind: type) -> Any:
    """Declare a parameter that the composition root provides."""
    return Depends(Provided(kind))


def allowed(policy: Policy, *, widened: tuple[str, ...] = ()) -> Any:
    """Declare the parameter that is the caller's identity, and the route's policy.

    Args:
        policy: Decides who may call it.
        widened: Properties with which a caller reaches more, though the policy asks for none of them: what
            is done with one is in the audit log.
    """
    return Depends(Allowed(policy, widened))


def open_to_all(reason: str) -> Any:
    """Declare that a route has no policy, and why; for ``dependencies=[...]``."""
    return Depends(Open(reason))


class SystemRoute(APIRoute):
    """A route whose answer is encoded by msgspec, from the type of its return annotation.

    Attributes:
        headers: Of every such answer.
        respond: Makes the response for an error; None for the application's way.
    """

    headers: Mapping[str, str] = MappingProxyType({})
    respond: Callable[[DiracError], Response] | None = None

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.returns = get_type_hints(endpoint).get("return")
        options["response_model"] = None
        super().__init__(
            path, _encoding(endpoint, options.get("status_code") or 200, self.headers), **options
        )


class SystemRouter(APIRouter):
    """The router of a system; operation ids are ``<tag>_<function>``, as DiracX has them."""

    def __init__(self, prefix: str, tag: str) -> None:
        super().__init__(
            prefix=prefix,
            tags=[tag],
            route_class=SystemRoute,
            generate_unique_id_function=lambda route: f"{tag}_{route.name}",
        )


def dependencies(dependant: Dependant) -> Iterator[Any]:
    """Yield everything that a route depends on, at any depth."""
    for child in dependant.dependencies:
        yield child.call
        yield from dependencies(child)


def _encoding(endpoint: Callable[..., Any], status: int, headers: Mapping[str, str]) -> Callable[..., Any]:
    """Wrap an endpoint so that what it returns is encoded here, not by the framework."""

    @wraps(endpoint)
    async def answer(*args: Any, **kwargs: Any) -> Response:
        value = await endpoint(*args, **kwargs)
        if isinstance(value, Response):
            return value
        if value is None and status == 204:
            return Response(status_code=204)
        return Response(encode(value), status, headers, "application/json")

    return answer
