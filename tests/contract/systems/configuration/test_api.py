"""The configuration's routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from dirac.core.errors import UnauthenticatedError
from dirac.db.engine import Database
from dirac.systems.configuration.api import routers
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity, Property
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock
from dirac.transport.server import create_app
from tests.contract.systems.configuration.sample import TEXT


@asynccontextmanager
async def _lifespan(_app: Any) -> AsyncIterator[None]:
    yield


@pytest.fixture
async def client(
    configuration: Configuration, admin: Identity, make_identity: Callable[..., Identity]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with the configuration's routes; the token names who is asking."""
    callers = {
        "admin": admin,
        "service": make_identity("", Property.CS_ADMINISTRATOR, kind="service"),
        "would-be": make_identity("astro", Property.CS_ADMINISTRATOR),
        "astro": make_identity("astro"),
        "bio": make_identity("bio"),
        "vo-admin": make_identity("astro", Property.VO_ADMINISTRATOR),
        "pilot": make_identity("astro", Property.GENERIC_PILOT, kind="pilot"),
        "job": make_identity("astro", kind="job"),
    }

    async def authenticate(token: str) -> Identity:
        try:
            return callers[token]
        except KeyError:
            raise UnauthenticatedError("no such token") from None

    app = create_app(
        routers,
        provided={Configuration: configuration},
        authenticate=authenticate,
        lifespan=_lifespan,
        version="1",
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://dirac.example") as client:
        yield client


def _as(caller: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {caller}", **headers}


async def _apply(client: httpx.AsyncClient, text: str = TEXT, **options: Any) -> httpx.Response:
    return await client.post("/api/config/apply", json={"text": text, **options}, headers=_as("admin"))


async def test_the_shape_of_diracx_for_the_callers_vo(client: httpx.AsyncClient) -> None:
    assert (await _apply(client)).status_code == 200
    answer = await client.get("/api/config/", headers=_as("astro"))
    assert answer.status_code == 200
    served = answer.json()
    assert served["Registry"] == {
        "astro": {
            "IdP": {"URL": "https://dirac.example", "ClientID": "dirac"},
            "Support": {"Email": None, "Webpage": None, "Message": "Please contact your VO"},
            "DefaultGroup": "user",
            "Users": {"alice": {"PreferedUsername": "alice", "Email": None, "Suspended": []}},
            "Groups": {"user": {"JobShare": 1000, "Properties": ["NormalUser"], "Users": ["alice"]}},
        }
    }
    assert list(served["Operations"]) == ["astro"]
    assert list(served["Resources"]["Sites"]["LCG"]) == ["LCG.Both.ch"]
    assert "bio" not in answer.text.lower()
    assert "here" not in answer.text, "settings of computing elements are not served"
    everything = (await client.get("/api/config/", headers=_as("admin"))).json()
    assert list(everything["Registry"]) == ["astro", "bio"]


async def test_what_the_caller_has_is_not_sent_again(client: httpx.AsyncClient, clock: FakeClock) -> None:
    await _apply(client)
    first = await client.get("/api/config/", headers=_as("astro"))
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    assert etag.startswith('"')
    assert modified == "Fri, 20 Nov 2026 12:00:00 GMT"

    async def status(caller: str = "astro", **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await client.get("/api/config/", headers=_as(caller, **named))).status_code

    for known in (etag, etag.strip('"'), f"W/{etag}", f'"other", {etag}', "*"):
        assert await status(If_None_Match=known) == 304
    assert await status(If_Modified_Since=modified) == 304
    assert await status(If_None_Match='"older"', If_Modified_Since=modified) == 200
    assert await status(If_None_Match='"newer"', If_Modified_Since="Fri, 20 Nov 2026 12:00:01 GMT") == 304
    assert await status(If_Modified_Since="no date") == 200
    assert await status("bio", If_None_Match=etag) == 200, "another VO's answer is another one"
    clock.advance(5)
    await _apply(client, TEXT.replace("LCG.Bio.ch", "LCG.New.ch"))
    assert await status(If_None_Match=etag) == 304, "what changed is not the caller's"
    await _apply(client, TEXT.replace("LCG.Both.ch", "LCG.All.ch"))
    assert await status(If_None_Match=etag) == 200


async def test_an_application_is_answered_with_its_changes(client: httpx.AsyncClient) -> None:
    dry = await _apply(client, "pilot: {max_jobs: 2}", dry_run=True)
    assert dry.json() == {
        "version": 1,
        "changes": [{"path": "pilot/max_jobs", "old": 1000, "new": 2}],
        "files": ["configuration.yml"],
        "warnings": [],
        "effects": [],
        "merged": [],
    }
    assert (await _apply(client, "pilot: {max_jobs: 2}", comment="two")).json() == dry.json()
    await _apply(client, "pilot: {max_jobs: 3}")
    log = (await client.get("/api/config/log", headers=_as("admin"))).json()
    assert [(version["number"], version["comment"]) for version in log] == [(2, ""), (1, "two")]
    difference = await client.get("/api/config/diff?old=1&new=2", headers=_as("astro"))
    assert difference.json() == [{"path": "pilot/max_jobs", "old": 2, "new": 3}]
    back = await client.post("/api/config/rollback", json={"version": 1}, headers=_as("service"))
    assert back.json()["version"] == 3
    tree = (await client.get("/api/config/tree?version=3", headers=_as("astro"))).json()
    assert (tree["version"], tree["text"], tree["tree"]["pilot"]["max_jobs"]) == (
        3,
        "pilot:\n  max_jobs: 2\n",
        2,
    )


async def test_faults_are_answered_with_their_places(client: httpx.AsyncClient) -> None:
    answer = await _apply(client, "pilot: {max_job: 1}\nsites: 3\n", file="site.yaml")
    assert answer.status_code == 400
    error = answer.json()
    assert error["where"] == "site.yaml:1:9"
    assert (
        "site.yaml:1:9: pilot/max_job: unknown option `max_job`; did you mean `max_jobs`?" in error["detail"]
    )
    assert "site.yaml:2:8: sites: expected lines of `name: value`, found `3`" in error["detail"]


async def test_wrong_requests_are_refused(client: httpx.AsyncClient) -> None:
    await _apply(client, "pilot: {max_jobs: 2}")
    assert (await _apply(client, "{}", expected_version=0)).status_code == 409
    assert (await _apply(client, "#" * 1_100_000)).status_code == 413
    assert (await _apply(client, "{}", unknown=1)).status_code == 422
    for version, status in ((9, 404), (-1, 422), (2**40, 422), ("x", 422)):
        answer = await client.post("/api/config/rollback", json={"version": version}, headers=_as("admin"))
        assert answer.status_code == status
        assert (
            await client.get(f"/api/config/tree?version={version}", headers=_as("admin"))
        ).status_code == status


@pytest.mark.parametrize("caller", ["would-be", "astro", "pilot", "job"])
async def test_only_administrators_change(client: httpx.AsyncClient, caller: str) -> None:
    applying = await client.post("/api/config/apply", json={"text": "{}"}, headers=_as(caller))
    rolling = await client.post("/api/config/rollback", json={"version": 0}, headers=_as(caller))
    assert (applying.status_code, rolling.status_code) == (403, 403)


@pytest.mark.parametrize(
    "path",
    ["", "tree", "diff?old=0", "log", "schema", "files", "export", "explain?key=pilot", "blame?key=pilot"],
)
async def test_people_and_services_read(client: httpx.AsyncClient, path: str) -> None:
    statuses = {
        caller: (await client.get(f"/api/config/{path}", headers=_as(caller))).status_code
        for caller in ("astro", "service", "pilot", "job", "nobody")
    }
    assert statuses == {"astro": 200, "service": 200, "pilot": 403, "job": 403, "nobody": 401}


async def test_the_schema_is_that_of_the_tree(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/config/schema", headers=_as("astro"))
    assert answer.json() == msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Tree)))


