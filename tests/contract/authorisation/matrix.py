"""The reviewed table, and the application's own answers to compare it with.

``python -m tests.contract.authorisation`` prints the rows that are missing or differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from dirac.transport.routing import Allowed, Open, dependencies
from tests.contract.authorisation.asked import REQUESTS, Request
from tests.contract.authorisation.fresh import Fresh
from tests.contract.authorisation.roles import ROLES
from tests.contract.authorisation.world import World

TABLE = Path(__file__).with_name("reviewed.txt")
STATES = Path(__file__).with_name("reviewed_states.txt")
MEANINGS = {
    "+": "done, or shown",
    "0": "answered, but nothing of the owner's is in the answer",
    "?": "404: for this caller there is no such thing",
    "-": "403: may not",
    "!": "401: needs a token",
    "~": "gets through the door; this request is refused for what it says (400, 409, 422)",
}
_WIDTH = 50


def routes(app: FastAPI) -> dict[str, APIRoute]:
    """Return all routes, by method and path."""
    return {
        f"{method} {route.path}": route
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    }


def policy_of(route: APIRoute) -> Allowed | Open:
    """Return what guards a route."""
    return next(need for need in dependencies(route.dependant) if isinstance(need, Allowed | Open))


def guarded(app: FastAPI) -> list[str]:
    """Return the routes that have a policy, in order."""
    return sorted(name for name, route in routes(app).items() if isinstance(policy_of(route), Allowed))


def read(text: str) -> dict[str, dict[str, str]]:
    """Return a table: for each route and role one mark."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    roles = lines[0].split()[1:]
    found = {}
    for line in lines[1:]:
        words = line.split()
        route, marks = " ".join(words[: -len(roles)]), words[-len(roles) :]
        assert "/" not in "".join(marks), f"not {len(roles)} marks: {line}"
        assert set(marks) <= MEANINGS.keys(), f"an unknown mark: {line}"
        found[route] = dict(zip(roles, marks, strict=True))
    return found


def row(route: str, marks: Mapping[str, str], roles: Sequence[str] = tuple(ROLES)) -> str:
    """Print one row."""
    return f"{route:<{_WIDTH}}" + " ".join(f"{marks.get(role, '.'):>{len(role)}}" for role in roles)


def header() -> str:
    """Print the line with the roles."""
    return f"{'route':<{_WIDTH}}" + " ".join(ROLES)


async def observe_all(world: World) -> dict[str, dict[str, str]]:
    """Return what the application answers to each role, by route."""
    fresh = Fresh(world)
    return {route: await observe(world, route, fresh) for route in guarded(world.app)}


async def observe(world: World, route: str, fresh: Fresh) -> dict[str, str]:
    """Return what the application answers to each role."""
    return {role: await _mark(world, route, role, fresh) for role in ROLES}


async def _mark(world: World, route: str, role: str, fresh: Fresh) -> str:
    method, path = route.split()
    values = {**world.values, **await fresh.values(path), "unique": f"matrix{next(world.numbers)}"}
    make = REQUESTS.get(route)
    request = Request() if make is None else make(values)
    answer = await send(world, method, path, role, request, values)
    if answer.is_success and method != "GET":
        fresh.used()
    return mark(answer, request)


async def send(
    world: World, method: str, path: str, role: str, request: Request, values: Mapping[str, Any]
) -> httpx.Response:
    """Send a request as somebody."""
    filled = re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], "1")), path)
    token, headers = world.tokens.get(role), world.headers.get(role)
    return await world.ask(method, filled, token, request.body, request.params, headers)


def mark(answer: httpx.Response, request: Request) -> str:
    """Return the mark for an answer."""
    assert answer.status_code < 500, f"{answer.request.method} {answer.request.url}: {answer.text}"
    if answer.status_code >= 400:
        return {401: "!", 403: "-", 404: "?"}.get(answer.status_code, "~")
    if request.shows and request.shows not in answer.text:
        return "0"
    if _all_failed(answer) or (request.absent and request.absent in answer.text):
        return "?"
    return "+"


def _all_failed(answer: httpx.Response) -> bool:
    """Tell whether an answer that has one for each item has only refusals."""
    if not answer.content.startswith(b'{"success"'):
        return False
    outcome = json.loads(answer.content)
    return not outcome["success"] and bool(outcome.get("failed"))


def differences(
    reviewed: Mapping[str, Mapping[str, str]], seen: Mapping[str, Mapping[str, str]], table: Path = TABLE
) -> Iterator[str]:
    """Yield what the table does not say, or says otherwise, and what to do about it."""
    for route in sorted(seen.keys() - reviewed.keys()):
        yield f"no row for {route}; if this is right, add:\n{row(route, seen[route])}"
    for route in sorted(reviewed.keys() - seen.keys()):
        yield f"there is no route {route}; take its row out of {table.name}"
    for route in sorted(reviewed.keys() & seen.keys()):
        for role in ROLES:
            wanted, found = reviewed[route].get(role, "."), seen[route][role]
            if wanted != found:
                yield f"{route} as {role}: reviewed {wanted}, but it is {found} ({MEANINGS[found]})"
