"""Routes of lists that come in pages: their parameters, and their answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import Response

from dirac.core.search import MAX_PAGE, Page
from dirac.transport.routing import MAX_BODY, Body
from dirac.transport.wire import ErrorBody, encode

_MOST_CURSOR = 8192
PageNumber = Annotated[int, Query(ge=1, le=2**31 - 1)]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[
    str | None,
    Query(
        max_length=_MOST_CURSOR,
        description="Instead of `page`: empty at first, then Next-Cursor of the answer before.",
    ),
]
Count = Annotated[
    bool | None,
    Query(description="Count all that fits, exactly, or not at all; by default only for pages by number."),
]


class OptionalBody(Body):
    """A JSON body that may be left out."""

    required = False

    async def __call__(self, request: Request) -> Any:
        """Return the body's value, None if there is no body."""
        headers = request.headers
        if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
            return None
        return await super().__call__(request)


def optional_body(kind: Any) -> Any:
    """Declare a parameter that is the request's JSON body, None if there is none."""
    return Depends(OptionalBody(kind, MAX_BODY))


def paged(page: Page, noun: str) -> Response:
    """Answer with a page: 200 if it is everything, 206 if it is a part, 416 if it is beyond the end.

    Content-Range has a number as the total, since there are clients that fail on a star. Where nobody counted
    to the end, it is a lower bound, and another header says so.
    """
    if page.first and not page.rows:
        detail = f"the page begins at {page.first}, there are {page.total} {noun}"
        content = encode(ErrorBody(detail=detail, error="invalid_input"))
        return Response(content, 416, {"Content-Range": f"{noun} */{page.total}"}, "application/json")
    headers = {}
    if page.cursor is not None:
        headers["Next-Cursor"] = page.cursor
    if page.total is not None and len(page.rows) < page.total:
        part = "*" if page.first is None else f"{page.first}-{page.first + len(page.rows) - 1}"
        headers["Content-Range"] = f"{noun} {part}/{page.total}"
        if not page.exact:
            headers["Total-Is"] = "lower-bound"
    return Response(encode(page.rows), 206 if headers else 200, headers, "application/json")


_ROWS = {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}}


def _range(example: str) -> dict[str, Any]:
    """Describe the header that says which rows an answer has."""
    about = "The first and the last row, from 0, and how many fit"
    return {"Content-Range": {"description": about, "schema": {"type": "string", "example": example}}}


PAGED: dict[int | str, dict[str, Any]] = {
    200: {"description": "All that fits, as rows", "content": _ROWS},
    206: {
        "description": "A part; Content-Range says which. Next-Cursor, if asked for, is where to go on",
        "content": _ROWS,
        "headers": _range("jobs 0-99/4711"),
    },
    416: {
        "description": "A page beyond the end",
        "content": {"application/json": {}},
        "headers": _range("jobs */4711"),
    },
}
