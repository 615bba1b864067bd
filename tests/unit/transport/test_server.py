"""The base of applications: no unguarded route, one shape of errors, limits."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from dirac.core.errors import ConflictError, NotAllowedError, UnauthenticatedError, UnavailableError
from dirac.transport.drain import Drain
from dirac.transport.routing import MAX_BODY, SystemRouter, allowed, body, open_to_all, provided
from dirac.transport.server import create_app


class Who(msgspec.Struct):
    vo: str


class Oven:
    def __init__(self) -> None:
        self.baked: list[str] = []


class Loaf(msgspec.Struct):
    Name: str
    Grams: int = 500


def astronomers_only(who: Who) -> None:
    if who.vo != "astro":
        raise NotAllowedError(f"{who.vo} may not bake")


router = SystemRouter("/api/loaves", "loaves")


@router.post("/", status_code=201)
async def bake(
    who: Annotated[Who, allowed(astronomers_only)],
    loaves: Annotated[list[Loaf], body(list[Loaf])],
    oven: Annotated[Oven, provided(Oven)],
    hot: bool = True,
) -> list[Loaf]:
    """Bake loaves."""
    oven.baked += [loaf.Name for loaf in loaves]
    return loaves


@router.get("/broken", dependencies=[open_to_all("a test")])
async def broken() -> None:
    raise ZeroDivisionError("secret detail")


@router.get("/busy", dependencies=[open_to_all("a test")])
async def busy() -> None:
    raise UnavailableError("the oven is full", retry_after=3)


@router.delete("/{name}", status_code=204, dependencies=[open_to_all("a test")])
async def eat(name: str) -> None:
    if name == "stone":
        raise ConflictError("a stone cannot be eaten", hint="Bake it first")


async def authenticate(token: str) -> Who:
    if token == "expired":
        raise UnauthenticatedError("the token is expired", hint="Log in again")
    return Who(token)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


def make(routers: list[SystemRouter], given: dict[type, Any]) -> FastAPI:
    return create_app(routers, provided=given, authenticate=authenticate, lifespan=lifespan, version="1.2.3")


@pytest.fixture
def oven() -> Oven:
    return Oven()


@pytest.fixture
async def http(oven: Oven) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make([router], {Oven: oven}), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


ASTRO = {"Authorization": "Bearer astro"}


async def test_a_call_goes_through(http: httpx.AsyncClient, oven: Oven) -> None:
    answer = await http.post("/api/loaves/", json=[{"Name": "rye"}], headers=ASTRO)
    assert answer.status_code == 201
    assert answer.json() == [{"Name": "rye", "Grams": 500}]
    assert oven.baked == ["rye"]


Send = Callable[[httpx.AsyncClient], Any]


@pytest.mark.parametrize(
    ("send", "status", "text"),
    [
        (lambda c: c.post("/api/loaves/", json=[]), 401, "dirac login"),
        (
            lambda c: c.post("/api/loaves/", json=[], headers={"Authorization": "Basic x"}),
            401,
            "access token",
        ),
        (
            lambda c: c.post("/api/loaves/", json=[], headers={"Authorization": "Bearer expired"}),
            401,
            "expired",
        ),
        (
            lambda c: c.post("/api/loaves/", json=[], headers={"Authorization": "Bearer bio"}),
            403,
            "bio may not",
        ),
        (lambda c: c.post("/api/loaves/", json=[{}], headers=ASTRO), 422, "Name"),
        (lambda c: c.post("/api/loaves/?hot=maybe", json=[], headers=ASTRO), 422, "query.hot"),
        (lambda c: c.post("/api/loaves/?hot=%00", json=[], headers=ASTRO), 400, "NUL"),
        (lambda c: c.post("/api/loaves/", content="[]", headers=ASTRO), 415, "Content-Type"),
        (lambda c: c.post("/api/loaves/", data={"a": "b"}, headers=ASTRO), 415, "urlencoded"),
        (
            lambda c: c.post(
                "/api/loaves/",
                content=b" " * (MAX_BODY + 1),
                headers=ASTRO | {"content-type": "application/json"},
            ),
            413,
            "larger than",
        ),
        (lambda c: c.delete("/api/loaves/stone"), 409, "Bake it first"),
        (lambda c: c.get("/api/loaves/busy"), 503, "full"),
        (lambda c: c.get("/api/nothing"), 404, "nothing at /api/nothing"),
        (lambda c: c.put("/api/loaves/"), 405, "PUT is not possible at /api/loaves/. Use POST"),
    ],
)
async def test_what_is_wrong_gets_its_status_and_changes_nothing(
    http: httpx.AsyncClient, oven: Oven, send: Send, status: int, text: str
) -> None:
    answer = await send(http)
    assert answer.status_code == status
    assert text in answer.json()["detail"]
    assert oven.baked == []


async def test_a_pause_is_asked_for(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/loaves/busy")).headers["retry-after"] == "3"


async def test_a_defect_is_a_500_that_tells_nothing(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/loaves/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["where"] == answer.headers["x-request-id"], "it can be found in the log"


async def test_an_empty_answer_is_empty(http: httpx.AsyncClient) -> None:
    answer = await http.delete("/api/loaves/rye")
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_route_without_a_policy_does_not_start() -> None:
    unguarded = SystemRouter("/api/x", "x")
    unguarded.add_api_route("/", bake_for_nobody, methods=["GET"])
    with pytest.raises(RuntimeError, match=r"/api/x/ has no policy"):
        make([unguarded], {})


def test_a_route_that_asks_for_what_nobody_provides_does_not_start() -> None:
    with pytest.raises(RuntimeError, match="Oven"):
        make([router], {})


async def bake_for_nobody() -> None:
    """Have no policy."""


async def test_the_description_tells_bodies_answers_and_errors(http: httpx.AsyncClient) -> None:
    document = (await http.get("/api/openapi.json")).json()
    operation = document["paths"]["/api/loaves/"]["post"]
    assert operation["operationId"] == "loaves_bake"
    assert operation["security"] == [{"bearer": []}]
    sent = operation["requestBody"]["content"]["application/json"]["schema"]
    assert sent == {"type": "array", "items": {"$ref": "#/components/schemas/Loaf"}}
    assert operation["responses"]["201"]["content"]["application/json"]["schema"] == sent
    assert "security" not in document["paths"]["/api/loaves/broken"]["get"]
    assert document["components"]["schemas"]["Loaf"]["required"] == ["Name"]


async def test_the_page_of_documentation_needs_nothing_from_outside(http: httpx.AsyncClient) -> None:
    page = await http.get("/api/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded
    for address in loaded:
        assert address.startswith("/api/docs/"), address
        assert (await http.get(address)).status_code == 200


async def test_connections_are_closed_once_the_end_is_near(oven: Oven) -> None:
    drain, seen = Drain(), list[tuple[str, str, int]]()
    app = create_app(
        [router],
        provided={Oven: oven},
        authenticate=authenticate,
        lifespan=lifespan,
        version="1.2.3",
        drain=drain,
        observe=lambda method, route, status, _seconds: seen.append((method, route, status)),
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert "connection" not in (await client.delete("/api/loaves/rye")).headers
        drain.begin()
        assert (await client.delete("/api/loaves/stone")).headers["connection"] == "close"
        for path in ("/api/loaves/broken", "/api/nowhere"):
            assert (await client.get(path)).headers["connection"] == "close"
    assert seen == [
        ("DELETE", "/api/loaves/{name}", 204),
        ("DELETE", "/api/loaves/{name}", 409),
        ("GET", "/api/loaves/broken", 500),
        ("GET", "", 404),
    ]


def test_a_drain_is_announced_once() -> None:
    drain, told = Drain(), list[bool]()
    drain.listeners.append(lambda: told.append(drain.begun))
    drain.begin()
    drain.begin()
    assert told == [True]