async def test_files_are_changed_over_the_wire_with_their_base(client: httpx.AsyncClient) -> None:
    files = {"a.yml": "pilot: {max_jobs: 2}\n", "b.yml": TEXT}
    first = await client.post("/api/config/apply", json={"files": files}, headers=_as("admin"))
    assert (first.status_code, first.json()["files"]) == (200, ["a.yml", "b.yml"])
    listed = (await client.get("/api/config/files?name=a.yml", headers=_as("admin"))).json()
    assert [(each["name"], each["text"]) for each in listed["files"]] == [("a.yml", files["a.yml"])]
    for number, status in ((3, 200), (4, 409)):
        edit = {"files": {"a.yml": f"pilot: {{max_jobs: {number}}}\n"}, "base": 1}
        answer = await client.post("/api/config/apply", json=edit, headers=_as("admin"))
        assert answer.status_code == status
    assert answer.json()["where"] == "a.yml:1:19"
    for wrong in ({}, {"text": "{}", "files": files}, {"files": {"a.yml": 1}}, {"files": {}, "base": -1}):
        answer = await client.post("/api/config/apply", json=wrong, headers=_as("admin"))
        assert answer.status_code == 422
    edit = {"files": {"a.yml": "{}"}, "removed": ["a.yml"]}
    assert (await client.post("/api/config/apply", json=edit, headers=_as("admin"))).status_code == 400


