"""The API's description: FastAPI's own, completed with the bodies and answers that msgspec handles."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import Response

from dirac.transport.routing import Allowed, Body, SystemRoute, dependencies
from dirac.transport.wire import ErrorBody

_TEMPLATE = "#/components/schemas/{name}"


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an application; made once."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    routes = [route for route in app.routes if isinstance(route, SystemRoute) and route.include_in_schema]
    kinds: list[Any] = [ErrorBody]
    for route in routes:
        kinds += [kind for kind in (_body_of(route), _answer_of(route)) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    by_kind = dict(zip(map(repr, kinds), schemas, strict=True))
    parts = document.setdefault("components", {})
    parts.setdefault("schemas", {}).update(components)
    parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    for route in routes:
        for method in route.methods or ():
            _complete(document["paths"][route.path_format][method.lower()], route, by_kind)
    app.openapi_schema = document
    return document


def _reader_of(route: APIRoute) -> Body | None:
    return next((need for need in dependencies(route.dependant) if isinstance(need, Body)), None)


def _body_of(route: APIRoute) -> Any:
    reader = _reader_of(route)
    return None if reader is None else reader.kind


def _answer_of(route: SystemRoute) -> Any:
    kind = route.returns
    if kind is None or kind is type(None) or (isinstance(kind, type) and issubclass(kind, Response)):
        return None
    return kind


def _complete(operation: dict[str, Any], route: SystemRoute, schemas: dict[str, Any]) -> None:
    reader, answer = _reader_of(route), _answer_of(route)
    if reader is not None:
        content = {reader.media: {"schema": schemas[repr(reader.kind)]}}
        operation["requestBody"] = {"content": content, "required": reader.required}
    if answer is not None:
        status = str(route.status_code or 200)
        operation["responses"][status]["content"] = {"application/json": {"schema": schemas[repr(answer)]}}
    failure: dict[str, Any] = {"application/json": {"schema": schemas[repr(ErrorBody)]}}
    if (media := getattr(route.response_class, "media_type", None)) == "text/html":
        failure[media] = {"schema": {"type": "string"}}  # a page for people says it on a page
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {"description": "What was wrong, and what to do", "content": failure}
    if any(isinstance(need, Allowed) for need in dependencies(route.dependant)):
        operation["security"] = [{"bearer": []}]
