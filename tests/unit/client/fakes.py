"""What the client's tests share: a clock that leaps, and a server in memory for either client."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from dirac.client import AsyncClient
from dirac.client.sync.client import Client
from dirac.transport.http_client import FixedToken

SERVER = "http://dirac.test"


class LeapingClock:
    """A clock whose sleepers wake at once, with the time moved on; `naps` are what they asked for."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.naps: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.leap(seconds)
        await asyncio.sleep(0)

    def leap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.elapsed += seconds


class LeapingBlockingClock(LeapingClock):
    """The same for blocking code."""

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.leap(seconds)


class Fake:
    """A server of routes in memory: it keeps all requests and answers by method and path.

    An answer is a JSON value, an `httpx.Response`, an exception, or a function of the request that gives one;
    a list gives one after the other, the last for ever.
    """

    def __init__(self, routes: dict[str, Any]) -> None:
        self.routes = routes
        self.requests: list[httpx.Request] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        route = f"{request.method} {request.url.path}"
        if route not in self.routes:
            return httpx.Response(404, json={"detail": f"no route {route}", "error": "not_found"})
        answer = self.routes[route]
        if isinstance(answer, Script):
            answer = answer.next()
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    @property
    def seen(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def client(self, token: Any = "token", **options: Any) -> AsyncClient:
        transport = httpx.MockTransport(self.handle)
        clock = options.pop("clock", None) or LeapingClock()
        return AsyncClient(SERVER, token=token or FixedToken(None), transport=transport, clock=clock, **options)

    def blocking(self, token: Any = "token", **options: Any) -> Client:
        transport = httpx.MockTransport(self.handle)
        clock = options.pop("clock", None) or LeapingBlockingClock()
        return Client(SERVER, token=token, transport=transport, clock=clock, **options)


class Script:
    """Answers that are given one after the other, the last for ever."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def next(self) -> Any:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def refused(status: int, detail: str = "no", **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"detail": detail}, headers=names)


