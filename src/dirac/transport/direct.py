"""The short way to a route: what most requests are needs neither a search for their route nor its framework.

A route whose path is fixed, and that wants nothing but what `dirac.transport.routing` declares, is called
at once, with the same guards in the same order. A request whose query or headers are not what the route
declares, each parameter once, goes the usual way, as for every other route: errors are worded in one place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from dirac.core.errors import DiracError
from dirac.transport.routing import Allowed, Body, Open, Provided, SystemRoute

Respond = Callable[[DiracError], Response]


class DirectRoute:
    """One route that can be called at once.

    Args:
        route: The route.
        respond: Makes the response for an error.
        provided: What the application provides, by type.
    """

    def __init__(self, route: SystemRoute, respond: Respond, provided: Mapping[type, Any]) -> None:
        self._route = route
        self._respond = route.respond or respond
        needs = [(child.name, child.call) for child in route.dependant.dependencies]
        self._steps = [(name, call) for name, call in needs if isinstance(call, (Allowed, Body))]
        given = {name: provided[call.kind] for name, call in needs if name and isinstance(call, Provided)}
        self._values = _defaults(route) | given
        types = get_type_hints(route.endpoint, include_extras=True)
        self._headers = {
            alias.lower().encode(): known
            for alias, known in _adapters(route.dependant.header_params, types).items()
        }
        self._query = _adapters(route.dependant.query_params, types)

    def given(self, scope: Scope) -> dict[str, Any] | None:
        """Return the values of a request's query and headers; None if it has to go the usual way."""
        found: dict[str, Any] = {}
        try:
            if scope["query_string"]:
                for alias, text in parse_qsl(scope["query_string"].decode(), keep_blank_values=True):
                    _add(found, *self._query[alias], text)
            if self._headers:
                for header, value in scope["headers"]:
                    if header in self._headers:
                        _add(found, *self._headers[header], value.decode("latin-1"))
        except (KeyError, UnicodeDecodeError, ValidationError):
            return None
        return found

    async def __call__(self, given: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what `given` returned of it comes first."""
        scope["route"] = self._route
        request = Request(scope, receive, send)
        try:
            values = self._values | given
            for name, call in self._steps:
                found = await call(request)
                if name is not None:
                    values[name] = found
            response: Response = await self._route.endpoint(**values)
        except DiracError as error:
            response = self._respond(error)
        await response(scope, receive, send)


def direct_routes(
    routes: Iterable[BaseRoute], respond: Respond, provided: Mapping[type, Any]
) -> dict[tuple[str, str], DirectRoute]:
    """Return what can be called at once, by method and path."""
    found: dict[tuple[str, str], DirectRoute] = {}
    for route in routes:
        if isinstance(route, SystemRoute) and _is_plain(route):
            for method in route.methods or ():
                found.setdefault((method, route.path), DirectRoute(route, respond, provided))
    return found


def _defaults(route: SystemRoute) -> dict[str, Any]:
    """Return what a route gets for what a request does not have."""
    parameters = inspect.signature(route.endpoint).parameters
    return {name: one.default for name, one in parameters.items() if one.default is not one.empty}


def _adapters(declared: Iterable[Any], types: Mapping[str, Any]) -> dict[str, tuple[str, TypeAdapter[Any]]]:
    """Return what reads parameters, by their names in a request: their own, and types."""
    return {field.alias: (field.name, TypeAdapter(types[field.name])) for field in declared}


def _add(found: dict[str, Any], name: str, adapter: TypeAdapter[Any], text: str) -> None:
    """Add the value of a parameter.

    Raises:
        KeyError: It is there twice.
        ValidationError: It is not what the route declares.
    """
    if name in found:
        raise KeyError(name)
    found[name] = adapter.validate_python(text)


def _is_plain(route: SystemRoute) -> bool:
    """Tell whether a route wants nothing but what is declared with `dirac.transport.routing`."""
    dependant: Dependant = route.dependant
    given = {child.name for child in dependant.dependencies} | _defaults(route).keys()
    if "{" in route.path or not inspect.signature(route.endpoint).parameters.keys() <= given:
        return False
    special = (
        *(dependant.path_params, dependant.cookie_params, dependant.body_params),
        *(dependant.request_param_name, dependant.response_param_name),
        *(dependant.background_tasks_param_name, dependant.security_scopes_param_name),
        *(dependant.websocket_param_name, dependant.http_connection_param_name),
    )
    return not any(special) and all(
        isinstance(child.call, (Allowed, Body, Provided, Open)) for child in dependant.dependencies
    )
