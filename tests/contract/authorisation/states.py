"""Routes whose answer depends on the state of what is asked for: every role, in every such state.

The rows of the second table have the state in front of the route: `done POST /api/jobs/kill`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from dirac.core.time import to_wire
from tests.contract.authorisation.asked import REQUESTS, Request
from tests.contract.authorisation.fresh import client, job, kept_proxy, login
from tests.contract.authorisation.matrix import mark, send
from tests.contract.authorisation.roles import OWN, ROLES, SITE, run_token
from tests.contract.authorisation.world import World

Values = dict[str, Any]
Maker = Callable[[World], Awaitable[Values]]


async def _waiting(world: World) -> Values:
    number = (await job(world))["fresh"]
    return {"fresh": number, "job_id": number, "attempt": 1}


async def _matched(world: World) -> Values:
    # Few tags, because each is one more class of jobs; several, because what was rescheduled comes again, and
    # does so three times only.
    tag = f"state{next(world.numbers) // 6}"
    await world.submit(1, f'Executable = "/bin/true"; Tags = {{"{tag}"}};')
    number, attempt = await world.match("pilot", tags=[tag], required_tags=[tag])
    return {"fresh": number, "job_id": number, "attempt": attempt}


def _after(make: Maker, method: str, path: str, role: str, body: Callable[[Values], Any]) -> Maker:
    """Return what makes a thing, and then has somebody do something to it."""

    async def made(world: World) -> Values:
        values = {**world.values, **await make(world)}
        values["moment"] = to_wire(world.installation.database.clock.now())
        answer = await world.ask(method, path.format(**values), world.tokens[role], body(values))
        assert answer.is_success, answer.text
        assert b'"failed":{"' not in answer.content, answer.text
        return values

    return made


def _status(name: str) -> Callable[[Values], Any]:
    return lambda v: {str(v["job_id"]): {v["moment"]: {"Status": name, "Source": "matrix"}}}


def _ids(values: Values) -> Any:
    return {"job_ids": [values["job_id"]]}


async def _pilot(world: World) -> Values:
    """Have one more pilot of the VO, at work."""
    stamp = f"state{next(world.numbers)}"
    pilot = {"pilot_stamp": stamp, "vo": "astro", "grid_site": SITE, "pilot_status": "Running"}
    answer = await world.ask("POST", "/api/pilots/", world.tokens["admin"], pilot)
    assert answer.is_success, answer.text
    token = await world.installation.identity.tokens.pilot_token(stamp=stamp, vo="astro", seconds=3600)
    return {"stamp": stamp, "tokens": {"pilot": token}}


async def _session(world: World) -> Values:
    return {"jti": (await login(world, "astro", "alice", "astro_user")).jti}


_running = _after(_matched, "PATCH", "/api/jobs/status", "owner", _status("Running"))
_done = _after(_running, "PATCH", "/api/jobs/status", "owner", _status("Done"))
JOB: dict[str, Maker] = {
    "waiting": _waiting,
    "held": _after(_waiting, "POST", "/api/jobs/hold", "owner", _ids),
    "running": _running,
    "done": _done,
    "killed": _after(_running, "PATCH", "/api/jobs/status", "owner", _status("Killed")),
    "deleted": _after(_done, "POST", "/api/jobs/delete", "owner", _ids),
}
PILOT: dict[str, Maker] = {
    "at-work": _pilot,
    "gone": _after(
        _pilot, "PATCH", "/api/pilots/metadata", "admin", lambda v: {v["stamp"]: {"Status": "Done"}}
    ),
}
OVER: dict[str, tuple[Maker, tuple[str, ...]]] = {
    "ended": (
        _after(_session, "DELETE", "/api/auth/refresh-tokens/{jti}", "owner", lambda _: None),
        ("GET /api/auth/refresh-tokens", "DELETE /api/auth/refresh-tokens/{jti}"),
    ),
    "destroyed": (
        _after(kept_proxy, "DELETE", "/api/proxies/{proxy_id}", "owner", lambda _: None),
        ("DELETE /api/proxies/{proxy_id}",),
    ),
    "removed": (
        _after(client, "DELETE", "/api/auth/clients/{client_id}", "service", lambda _: None),
        ("GET /api/auth/clients", "DELETE /api/auth/clients/{client_id}"),
    ),
}
# Who may look at a job does not depend on its state: the first table has that.
JOB_ROUTES: tuple[str, ...] = (
    "GET /api/jobs/{job_id}/sandbox",
    "PATCH /api/jobs/heartbeat",
    "PATCH /api/jobs/metadata",
    "PATCH /api/jobs/status",
    "PATCH /api/jobs/{job_id}/sandbox/output",
    "POST /api/jobs/delete",
    "POST /api/jobs/hold",
    "POST /api/jobs/kill",
    "POST /api/jobs/release",
    "POST /api/jobs/reschedule",
    "POST /api/jobs/sandbox",
    "POST /api/jobs/search",
    "POST /api/jobs/{job_id}/follow",
    "POST /api/proxies/delegations",
)
PILOT_ROUTES: tuple[str, ...] = (
    "PATCH /api/pilots/metadata",
    "POST /api/jobs/match",
    "POST /api/pilots/token/renew",
)


async def observe_states(world: World) -> dict[str, dict[str, str]]:
    """Return what the application answers to each role, by state and route."""
    cases = [(state, make, JOB_ROUTES) for state, make in JOB.items()]
    cases += [(state, make, PILOT_ROUTES) for state, make in PILOT.items()]
    cases += [(state, make, routes) for state, (make, routes) in OVER.items()]
    return {
        f"{state} {route}": await _observe(world, route, make)
        for state, make, routes in cases
        for route in routes
    }


async def _observe(world: World, route: str, make: Maker) -> dict[str, str]:
    method, path = route.split()
    tokens, found = world.tokens, {}
    values: Values | None = None
    for role in ROLES:
        if values is None:
            values = {**world.values, **await make(world)}
            if "attempt" in values:
                run = (values["job_id"], values["attempt"])
                values["tokens"] = {"job": await run_token(world.installation, run, OWN)}
        values["unique"] = f"state{next(world.numbers)}"
        request = REQUESTS[route](values) if route in REQUESTS else Request()
        world.tokens = {**tokens, **values.get("tokens", {})}
        answer = await send(world, method, path, role, request, values)
        world.tokens = tokens
        found[role] = mark(answer, request)
        if answer.is_success and method != "GET":
            values = None  # it is not in that state any more
    return found
