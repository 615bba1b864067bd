"""The page on which people read and try the API; all of it comes from this server, nothing from outside."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

DOCS = "/api/docs"
_ASSETS = "/api/docs/assets"
_PACKAGE = "fastapi_offline"  # carries the files of Swagger UI


def add_docs(app: FastAPI) -> None:
    """Give an application its page of documentation."""
    page = get_swagger_ui_html(
        openapi_url=app.openapi_url or "",
        title=f"{app.title} API",
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon.png",
        oauth2_redirect_url=None,
    )

    async def show(_request: Request) -> HTMLResponse:
        return page

    app.router.routes += [
        Route(DOCS, show),
        Mount(_ASSETS, StaticFiles(directory=str(files(_PACKAGE) / "static"))),
    ]
