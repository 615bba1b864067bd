"""The routes for running jobs and pilots: shapes, status codes, and who gets through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from dirac.core.errors import UnauthenticatedError
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.api import routers
from dirac.transport.server import create_app

from .support import ECHO, node, person, pilot, run
from .support_running import SITE, TREE, Hall

CALLERS = {
    "alice": person("alice"),
    "bob": person("bob"),
    "bio": person("alice", "bio"),
    "boss": person("boss", "astro", Property.JOB_ADMINISTRATOR),
    "root": person("root", "", Property.SERVICE_ADMINISTRATOR),
    "none": person("none", "astro", Property.OPERATOR),
    "factory": person("factory", "astro", Property.GENERIC_PILOT),
    "p1": pilot("p1"),
    "p2": pilot("p2"),
    "node": node(),
}


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


async def _authenticate(token: str) -> Identity:
    """Know the callers by name, and runs by the tokens that were issued."""
    if token.startswith("token of "):
        job_id, attempt = token.split()[2].split(":")
        return run(int(job_id), int(attempt))
    if token not in CALLERS:
        raise UnauthenticatedError("no such token")
    return CALLERS[token]


class Client:
    """Calls the routes as somebody."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __call__(self, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self._http.request(
            method, path, json=body, headers={"Authorization": f"Bearer {who}"} if who else {}
        )

    async def submitted(self) -> int:
        """Submit a job of alice's."""
        answer = await self("alice", "POST", "/api/jobs/jdl", [ECHO])
        return int(answer.json()[0]["JobID"])

    async def matched(self, who: str = "p1", request_id: str = "r1") -> dict[str, Any]:
        """Get a job."""
        body = {"resource": {"site": SITE}, "request_id": request_id}
        answer = await self(who, "POST", "/api/jobs/match", body)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def call(hall: Hall) -> AsyncIterator[Client]:
    app = create_app(
        routers,
        provided=hall.provided(),
        authenticate=_authenticate,
        lifespan=_lifespan,
        version="test",
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        yield Client(http)


async def test_from_match_to_done(call: Client) -> None:
    job_id = await call.submitted()
    job = (await call.matched())["job"]
    assert (job["job_id"], job["attempt"]) == (job_id, 1)
    assert (await call.matched())["job"] == job
    token, key = job["token"], str(job_id)
    times = ["2026-11-20 11:59:00.000001+00:00", "2026-11-20T11:59:01Z"]
    answer = await call(
        token,
        "PATCH",
        "/api/jobs/status",
        {key: {times[0]: {"Status": "Running", "MinorStatus": "Application", "Source": "JobWrapper"}}},
    )
    assert answer.status_code == 200
    assert answer.json()["success"][key]["Status"] == "Running"
    assert answer.json()["failed"] == {}
    answer = await call(
        token, "PATCH", "/api/jobs/heartbeat", {key: {"CPUConsumed": 3, "StandardOutput": "hi"}}
    )
    assert (answer.status_code, answer.json()) == (200, [])
    answer = await call(token, "PATCH", "/api/jobs/metadata", {key: {"HostName": "node"}})
    assert (answer.status_code, answer.content) == (204, b"")
    answer = await call(token, "PATCH", "/api/jobs/status", {key: {times[1]: {"Status": "Done"}}})
    assert answer.json()["success"][key]["EndExecTime"] == "2026-11-20T11:59:01Z"
    found = await call("alice", "GET", f"/api/jobs/{job_id}/explain")
    assert found.json()["text"].startswith("The job is done")
    assert (await call("alice", "GET", f"/api/jobs/{job_id}/parameters")).json() == {"HostName": "node"}


async def test_nothing_to_match(call: Client) -> None:
    assert await call.matched() == {}


async def test_kill_reschedule_delete(call: Client) -> None:
    job_id = await call.submitted()
    body = {"job_ids": [job_id]}
    token = (await call.matched())["job"]["token"]
    answer = await call("alice", "POST", "/api/jobs/reschedule?reset_jobs=true", body)
    assert answer.json()["success"][str(job_id)]["Status"] == "Waiting"
    stale = await call(token, "PATCH", "/api/jobs/heartbeat", {str(job_id): {}})
    assert (stale.status_code, stale.json()["error"]) == (409, "conflict")
    answer = await call("alice", "POST", "/api/jobs/kill", body)
    assert answer.json()["success"][str(job_id)]["Status"] == "Killed"
    answer = await call("alice", "POST", "/api/jobs/delete", body)
    assert answer.json()["success"][str(job_id)]["Status"] == "Deleted"
    for who in ("bob", "bio"):
        for deed in ("kill", "delete", "reschedule"):
            assert (await call(who, "POST", f"/api/jobs/{deed}", body)).status_code == 404


ROUTES = [
    ("POST", "/api/jobs/match", {"resource": {"site": "x"}, "request_id": "r"}, {"p1"}),
    ("PATCH", "/api/jobs/status", {"1": {"2026-11-20T12:00:00Z": {}}}, {"p1", "alice", "boss"}),
    ("PATCH", "/api/jobs/heartbeat", {"1": {}}, {"p1", "alice", "boss"}),
    ("PATCH", "/api/jobs/metadata", {"1": {"a": "b"}}, {"p1", "alice", "boss"}),
    ("POST", "/api/jobs/kill", {"job_ids": [1]}, {"alice", "boss"}),
    ("POST", "/api/jobs/delete", {"job_ids": [1]}, {"alice", "boss"}),
    ("POST", "/api/jobs/reschedule", {"job_ids": [1]}, {"alice", "boss"}),
    ("GET", "/api/jobs/1/explain", None, {"alice", "boss", "root"}),
    ("GET", "/api/pilots/explain?pilot=p1", None, {"alice", "boss", "root", "none"}),
    ("GET", f"/api/sites/{SITE}/explain", None, {"alice", "boss", "root", "none"}),
    ("GET", "/api/jobs/shadow", None, {"boss", "root"}),
    ("POST", "/api/pilots/", {"pilot_stamp": "x", "vo": "astro"}, {"factory", "root"}),
    ("PATCH", "/api/pilots/metadata", {"p1": {}}, {"p1", "factory", "root"}),
    ("POST", "/api/pilots/search", None, {"alice", "boss", "root", "none"}),
    ("POST", "/api/pilots/summary", {"grouping": []}, {"alice", "boss", "root", "none"}),
]


@pytest.mark.parametrize(("method", "path", "body", "allowed"), ROUTES)
async def test_who_gets_through(call: Client, method: str, path: str, body: Any, allowed: set[str]) -> None:
    assert (await call("", method, path, body)).status_code == 401
    assert (await call("forged", method, path, body)).status_code == 401
    for who in ("alice", "boss", "root", "none", "factory", "p1"):
        answer = await call(who, method, path, body)
        assert (answer.status_code == 403) == (who not in allowed), who
        assert answer.status_code < 500


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", "/api/jobs/status", {"1": {"yesterday": {}}}, 422),
        ("PATCH", "/api/jobs/status", {"1": {"2026-11-20T12:00:00": {}}}, 400),
        ("PATCH", "/api/jobs/status", {"1": {}}, 400),
        ("PATCH", "/api/jobs/status", {}, 400),
        ("PATCH", "/api/jobs/status", {"0": {}}, 422),
        ("PATCH", "/api/jobs/status", {"1": {"2026-11-20T12:00:00Z": {"Status": "Happy"}}}, 422),
        ("PATCH", "/api/jobs/status?force=true", {"1": {"2026-11-20T12:00:00Z": {}}}, 403),
        ("PATCH", "/api/jobs/heartbeat", {"1": {"Nonsense": 1}}, 422),
        ("PATCH", "/api/jobs/metadata", {"1": {"Owner": "me"}}, 400),
        ("PATCH", "/api/jobs/metadata", {"999": {"a": "b"}}, 404),
        ("POST", "/api/jobs/kill", {"job_ids": []}, 422),
        ("POST", "/api/jobs/kill", {"job_ids": [999]}, 404),
        ("POST", "/api/jobs/reschedule", {}, 422),
        ("GET", "/api/jobs/999/explain", None, 404),
        ("GET", "/api/jobs/0/explain", None, 422),
        ("GET", "/api/pilots/explain", None, 422),
        ("GET", "/api/pilots/explain?pilot=", None, 422),
        ("GET", "/api/pilots/explain?pilot=nobody", None, 404),
        ("GET", "/api/sites/LCG.There.fr/explain", None, 404),
        ("GET", f"/api/sites/{SITE}/explain?vo=bio", None, 404),
        ("GET", f"/api/sites/{'x' * 129}/explain", None, 422),
    ],
)
async def test_what_is_wrong_is_said(call: Client, method: str, path: str, body: Any, status: int) -> None:
    answer = await call("alice", method, path, body)
    assert answer.status_code == status
    assert answer.json()["detail"]


