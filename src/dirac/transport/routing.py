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

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar, get_type_hints

from fastapi import APIRouter, Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.responses import Response

from dirac.core.audit import Deed, present
from dirac.core.errors import TooLargeError, UnauthenticatedError, UnsupportedMediaTypeError
from dirac.transport.wire import decode, encode

T = TypeVar("T")
Policy = Callable[[Any], None]

MAX_BODY = 16 * 1024 * 1024


class Body:
    """Reads the request's body as JSON of a type."""

    required = True

    def __init__(self, kind: Any, limit: int) -> None:
        self.kind = kind
        self._limit = limit

    async def __call__(self, request: Request) -> Any:
        """Return the body's value."""
        check_media(request)
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._limit:
                raise TooLargeError(f"the body is larger than {self._limit} bytes", hint="Send less at once")
            chunks.append(chunk)
        return self.read(b"".join(chunks))

    def read(self, content: bytes) -> Any:
        """Return the value of a body that has come."""
        return decode(content, self.kind)


def check_media(request: Request) -> None:
    """Refuse a body that is no JSON by its own word.

    Raises:
        UnsupportedMediaTypeError: It is something else.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        raise UnsupportedMediaTypeError(
            f"a body of type {media or 'unknown'!r} is not understood here",
            hint="Send JSON, with the header Content-Type: application/json",
        )


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
            UnauthenticatedError: There is no bearer token, or not a valid one.
            NotAllowedError: The policy says no.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError("this needs an access token", hint="Log in: dirac login VO")
        identity = await request.app.state.authenticate(token.strip())
        present.set(Deed(identity, self.policy, self.widened, request.scope))
        self.policy(identity)
        return identity


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
    """A route whose answer is encoded by msgspec, from the type of its return annotation."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.returns = get_type_hints(endpoint).get("return")
        options["response_model"] = None
        super().__init__(path, _encoding(endpoint, options.get("status_code") or 200), **options)


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


def _encoding(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    """Wrap an endpoint so that what it returns is encoded here, not by the framework."""

    @wraps(endpoint)
    async def answer(*args: Any, **kwargs: Any) -> Response:
        value = await endpoint(*args, **kwargs)
        if isinstance(value, Response):
            return value
        if value is None and status == 204:
            return Response(status_code=204)
        return Response(encode(value), status_code=status, media_type="application/json")

    return answer
