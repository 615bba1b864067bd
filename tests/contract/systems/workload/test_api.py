"""The routes: shapes, status codes, and who gets through."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from dirac.core.errors import UnauthenticatedError
from dirac.resources.storage.directory import DirectoryStore
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.api import UPLOAD_PATH, jobs, sandboxes, store_router
from dirac.systems.workload.logic.queries import Queries
from dirac.systems.workload.logic.sandboxes import Sandboxes
from dirac.systems.workload.logic.submission import Submission
from dirac.systems.workload.models import SandboxInfo
from dirac.transport.server import create_app

from .support import ECHO, Room, info, person, pilot, run

CALLERS = {
    "alice": person("alice"),
    "bob": person("bob"),
    "bio": person("alice", "bio"),
    "boss": person("boss", "astro", Property.JOB_ADMINISTRATOR),
    "root": person("root", "", Property.SERVICE_ADMINISTRATOR),
    "none": person("none", "astro", Property.OPERATOR),
    "pilot": pilot(),
    "run": run(1, 1),
}


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


async def _authenticate(token: str) -> Identity:
    if token not in CALLERS:
        raise UnauthenticatedError("no such token")
    return CALLERS[token]


@pytest.fixture
async def client(room: Room) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        (jobs.router, sandboxes.router, store_router),
        provided={
            Submission: room.submission,
            Sandboxes: room.sandboxes,
            Queries: room.queries,
            DirectoryStore: room.objects,
        },
        authenticate=_authenticate,
        lifespan=_lifespan,
        version="test",
        unlimited=frozenset({UPLOAD_PATH}),
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


def as_(caller: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {caller}", **more}


def announced(content: bytes) -> dict[str, object]:
    described: SandboxInfo = info(content)
    return {
        "checksum_algorithm": "sha256",
        "checksum": described.checksum,
        "size": described.size,
        "format": described.format,
    }


async def test_from_submission_to_the_log(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/jobs/jdl", json=[ECHO, ECHO], headers=as_("alice"))
    assert answer.status_code == 201
    first, _second = answer.json()
    assert first.keys() == {"JobID", "Status", "MinorStatus", "TimeStamp"}
    job = f"/api/jobs/{first['JobID']}"
    assert (await client.get(f"{job}/jdl", headers=as_("alice"))).json()["JobID"] == first["JobID"]
    log = (await client.get(f"{job}/logging", headers=as_("alice"))).json()
    assert [entry["Status"] for entry in log] == ["Waiting"]
    assert (await client.get(f"{job}/parameters", headers=as_("alice"))).json() == {}
    assert (await client.get(f"{job}/peek", headers=as_("alice"))).json()["text"] == ""
    for part in ("jdl", "logging", "parameters", "peek", "sandbox", "sandbox/input"):
        for caller in ("bob", "bio"):
            foreign = await client.get(f"{job}/{part}", headers=as_(caller))
            assert foreign.status_code == 404
            assert foreign.json()["error"] == "not_found"


async def test_the_same_key_gets_the_same_answer(client: httpx.AsyncClient) -> None:
    keyed = as_("alice", **{"Idempotency-Key": "k1"})
    first = await client.post("/api/jobs/jdl", json=[ECHO], headers=keyed)
    again = await client.post("/api/jobs/jdl", json=[ECHO], headers=keyed)
    assert (again.status_code, again.json()) == (201, first.json())
    other = await client.post("/api/jobs/jdl", json=[ECHO, ECHO], headers=keyed)
    assert other.status_code == 409


async def test_pages(client: httpx.AsyncClient) -> None:
    await client.post("/api/jobs/jdl", json=[ECHO] * 5, headers=as_("alice"))

    async def get(query: str, **body: object) -> httpx.Response:
        return await client.post(f"/api/jobs/search{query}", json=body, headers=as_("alice"))

    whole = await get("")
    assert (whole.status_code, len(whole.json())) == (200, 5)
    part = await get("?page=2&per_page=2", parameters=["JobID"])
    assert (part.status_code, part.headers["content-range"]) == (206, "jobs 2-3/5")
    last = await get("?page=3&per_page=2")
    assert (last.status_code, last.headers["content-range"]) == (206, "jobs 4-4/5")
    beyond = await get("?page=4&per_page=2")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "jobs */5")
    none = await get("", search=[{"parameter": "JobID", "operator": "eq", "value": "999999"}])
    assert (none.status_code, none.json()) == (200, [])
    bare = await client.post("/api/jobs/search", headers=as_("alice"))
    assert (bare.status_code, len(bare.json())) == (200, 5)
    null = await client.post("/api/jobs/search", headers=as_("alice"), content=b"null")
    assert null.status_code == 415
    summary = await client.post("/api/jobs/summary", json={"grouping": ["Status"]}, headers=as_("alice"))
    assert summary.json() == [{"Status": "Waiting", "count": 5}]


async def test_pages_by_cursor(client: httpx.AsyncClient) -> None:
    await client.post("/api/jobs/jdl", json=[ECHO] * 5, headers=as_("alice"))
    body = {"parameters": ["JobName"], "sort": [{"parameter": "Status", "direction": "desc"}]}
    sizes, cursor, codes = [], "", []
    while cursor is not None:
        answer = await client.post(
            "/api/jobs/search", params={"cursor": cursor, "per_page": 2}, json=body, headers=as_("alice")
        )
        sizes.append(len(answer.json()))
        codes.append(answer.status_code)
        assert "content-range" not in answer.headers
        cursor = answer.headers.get("next-cursor")
    assert (sizes, codes) == ([2, 2, 1], [206, 206, 200])
    counted = await client.post(
        "/api/jobs/search?cursor=&per_page=2&count=true", json=body, headers=as_("alice")
    )
    assert counted.headers["content-range"] == "jobs 0-1/5"
    uncounted = await client.post("/api/jobs/search?per_page=2&count=false", json=body, headers=as_("alice"))
    assert (uncounted.status_code, "content-range" in uncounted.headers) == (206, False)


async def test_everything_as_a_file(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dirac.systems.workload.logic.queries._BATCH", 2)
    name = 'Executable = "x"; JobName = "a, \\"b\\"";'
    await client.post("/api/jobs/jdl", json=[name] * 5, headers=as_("alice"))
    await client.post("/api/jobs/jdl", json=[name], headers=as_("bob"))
    body = {"parameters": ["JobID", "JobName", "EndExecTime", "VerifiedFlag"]}
    lines = await client.post("/api/jobs/export", json=body, headers=as_("alice"))
    assert lines.headers["content-type"] == "application/jsonl"
    rows = [json.loads(line) for line in lines.text.splitlines()]
    assert len({row["JobID"] for row in rows}) == len(rows) == 5
    table = await client.post("/api/jobs/export?format=csv", json=body, headers=as_("alice"))
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    read = list(csv.DictReader(io.StringIO(table.text)))
    assert [int(row["JobID"]) for row in read] == [row["JobID"] for row in rows]
    assert read[0] | {"JobName": 'a, "b"', "EndExecTime": "", "VerifiedFlag": "true"} == read[0]
    nothing = await client.post(
        "/api/jobs/export?format=csv",
        headers=as_("boss"),
        json={"search": [{"parameter": "JobID", "operator": "eq", "value": 1_000_000}]},
    )
    assert nothing.text.startswith("JobID,JobType,")
    assert nothing.text.count("\r\n") == 1
    logged = {
        "parameters": ["JobID", "LoggingInfo"],
        "search": [{"parameter": "JobName", "operator": "like", "value": "a%"}],
    }
    table = await client.post("/api/jobs/export?format=csv", json=logged, headers=as_("alice"))
    [first, *_] = csv.DictReader(io.StringIO(table.text))
    assert [each["Status"] for each in json.loads(first["LoggingInfo"])] == ["Waiting"]


BAD: list[tuple[str, str, object, int]] = [
    ("POST", "/api/jobs/jdl", [], 400),
    ("POST", "/api/jobs/jdl", ["Executable ="], 400),
    ("POST", "/api/jobs/jdl", ['Executable = "x"; Executable'], 400),
    ("POST", "/api/jobs/jdl", ['Executable = "\x00";'], 400),
    ("POST", "/api/jobs/jdl", ['Executable = "x"; Parameters = { };'], 400),
    ("POST", "/api/jobs/jdl", ['Executable = "' + "x" * 10_000_000 + '";'], 413),
    ("POST", "/api/jobs/jdl", ["x" * 17_000_000], 413),
    ("POST", "/api/jobs/jdl", {"jdl": ECHO}, 422),
    ("POST", "/api/jobs/jdl", [1], 422),
    ("POST", "/api/jobs/jdl", "text", 422),
    ("POST", "/api/jobs/search", {"serach": []}, 422),
    ("POST", "/api/jobs/search", {"search": [{"parameter": "JobID", "operator": "is", "value": 1}]}, 422),
    ("POST", "/api/jobs/search", {"search": [{"parameter": "JobID", "operator": "eq", "value": 2**64}]}, 422),
    ("POST", "/api/jobs/search", {"search": [{"parameter": "X", "operator": "eq", "value": 1}]}, 422),
    (
        "POST",
        "/api/jobs/search",
        {"search": [{"parameter": "JobID", "operator": "regex", "value": "1"}]},
        422,
    ),
    (
        "POST",
        "/api/jobs/search",
        {"search": [{"parameter": "UserPriority", "operator": "eq", "value": 2**40}]},
        422,
    ),
    ("POST", "/api/jobs/search", {"parameters": ["Nothing"]}, 422),
    ("POST", "/api/jobs/search", {"sort": [{"parameter": "Status", "direction": "up"}]}, 422),
    ("POST", "/api/jobs/search", {"search": [{"operator": "eq", "value": 1}]}, 422),
    ("POST", "/api/jobs/search", {"search": [{"or": []}]}, 422),
    ("POST", "/api/jobs/search", {"search": [{"or": [{"parameter": "X", "operator": "is null"}]}]}, 422),
    ("POST", "/api/jobs/search?cursor=x", {}, 422),
    ("POST", "/api/jobs/export", {"parameters": ["Nothing"]}, 422),
    ("POST", "/api/jobs/export?format=xml", {}, 422),
    ("POST", "/api/jobs/search?page=0", {}, 422),
    ("POST", "/api/jobs/search?per_page=10001", {}, 422),
    ("POST", "/api/jobs/search?page=99999999999999999999", {}, 422),
    ("POST", "/api/jobs/search?page=2147483647&per_page=10000", {}, 416),
    ("POST", "/api/jobs/summary", {}, 422),
    ("POST", "/api/jobs/summary", {"grouping": ["X"]}, 422),
    ("GET", "/api/jobs/0/jdl", None, 422),
    ("GET", "/api/jobs/x/jdl", None, 422),
    ("GET", f"/api/jobs/{2**63}/jdl", None, 422),
    ("GET", f"/api/jobs/{2**63 - 1}/jdl", None, 404),
    ("POST", "/api/jobs/sandbox", {"checksum": "0" * 63, "size": 1, "format": "tar.gz"}, 422),
    ("POST", "/api/jobs/sandbox", {"checksum": "0" * 64, "size": 0, "format": "tar.gz"}, 422),
    ("POST", "/api/jobs/sandbox", {"checksum": "0" * 64, "size": 1, "format": "zip"}, 422),
    ("POST", "/api/jobs/sandbox", {"checksum": "0" * 64, "size": 2**40, "format": "tar.gz"}, 413),
    ("GET", "/api/jobs/sandbox", None, 422),
    ("GET", "/api/jobs/sandbox?pfn=nonsense", None, 400),
    ("GET", "/api/jobs/1/sandbox/other", None, 422),
    ("PATCH", "/api/jobs/1/sandbox/output", "nonsense", 400),
    ("PATCH", "/api/jobs/1/sandbox/output", {"pfn": "x"}, 422),
    ("POST", "/api/jobs/sandbox/unassign", {"job_ids": []}, 422),
    ("POST", "/api/jobs/sandbox/unassign", {"job_ids": [2**63]}, 422),
    ("POST", "/api/jobs/sandbox/unassign", {"job_ids": [77]}, 404),
    ("DELETE", "/api/jobs/77/sandbox", None, 404),
    ("GET", "/api/sandbox-store/download", None, 400),
    ("GET", "/api/sandbox-store/download?key=a&expires=1&signature=x", None, 403),
    ("POST", "/api/sandbox-store/upload", {}, 415),
]


async def test_malformed_requests_get_the_right_code_and_change_nothing(client: httpx.AsyncClient) -> None:
    for method, path, body, status in BAD:
        answer = await client.request(method, path, json=body, headers=as_("alice"))
        assert answer.status_code == status, (method, path, str(body)[:200], answer.text)
        assert answer.json()["detail"]
    assert (await client.post("/api/jobs/search", json={}, headers=as_("root"))).json() == []


async def test_wrong_content_types_are_refused(client: httpx.AsyncClient) -> None:
    for path in ("/api/jobs/jdl", "/api/jobs/search", "/api/jobs/summary", "/api/jobs/sandbox"):
        headers = as_("alice", **{"Content-Type": "text/plain"})
        assert (await client.post(path, content=b"[]", headers=headers)).status_code == 415
        headers = as_("alice", **{"Content-Type": "application/json"})
        assert (await client.post(path, content=b"nope", headers=headers)).status_code == 400


REFUSED = [
    ("POST", "/api/jobs/jdl", ("boss", "root", "none", "pilot", "run")),
    ("POST", "/api/jobs/search", ("none", "pilot", "run")),
    ("POST", "/api/jobs/summary", ("none", "pilot", "run")),
    ("POST", "/api/jobs/export", ("none", "pilot", "run")),
    ("GET", "/api/jobs/1/logging", ("none", "pilot", "run")),
    ("GET", "/api/jobs/1/jdl", ("none", "pilot", "run")),
    ("GET", "/api/jobs/1/parameters", ("none", "pilot", "run")),
    ("GET", "/api/jobs/1/peek", ("none", "pilot", "run")),
    ("POST", "/api/jobs/sandbox", ("boss", "root", "none", "pilot")),
    ("GET", "/api/jobs/sandbox", ("none", "pilot")),
    ("GET", "/api/jobs/1/sandbox", ("none", "pilot")),
    ("GET", "/api/jobs/1/sandbox/input", ("none", "pilot")),
    ("PATCH", "/api/jobs/1/sandbox/output", ("root", "none")),
    ("DELETE", "/api/jobs/1/sandbox", ("root", "none", "pilot", "run")),
    ("POST", "/api/jobs/sandbox/unassign", ("root", "none", "pilot", "run")),
]


async def test_who_gets_through(client: httpx.AsyncClient) -> None:
    for method, path, refused in REFUSED:
        for headers in ({}, as_("forged"), {"Authorization": "Basic YTpi"}):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path)
        for caller in refused:
            answer = await client.request(method, path, headers=as_(caller))
            assert answer.status_code == 403, (method, path, caller, answer.text)
        for caller in CALLERS.keys() - set(refused):
            answer = await client.request(method, path, headers=as_(caller))
            assert answer.status_code not in (401, 403), (method, path, caller, answer.text)


async def test_a_sandbox_goes_up_and_down(client: httpx.AsyncClient) -> None:
    content = bytes(range(256)) * 20_000
    answer = (await client.post("/api/jobs/sandbox", json=announced(content), headers=as_("alice"))).json()
    sent = await client.post(answer["url"], data=answer["fields"], files={"file": ("x", content)})
    assert (sent.status_code, sent.content) == (204, b"")
    again = await client.post("/api/jobs/sandbox", json=announced(content), headers=as_("alice"))
    assert again.json() == {"pfn": answer["pfn"]}
    where = {"pfn": answer["pfn"]}
    address = (await client.get("/api/jobs/sandbox", params=where, headers=as_("alice"))).json()
    assert address["expires_in"] == 300
    got = await client.get(address["url"])
    assert (got.status_code, got.content) == (200, content)
    for caller in ("bob", "bio", "run"):
        answer = await client.get("/api/jobs/sandbox", params=where, headers=as_(caller))
        assert answer.status_code == 404
    parts = urlsplit(address["url"])
    forged = await client.get(f"{parts.path}?{parts.query}0")
    assert forged.status_code == 403


async def test_the_name_of_an_output_may_come_without_quotes(client: httpx.AsyncClient) -> None:
    (job,) = (await client.post("/api/jobs/jdl", json=[ECHO], headers=as_("alice"))).json()
    ticket = (await client.post("/api/jobs/sandbox", json=announced(b"x"), headers=as_("alice"))).json()
    await client.post(ticket["url"], data=ticket["fields"], files={"file": ("x", b"x")})
    headers = as_("alice", **{"Content-Type": "application/json"})
    path = f"/api/jobs/{job['JobID']}/sandbox"
    bare = ticket["pfn"].removeprefix("SB:SandboxSE|")
    for name in (ticket["pfn"], bare):
        await client.delete(path, headers=headers)
        sent = await client.patch(f"{path}/output", content=name, headers=headers)
        assert (sent.status_code, sent.json()) == (200, None)
        assert (await client.get(path, headers=headers)).json() == {"Input": [], "Output": [bare]}
    for wrong, status in ((b"/S3/\xff", 400), (b"nonsense", 400), (b"/S3/" + b"x" * 600, 422)):
        assert (await client.patch(f"{path}/output", content=wrong, headers=headers)).status_code == status


async def test_uploads_other_than_announced_are_refused(client: httpx.AsyncClient, room: Room) -> None:
    content = b"x" * 1000
    ticket = (await client.post("/api/jobs/sandbox", json=announced(content), headers=as_("alice"))).json()
    fields = ticket["fields"]
    for data, file, status in (
        (fields, b"y" * 1000, 400),
        (fields, b"x" * 999, 400),
        (fields, b"x" * 1_000_000, 413),
        (fields | {"size": "1000000"}, b"x" * 1_000_000, 403),
        (fields | {"key": "other/a/b"}, content, 403),
        ({}, content, 400),
        ({"a": "b" * 100_000}, content, 413),
        ({str(n): "" for n in range(100)}, content, 413),
    ):
        answer = await client.post(UPLOAD_PATH, data=data, files={"file": ("f", file)})
        assert answer.status_code == status, answer.text
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (
        b"",
        b"--b\r\n",
        b"nonsense",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--b--\r\n',
    ):
        answer = await client.post(UPLOAD_PATH, content=body, headers=multipart)
        assert answer.status_code == 400, answer.text
    key = ticket["pfn"].removeprefix("SB:SandboxSE|/S3/sandboxes/")
    assert await room.objects.exists([key]) == set()
    sent = await client.post(UPLOAD_PATH, data=fields, files={"file": ("f", content)})
    assert sent.status_code == 204
    assert await room.objects.exists([key]) == {key}


async def test_the_description_of_the_interface(client: httpx.AsyncClient) -> None:
    document = (await client.get("/api/openapi.json")).json()
    operations = {
        operation["operationId"] for path in document["paths"].values() for operation in path.values()
    }
    assert operations >= {
        "jobs_submit_jdl_jobs",
        "jobs_search",
        "jobs_summary",
        "jobs_initiate_sandbox_upload",
        "jobs_get_sandbox_file",
        "jobs_unassign_bulk_jobs_sandboxes",
        "jobs_get_job_sandboxes",
        "jobs_get_job_sandbox",
        "jobs_assign_sandbox_to_job",
        "jobs_unassign_job_sandboxes",
    }