async def test_pilots(call: Client) -> None:
    body = {"pilot_stamp": "p1", "vo": "astro", "grid_site": SITE}
    assert (await call("factory", "POST", "/api/pilots/", body)).status_code == 201
    assert (await call("factory", "POST", "/api/pilots/", body)).status_code == 409
    assert (await call("factory", "POST", "/api/pilots/", body | {"vo": "bio"})).status_code == 403
    assert (await call("root", "POST", "/api/pilots/", body | {"vo": "nowhere"})).status_code == 400
    changed = await call("p1", "PATCH", "/api/pilots/metadata", {"p1": {"Status": "Running"}})
    assert (changed.status_code, changed.content) == (204, b"")
    assert (await call("p2", "PATCH", "/api/pilots/metadata", {"p1": {"Status": "Done"}})).status_code == 404
    found = await call("alice", "POST", "/api/pilots/search", {"parameters": ["PilotStamp", "Status"]})
    assert (found.status_code, found.json()) == (200, [{"PilotStamp": "p1", "Status": "Running"}])
    assert (await call("bio", "POST", "/api/pilots/search")).json() == []
    counted = await call("alice", "POST", "/api/pilots/summary", {"grouping": ["Status"]})
    assert counted.json() == [{"Status": "Running", "count": 1}]
    beyond = await call("alice", "POST", "/api/pilots/search?page=9")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "pilots */1")


