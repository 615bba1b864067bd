"""Pages for people: small, complete in themselves, and of no use to other sites.

They load nothing, run no script and cannot be framed; the one style sheet is allowed by its digest.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from dirac.core.errors import DiracError, UnauthenticatedError
from dirac.transport.server import respond
from dirac.transport.wire import status_of

_HERE = Path(__file__).parent / "templates"
_STYLE = (_HERE / "style.css").read_text()
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_environment = Environment(
    loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.globals["style"] = _STYLE


def page(name: str, status: int = 200, *, form_target: str = "", **values: Any) -> Response:
    """Make a page.

    Args:
        name: Template, without its ending.
        status: HTTP status.
        form_target: Another origin that the page's form may lead to in the end.
        values: What the template shows.
    """
    policy = (
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self' {form_target}".rstrip()
        + "; frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = _environment.get_template(f"{name}.html").render(**values)
    return Response(content, status, headers, "text/html")


def wants_json(request: Request) -> bool:
    """Tell whether a program is asking, rather than a browser."""
    return "application/json" in request.headers.get("accept", "")


def fault(request: Request, error: DiracError) -> Response:
    """Say what was wrong to somebody who cannot put it right on the page they were on."""
    if wants_json(request):
        return respond(error)
    return page("fault", status_of(error), message=error.message, hint=error.hint)


def explain(error: DiracError) -> dict[str, str | None]:
    """Return what a form shows of an error."""
    hint = "Check both and try again." if isinstance(error, UnauthenticatedError) else error.hint
    return {"message": error.message, "hint": hint}
