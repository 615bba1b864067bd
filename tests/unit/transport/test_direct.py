"""The short way to a route answers as the usual way does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import FastAPI, Header, Query
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.transport.direct import DirectRoute
from dirac.transport.routing import SystemRouter, open_to_all
from dirac.transport.server import Application, create_app

Pairs = Sequence[tuple[bytes, bytes]]
router = SystemRouter("/api/loaves", "loaves")


@router.get("/list", dependencies=[open_to_all("a test")])
async def find(
    page: Annotated[int, Query(ge=1, le=9)] = 1,
    kind: Annotated[Literal["rye", "wheat"], Query(alias="format")] = "rye",
    crust: Annotated[str | None, Query(max_length=4)] = None,
    hot: bool | None = None,
    if_match: Annotated[str | None, Header(max_length=4)] = None,
    weight: Annotated[int, Header(alias="X-Weight")] = 500,
) -> list[Any]:
    """List loaves."""
    return [page, kind, crust, hot, if_match, weight]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


async def _nobody(_token: str) -> None:
    return None


def _app() -> Application:
    app = create_app([router], provided={}, authenticate=_nobody, lifespan=lifespan, version="1")
    assert isinstance(app, Application)
    return app


async def _ask(app: Application, query: str, headers: Pairs = ()) -> tuple[int, Any]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        answer = await client.get(f"/api/loaves/list?{query}", headers=[*headers])
        return answer.status_code, answer.json()


_VALUES = [
    "1",
    "9",
    "10",
    "0",
    "x",
    "",
    "rye",
    "oat",
    "true",
    "no",
    "1.0",
    " 2",
    "%20",
    "+3",
    "%ff",
    "long text",
]


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["page", "format", "kind", "crust", "hot", "Page", "other", ""]),
            st.sampled_from(_VALUES) | st.integers().map(str),
        ),
        max_size=4,
    ),
    st.lists(
        st.tuples(
            st.sampled_from(["If-Match", "if-match", "if_match", "X-Weight", "weight", "Accept"]),
            st.sampled_from([*_VALUES, "Zo\u00eb", "\t2", "a,b"]),
        ),
        max_size=3,
    ),
)
async def test_both_ways_lead_to_the_same_answer(
    pairs: list[tuple[str, str]], headers: list[tuple[str, str]]
) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    given = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    app = _app()
    direct = await _ask(app, query, given)
    app.guard._direct = {}  # type: ignore[attr-defined]
    assert await _ask(app, query, given) == direct


@pytest.mark.parametrize("query", ["", "page=2&format=wheat&hot=true", "crust="])
@pytest.mark.parametrize("headers", [(), ((b"If-Match", b"abc"), (b"x-weight", b"7"))], ids=["none", "two"])
async def test_what_is_declared_is_answered_at_once(
    query: str, headers: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[dict[str, Any]] = []
    called = DirectRoute.__call__

    async def seen(self: DirectRoute, values: dict[str, Any], *rest: Any) -> None:
        taken.append(values)
        await called(self, values, *rest)

    monkeypatch.setattr(DirectRoute, "__call__", seen)
    status, _ = await _ask(_app(), query, headers)
    assert (status, len(taken)) == (200, 1)