async def test_administrators_of_a_vo_come_to_apply_and_no_further(client: httpx.AsyncClient) -> None:
    await client.post("/api/config/apply", json={"files": {"b.yml": TEXT}}, headers=_as("admin"))
    assert (await client.get("/api/config/files", headers=_as("vo-admin"))).json()["files"] == []
    for body in ({"text": "{}"}, {"files": {"b.yml": "{}"}}, {"removed": ["b.yml"]}):
        answer = await client.post("/api/config/apply", json=body, headers=_as("vo-admin"))
        assert answer.status_code == 403
    rolling = await client.post("/api/config/rollback", json={"version": 0}, headers=_as("vo-admin"))
    assert rolling.status_code == 403


async def test_an_option_is_explained_over_the_wire(client: httpx.AsyncClient) -> None:
    await _apply(client, "pilot: {max_jobs: 2}\n", comment="two")
    found = (await client.get("/api/config/explain?key=pilot/max_jobs", headers=_as("admin"))).json()
    assert (found["value"], found["file"], found["line"]) == (2, "configuration.yml", 1)
    assert (found["since"]["comment"], found["overrides"]) == ("two", [{"origin": "default", "value": 1000}])
    blamed = (await client.get("/api/config/blame?key=pilot/max_jobs", headers=_as("admin"))).json()
    assert [(each["version"], each["value"]) for each in blamed] == [(1, 2)]
    then = "explain?key=pilot/max_jobs&at=2020-01-01T00:00:00"
    assert (await client.get(f"/api/config/{then}", headers=_as("admin"))).json()["value"] == 1000
    for query, status in (
        ("key=pilot/nothing", 404),
        ("key=%2F", 404),
        ("", 422),
        ("key=pilot&at=x", 422),
        ("key=pilot&at=0001-01-01T00:00:00%2B14:00", 400),
    ):
        answer = await client.get(f"/api/config/explain?{query}", headers=_as("admin"))
        assert answer.status_code == status, query


async def test_configurations_of_others_come_and_go(client: httpx.AsyncClient) -> None:
    cfg = "Registry\n{\n Groups { u { VO = bio\n Users = bob\n } }\n}\n"
    made = await client.post("/api/config/import", json={"text": cfg}, headers=_as("admin"))
    assert made.status_code == 200
    applied = await client.post(
        "/api/config/apply", json={"files": made.json()["files"]}, headers=_as("admin")
    )
    assert applied.status_code == 200
    assert "Users = bob" in (await client.get("/api/config/export", headers=_as("admin"))).json()["text"]
    seen = (await client.get("/api/config/export", headers=_as("astro"))).json()["text"]
    assert "bob" not in seen
    for body, status in (({"text": "}"}, 400), ({"text": "", "form": "x"}, 400), ({}, 422)):
        answer = await client.post("/api/config/import", json=body, headers=_as("admin"))
        assert answer.status_code == status
    refused = await client.post("/api/config/import", json={"text": cfg}, headers=_as("astro"))
    assert refused.status_code == 403
    assert (await client.get("/api/config/export?form=x", headers=_as("admin"))).status_code == 400


async def test_reads_cost_no_statement(
    client: httpx.AsyncClient, database: Database, clock: FakeClock
) -> None:
    await _apply(client)
    etag = (await client.get("/api/config/", headers=_as("astro"))).headers["etag"]
    faults = FailNth(database)
    with faults.failing(0):
        for caller in ("astro", "bio", "admin", "astro"):
            await client.get("/api/config/", headers=_as(caller))
        again = await client.get("/api/config/", headers=_as("astro", **{"If-None-Match": etag}))
    assert (again.status_code, faults.count) == (304, 0)
    clock.advance(1)
    with faults.failing(0):
        await client.get("/api/config/", headers=_as("astro"))
    assert 1 <= faults.count <= 3, "one look at the newest number, in a transaction"
