"""The reviewed table, and the application's own answers to compare it with.

``python -m tests.contract.authorisation`` prints the rows that are missing or differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from dirac.db.engine import DatabaseUnits
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.sessions import RefreshRecord
from dirac.systems.identity.store import IdentityUnit
from dirac.transport.routing import Allowed, Open, dependencies
from tests.contract.authorisation.asked import REQUESTS, Request
from tests.contract.authorisation.roles import ROLES
from tests.contract.authorisation.world import World

TABLE = Path(__file__).with_name("reviewed.txt")
MEANINGS = {
    "+": "done, or shown",
    "0": "answered, but nothing of the owner's is in the answer",
    "?": "404: for this caller there is no such thing",
    "-": "403: may not",
    "!": "401: needs a token",
    "~": "gets through the door; this request is refused for what it says (400, 409, 422)",
}
_WIDTH = 48


def routes(app: FastAPI) -> dict[str, APIRoute]:
    """Return all routes, by method and path."""
    return {
        f"{method} {route.path}": route
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods)
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
        method, path, *marks = line.split()
        assert len(marks) == len(roles), f"{len(marks)} marks instead of {len(roles)}: {line}"
        assert set(marks) <= MEANINGS.keys(), f"an unknown mark: {line}"
        found[f"{method} {path}"] = dict(zip(roles, marks, strict=True))
    return found


def row(route: str, marks: Mapping[str, str], roles: Sequence[str] = tuple(ROLES)) -> str:
    """Print one row."""
    return f"{route:<{_WIDTH}}" + " ".join(f"{marks.get(role, '.'):>{len(role)}}" for role in roles)


def header() -> str:
    """Print the line with the roles."""
    return f"{'route':<{_WIDTH}}" + " ".join(ROLES)


async def observe(world: World, route: str) -> dict[str, str]:
    """Return what the application answers to each role."""
    return {role: await _mark(world, route, role) for role in ROLES}


async def _mark(world: World, route: str, role: str) -> str:
    method, path = route.split()
    request, values = await _request(world, route, role)
    filled = re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], "1")), path)
    answer = await world.ask(method, filled, world.tokens.get(role), request.body, request.params)
    return mark(answer, request)


async def _request(world: World, route: str, role: str) -> tuple[Request, dict[str, object]]:
    values = {**world.values, "unique": re.sub(r"\W", "", f"{route}{role}")[-32:]}
    values["fresh"] = (await world.submit(1))[0]
    values["jti"] = (await login(world, "astro", "alice", "astro_user")).jti
    make = REQUESTS.get(route)
    return (Request() if make is None else make(values)), values


async def login(world: World, vo: str, sub: str, group: str) -> RefreshRecord:
    """Have somebody log in once more; return the session's refresh token."""
    units = DatabaseUnits(world.installation.database, IdentityUnit)
    async with units.write() as unit:
        session = await world.installation.identity.sessions.begin(unit, vo, sub, Scope(vo, group), "dirac")
    assert not isinstance(session, Exception)
    return session.record


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
    reviewed: Mapping[str, Mapping[str, str]], seen: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Yield what the table does not say, or says otherwise, and what to do about it."""
    for route in sorted(seen.keys() - reviewed.keys()):
        yield f"no row for {route}; if this is right, add:\n{row(route, seen[route])}"
    for route in sorted(reviewed.keys() - seen.keys()):
        yield f"there is no route {route}; take its row out of {TABLE.name}"
    for route in sorted(reviewed.keys() & seen.keys()):
        for role in ROLES:
            wanted, found = reviewed[route].get(role, "."), seen[route][role]
            if wanted != found:
                yield f"{route} as {role}: reviewed {wanted}, but it is {found} ({MEANINGS[found]})"