async def test_why(call: Client) -> None:
    job_id = await call.submitted()
    await call(
        "factory",
        "POST",
        "/api/pilots/",
        {"pilot_stamp": "p1", "vo": "astro", "pilot_reference": "a://b/c?d"},
    )
    await call.matched()
    answer = await call("alice", "GET", "/api/pilots/explain?pilot=a%3A%2F%2Fb%2Fc%3Fd")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["pilot_stamp"], found["job_id"], found["offer"]["processors"]) == ("p1", job_id, 1)
    answer = await call("alice", "GET", f"/api/sites/{SITE}/explain")
    assert (answer.status_code, answer.json()["jobs"]) == (200, {"Matched": 1})
    assert (await call("root", "GET", f"/api/sites/{SITE}/explain?vo=astro")).json()["own_only"] is False


@pytest.mark.parametrize("who", ["", "alice", "root", "factory", "p1", "node"])
async def test_only_nodes_ask_for_pilots_and_only_pilots_renew(call: Client, who: str) -> None:
    registration = {"pilot_stamp": "p1", "vo": "astro"}
    await call("factory", "POST", "/api/pilots/", registration)
    refused = 403 if who else 401
    calls: list[tuple[str, str, Any, str]] = [
        ("GET", "/api/pilots/node", None, "node"),
        ("POST", "/api/pilots/node/ask", {"node": "wn1", "request_id": "r", "slots": 1}, "node"),
        ("POST", "/api/pilots/node/ended", {"node": "wn1", "ended": {}}, "node"),
        ("POST", "/api/pilots/token/renew", None, "p1"),
    ]
    for method, path, body, may in calls:
        answer = await call(who, method, path, body)
        # The element of the node is not in this configuration, which it learns only once it was let in.
        expected = (
            (200 if who == "p1" else 404 if not path.endswith("ended") else 200) if who == may else refused
        )
        assert answer.status_code == expected, (path, answer.text)


async def test_a_node_reaches_nothing_else(call: Client, hall: Hall) -> None:
    await call.submitted()
    for method, path, body in (
        ("POST", "/api/jobs/match", {"resource": {"site": SITE}, "request_id": "r"}),
        ("POST", "/api/jobs/search", {}),
        ("POST", "/api/jobs/jdl", [ECHO]),
        ("POST", "/api/pilots/search", {}),
        ("PATCH", "/api/pilots/metadata", {"p1": {"Status": "Aborted"}}),
        ("PATCH", "/api/jobs/status", {"1": {}}),
        ("POST", "/api/pilots/", {"pilot_stamp": "p9", "vo": "astro"}),
    ):
        assert (await call("node", method, path, body)).status_code == 403, path
    assert await hall.pilot_rows() == []


async def test_the_shape_of_what_a_node_is_given(call: Client, hall: Hall) -> None:
    sites = {SITE: {"virtual_organisations": ["astro"], "computing_elements": {"farm": {"type": "node"}}}}
    hall.configuration.tree = msgspec.convert({**TREE, "sites": sites}, Tree)
    await call.submitted()
    body = {"node": "wn1", "request_id": "r", "slots": 1, "processors": 1, "disk_mb": 9000}
    answer = (await call("node", "POST", "/api/pilots/node/ask", body)).json()
    assert set(answer) == {"pilots", "stop", "ask_again"}
    assert set(answer["pilots"][0]) == {
        *("stamp", "vo", "queue", "secret", "arguments", "settings"),
        *("processors", "max_ram_mb", "wall_seconds"),
    }
    for wrong in ({"node": "a/b"}, {"slots": -1}, {"wait": 31}, {"extra": 1}, {"request_id": ""}):
        assert (await call("node", "POST", "/api/pilots/node/ask", body | wrong)).status_code == 422
