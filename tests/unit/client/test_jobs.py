from __future__ import annotations

import io
import json
import re
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dirac.client import AsyncClient
from dirac.core.errors import InvalidInputError, NotFoundError, TooLargeError, UnavailableError
from dirac.core.search import Condition, Sort
from dirac.formats.archive import pack_members
from dirac.formats.jdl import parse
from dirac.systems.workload.models import (
    HeartbeatData,
    JobStatus,
    JobStatusUpdate,
    MatchRequest,
    PilotMetadata,
    PilotRegistration,
    PilotStatus,
    Resource,
)
from tests.unit.client.fakes import SERVER, Fake, LeapingClock, Script, refused

NOW = "2026-11-20T12:00:00Z"


class Store:
    """The routes of sandboxes and submission, with a form parser that is not ours."""

    def __init__(self) -> None:
        self.archives: dict[str, bytes] = {}
        self.submitted: list[tuple[str | None, list[str]]] = []
        self.uploads: list[list[str]] = []
        self.refusals = 0
        self.outputs: dict[int, list[str]] = {}
        self.app = Starlette(
            routes=[
                Route("/api/jobs/sandbox", self.initiate, methods=["POST"]),
                Route("/api/jobs/sandbox", self.where, methods=["GET"]),
                Route("/api/jobs/{job_id:int}/sandbox/output", self.assigned),
                Route("/api/jobs/jdl", self.submit, methods=["POST"]),
                Route("/upload", self.upload, methods=["POST"]),
                Route("/download", self.download),
            ]
        )

    def client(self) -> AsyncClient:
        transport = httpx.ASGITransport(self.app)
        return AsyncClient(SERVER, token="token", transport=transport, clock=LeapingClock())

    async def initiate(self, request: Request) -> Response:
        info = await request.json()
        pfn = f"/S3/sandboxes/astro/users/ada/sha256:{info['checksum']}.{info['format']}"
        if pfn in self.archives:
            return JSONResponse({"pfn": pfn})
        fields = {"key": pfn, "x-signature": "good"}
        return JSONResponse({"pfn": pfn, "url": f"{SERVER}/upload", "fields": fields})

    async def upload(self, request: Request) -> Response:
        assert "authorization" not in request.headers
        if self.refusals:
            self.refusals -= 1
            return JSONResponse({"detail": "the signature has expired"}, 403)
        async with request.form() as form:
            self.uploads.append([name for name, _ in form.multi_items()])
            assert form["x-signature"] == "good"
            file: Any = form["file"]
            self.archives[str(form["key"])] = await file.read()
        return Response(status_code=204)

    async def where(self, request: Request) -> Response:
        pfn = request.query_params["pfn"]
        return JSONResponse({"url": f"{SERVER}/download?key={pfn}", "expires_in": 300})

    async def download(self, request: Request) -> Response:
        return Response(self.archives[request.query_params["key"]])

    async def assigned(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        if job_id not in self.outputs:
            return JSONResponse({"detail": f"there is no job {job_id}", "error": "not_found"}, 404)
        return JSONResponse(self.outputs[job_id])

    async def submit(self, request: Request) -> Response:
        texts = await request.json()
        self.submitted.append((request.headers.get("idempotency-key"), texts))
        job = {"Status": "Received", "MinorStatus": "Job accepted", "TimeStamp": NOW}
        return JSONResponse([{"JobID": number, **job} for number, _ in enumerate(texts, 1)], 201)


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {}
        for info in tar:
            content = tar.extractfile(info)
            assert content is not None
            found[info.name] = content.read()
        return found


async def test_submission_takes_the_local_files_along(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh")
    store, heard = Store(), list[tuple[int, int]]()
    text = 'Executable = "run.sh"; InputSandbox = { "run.sh", "LFN:/astro/x" };'
    plain = 'Executable = "/bin/true"; # stays as it is'
    async with store.client() as client:
        jobs = await client.jobs.submit(
            [text, plain, text], base_dir=tmp_path, progress=lambda *report: heard.append(report)
        )
    assert [job.JobID for job in jobs] == [1, 2, 3]
    [(pfn, archive)] = store.archives.items()
    assert members(archive) == {"run.sh": b"#!/bin/sh"}
    assert store.uploads == [["key", "x-signature", "file"]]
    [(key, texts)] = store.submitted
    assert key is not None
    assert re.fullmatch("[0-9a-f]{32}", key)
    assert texts[1] == plain
    assert parse(texts[0])["InputSandbox"] == ["LFN:/astro/x", f"SB:SandboxSE|{pfn}"]
    assert heard[-1] == (len(archive), len(archive))


async def test_what_the_server_has_is_not_sent_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    store = Store()
    async with store.client() as client:
        for _ in range(2):
            await client.jobs.submit('Executable = "x"; InputSandbox = "a";', base_dir=tmp_path)
    assert len(store.uploads) == 1
    assert len({key for key, _ in store.submitted}) == 2


async def test_nothing_is_sent_when_one_description_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    store = Store()
    good = 'Executable = "x"; InputSandbox = "a";'
    async with store.client() as client:
        with pytest.raises(InvalidInputError, match=r"jdl\[1\] line 1"):
            await client.jobs.submit([good, "Executable = ;"], base_dir=tmp_path)
        with pytest.raises(InvalidInputError, match=r"jdl\[1\] InputSandbox.*gone"):
            await client.jobs.submit([good, 'InputSandbox = "gone";'], base_dir=tmp_path)
    assert store.uploads == []
    assert store.submitted == []


async def test_an_upload_whose_signature_has_expired_gets_a_new_one(tmp_path: Path) -> None:
    pack_members({"f": Path(__file__)}, tmp_path / "x.tar.gz")
    store = Store()
    store.refusals = 1
    async with store.client() as client:
        reference = await client.sandboxes.upload(tmp_path / "x.tar.gz")
        assert reference.startswith("SB:SandboxSE|/S3/sandboxes/")
        await client.sandboxes.download(reference, tmp_path / "y.tar.gz")
    assert (tmp_path / "x.tar.gz").read_bytes() == (tmp_path / "y.tar.gz").read_bytes()


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "gone.tar.gz", "empty.tar.gz"])
async def test_what_is_no_archive_is_not_sent(tmp_path: Path, name: str) -> None:
    for present in ("x.zip", "x.tar"):
        (tmp_path / present).write_text("x")
    (tmp_path / "empty.tar.gz").touch()
    async with Store().client() as client:
        with pytest.raises(InvalidInputError, match=re.escape(name)):
            await client.sandboxes.upload(tmp_path / name)


async def test_outputs_are_unpacked_by_job(tmp_path: Path) -> None:
    store, heard = Store(), list[tuple[int, int]]()
    for number in (1, 2):
        (tmp_path / "std.out").write_text(f"job {number}")
        pack_members({"std.out": tmp_path / "std.out"}, tmp_path / "a.tar.gz")
        store.archives[f"pfn{number}"] = (tmp_path / "a.tar.gz").read_bytes()
        store.outputs[number] = [f"pfn{number}"]
    store.outputs[3] = []
    async with store.client() as client:
        files = await client.jobs.output(
            [1, 2, 3], tmp_path / "out", progress=lambda *report: heard.append(report)
        )
        assert files == {1: [tmp_path / "out/1/std.out"], 2: [tmp_path / "out/2/std.out"], 3: []}
        assert files[2][0].read_text() == "job 2"
        assert heard == [(1, 3), (2, 3), (3, 3)]
        with pytest.raises(NotFoundError):
            await client.jobs.output([9], tmp_path / "out")


class Table:
    """Jobs that can be searched as the server does it, and that change behind the reader's back."""

    def __init__(self, numbers: list[int]) -> None:
        self.rows = {number: {"JobID": number, "Status": "Done"} for number in numbers}
        self.requests = 0

    def search(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        wanted = json.loads(request.content)
        rows = list(self.rows.values())
        for condition in wanted.get("search", []):
            name, value = condition["parameter"], condition.get("value")
            if condition["operator"] == "gt":
                rows = [row for row in rows if row[name] > value]
            elif condition["operator"] == "in":
                rows = [row for row in rows if row[name] in condition["values"]]
            else:
                rows = [row for row in rows if row[name] == value]
        for order in reversed(wanted.get("sort", [])):
            rows.sort(key=lambda row: row[order["parameter"]], reverse=order["direction"] == "desc")
        size, cursor = int(request.url.params["per_page"]), request.url.params.get("cursor")
        if cursor is not None:
            return self._after(rows, cursor, size, wanted)
        first = (int(request.url.params["page"]) - 1) * size
        part = rows[first : first + size]
        if first and not part:
            return refused(416, Content_Range=f"jobs */{len(rows)}")
        if len(part) == len(rows):
            return httpx.Response(200, json=part)
        text = f"jobs {first}-{first + len(part) - 1}/{len(rows)}"
        return httpx.Response(206, json=part, headers={"Content-Range": text})

    def _after(self, rows: list[Any], cursor: str, size: int, wanted: dict[str, Any]) -> httpx.Response:
        """Answer as to a cursor, which here is the number of the last job; sorted by the number only."""
        down = any(order["direction"] == "desc" for order in wanted.get("sort", []))
        rows.sort(key=lambda row: row["JobID"], reverse=down)
        if cursor:
            rows = [
                row for row in rows if (row["JobID"] < int(cursor) if down else row["JobID"] > int(cursor))
            ]
        part, headers = rows[:size], {}
        if len(rows) > size:
            headers["Next-Cursor"] = str(part[-1]["JobID"])
        if wanted.get("parameters"):
            part = [{name: row[name] for name in wanted["parameters"] if name in row} for row in part]
        return httpx.Response(206 if headers else 200, json=part, headers=headers)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 60)), st.integers(1, 12), st.data())
async def test_each_job_comes_once_whatever_happens_meanwhile(
    numbers: set[int], size: int, data: st.DataObject
) -> None:
    table = Table(sorted(numbers))
    steady, seen = set(numbers), list[int]()
    async with Fake({"POST /api/jobs/search": table.search}).client() as client:
        async for row in client.jobs.iterate(page_size=size):
            seen.append(row["JobID"])
            change = data.draw(st.none() | st.integers(1, 60))
            if change in table.rows:
                del table.rows[change]
                steady.discard(change)
            elif change is not None:
                table.rows[change] = {"JobID": change, "Status": "Waiting"}
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert steady <= set(seen)


async def test_what_is_shown_and_the_order_are_the_callers() -> None:
    table = Table([1, 2, 3])
    async with Fake({"POST /api/jobs/search": table.search}).client() as client:
        rows = [row async for row in client.jobs.iterate(parameters=["Status"], page_size=2)]
        assert rows == [{"Status": "Done"}] * 3
        rows = [row async for row in client.jobs.iterate(sort=[Sort("JobID", "desc")], page_size=2)]
        assert [row["JobID"] for row in rows] == [3, 2, 1]
        assert [row async for row in client.jobs.iterate(search=[Condition("Status", "eq", "No")])] == []


async def test_a_page_says_where_it_is() -> None:
    table = Table([1, 2, 3])
    async with Fake({"POST /api/jobs/search": table.search}).client() as client:
        page = await client.jobs.search(page=2, per_page=2)
        assert (page.total, page.first, [row["JobID"] for row in page.rows]) == (3, 2, [3])
        page = await client.jobs.search(page=9, per_page=2)
        assert (page.total, page.rows) == (3, [])
        page = await client.jobs.search()
        assert (page.total, page.first, len(page.rows), page.cursor) == (3, 0, 3, None)
        page = await client.jobs.search(per_page=2, cursor="")
        assert (page.total, page.cursor, len(page.rows)) == (None, "2", 2)
        page = await client.jobs.search(per_page=2, cursor=page.cursor)
        assert (page.total, page.first, page.cursor, len(page.rows)) == (None, None, None, 1)


async def test_a_total_may_be_a_lower_bound() -> None:
    headers = {"Content-Range": "jobs 0-1/10000", "Total-Is": "lower-bound", "Next-Cursor": "x"}
    answer = httpx.Response(206, json=[{"JobID": 1}, {"JobID": 2}], headers=headers)
    async with Fake({"POST /api/jobs/search": lambda _request: answer}).client() as client:
        page = await client.jobs.search(per_page=2)
    assert (page.total, page.exact, page.cursor) == (10_000, False, "x")


async def test_waiting_ends_when_all_have_ended() -> None:
    table, clock = Table([1, 2, 3]), LeapingClock()
    for number in (2, 3):
        table.rows[number]["Status"] = "Running"

    def search(request: httpx.Request) -> httpx.Response:
        if clock.elapsed > 30:
            table.rows[3]["Status"] = "Failed"
        if clock.elapsed > 60:
            table.rows[2]["Status"] = "Killed"
        return table.search(request)

    heard, changes = list[tuple[int, int]](), list[int]()
    fake = Fake({"POST /api/jobs/search": search})
    async with fake.client(clock=clock) as client:
        rows = await client.jobs.wait(
            [1, 2, 3, 3],
            progress=lambda *report: heard.append(report),
            on_change=lambda rows: changes.append(len(rows)),
        )
    assert {number: row["Status"] for number, row in rows.items()} == {1: "Done", 2: "Killed", 3: "Failed"}
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert changes == [3, 3, 3]
    assert clock.naps[0] == 0.5
    assert max(clock.naps) <= 10
    assert clock.elapsed < 75
    last = json.loads(fake.requests[-1].content)["search"][0]
    assert last["values"] == [2]


async def test_waiting_has_an_end() -> None:
    table = Table([1])
    table.rows[1]["Status"] = "Waiting"
    async with Fake({"POST /api/jobs/search": table.search}).client() as client:
        with pytest.raises(UnavailableError, match="1 of 1 jobs have not ended after 60 s: 1"):
            await client.jobs.wait([1], timeout=60)
        with pytest.raises(NotFoundError, match="no job 7"):
            await client.jobs.wait([1, 7])
        assert await client.jobs.wait([]) == {}
        assert await client.jobs.status([1, 7]) == {1: {"JobID": 1, "Status": "Waiting"}}


OUTCOME = {"success": {"42": {"Status": "Killed"}}, "failed": {"43": {"detail": "there is no job 43"}}}
REASONS = {
    "job_id": 42,
    "status": "Waiting",
    "minor_status": "x",
    "text": "no queue",
    "queues": 2,
    "fitting": 0,
    "requirements": [],
}
PLACE = {
    "vo": "astro",
    "text": "all fit",
    "own_only": True,
    "waiting": 1,
    "fitting": 1,
    "at_least": False,
    "reasons": [],
}
PILOT = PLACE | {
    "pilot_stamp": "a",
    "pilot_reference": "x://y/a?b",
    "status": "Running",
    "status_reason": "",
    "site": "X",
    "ce": "ce",
    "queue": "q",
}
ENTRY = {
    "Status": "Received",
    "MinorStatus": "a",
    "ApplicationStatus": "b",
    "StatusTime": NOW,
    "Source": "c",
}
TASK = {
    "id": "t1",
    "name": "workload.start_pilots",
    "state": "Parked",
    "tries": 8,
    "created": NOW,
    "due": NOW,
    "error": "x",
}
VERSION = {"number": 1, "digest": "d", "time": NOW, "author": "astro:ada", "comment": ""}
APPLIED = {"version": 2, "changes": [{"path": "/a", "new": 1}]}


async def test_every_other_route_has_a_call() -> None:
    fake = Fake(
        {
            "POST /api/jobs/summary": [{"Status": "Done", "count": 2}],
            "PATCH /api/jobs/status": OUTCOME,
            "PATCH /api/jobs/heartbeat": [{"job_id": 42, "command": "Kill"}],
            "PATCH /api/jobs/metadata": httpx.Response(204),
            "POST /api/jobs/reschedule": OUTCOME,
            "POST /api/jobs/kill": OUTCOME,
            "POST /api/jobs/delete": OUTCOME,
            "GET /api/jobs/42/logging": [ENTRY],
            "GET /api/jobs/42/parameters": {"HostName": "n7"},
            "GET /api/jobs/42/peek": {"JobID": 42, "attempt": 1, "text": "hello", "time": None},
            "GET /api/jobs/42/explain": REASONS,
            "GET /api/jobs/shadow": [
                {
                    "vo": "astro",
                    "since": NOW,
                    "percent": 10,
                    "decisions": 4,
                    "differing": 1,
                    "kinds": {"Same": 3, "NoJob": 1},
                    "groups": [],
                }
            ],
            "POST /api/jobs/match": {"reasons": {"site": 3}},
            "GET /api/jobs/42/sandbox": {"Input": ["a"], "Output": []},
            "PATCH /api/jobs/42/sandbox/output": httpx.Response(200),
            "DELETE /api/jobs/42/sandbox": httpx.Response(200),
            "POST /api/jobs/sandbox/unassign": httpx.Response(204),
            "POST /api/pilots/": httpx.Response(201),
            "PATCH /api/pilots/metadata": httpx.Response(204),
            "POST /api/pilots/search": [{"PilotID": 1, "PilotStamp": "a"}],
            "GET /api/pilots/explain": PILOT,
            "GET /api/sites/X/explain": PLACE
            | {"site": "X", "only_here": 0, "jobs": {"Running": 3}, "queues": [], "limits": []},
            "POST /api/pilots/summary": [{"Status": "Running", "count": 1}],
            "GET /api/config/": {"Registry": {}},
            "GET /api/config/tree": {"version": 1, "text": "", "tree": {}},
            "GET /api/config/diff": [{"path": "/a"}],
            "GET /api/config/log": [VERSION],
            "GET /api/config/schema": {"type": "object"},
            "GET /api/config/files": {"version": 1, "files": [{"name": "a.yml", "digest": "d"}]},
            "GET /api/config/blame": [{"version": 1, "time": NOW, "author": "a", "comment": "c", "value": 2}],
            "GET /api/config/explain": {"key": "a/b", "value": 1, "origin": "default", "meaning": "m"},
            "GET /api/config/export": {"version": 1, "text": "A = 1"},
            "POST /api/config/import": {"files": {"a.yml": "{}"}, "report": ["nothing"]},
            "POST /api/config/apply": APPLIED,
            "POST /api/config/rollback": APPLIED,
            "GET /api/tasks": [TASK],
            "POST /api/tasks/t1/retry": httpx.Response(204),
            "GET /api/health/live": {"status": "live"},
        }
    )
    async with fake.client() as client:
        assert (await client.jobs.summary(["Status"]))[0]["count"] == 2
        moment = datetime(2026, 11, 20, 12, tzinfo=UTC)
        update = {42: {moment: JobStatusUpdate(Status=JobStatus.RUNNING)}}
        outcome = await client.jobs.set_status(update, force=True)
        assert outcome.failed[43]["detail"] == "there is no job 43"
        assert fake.requests[-1].url.params["force"] == "true"
        assert json.loads(fake.requests[-1].content) == {"42": {NOW: {"Status": "Running"}}}
        assert (await client.jobs.heartbeat({42: HeartbeatData(CPUConsumed=1.5)}))[0].command == "Kill"
        await client.jobs.set_metadata({42: {"HostName": "n7"}})
        assert (await client.jobs.reschedule([42], reset=True)).success[42].Status == "Killed"
        assert fake.requests[-1].url.params["reset_jobs"] == "true"
        assert (await client.jobs.kill([42])).success[42].Status == "Killed"
        assert json.loads(fake.requests[-1].content) == {"job_ids": [42]}
        await client.jobs.delete([42])
        assert (await client.jobs.logging(42))[0].Status == "Received"
        assert await client.jobs.parameters(42) == {"HostName": "n7"}
        assert (await client.jobs.peek(42)).text == "hello"
        assert (await client.jobs.explain(42)).text == "no queue"
        assert (await client.pilots.explain("x://y/a?b")).pilot_stamp == "a"
        assert fake.requests[-1].url.params["pilot"] == "x://y/a?b"
        assert (await client.sites.explain("X", vo="bio")).jobs == {"Running": 3}
        assert fake.requests[-1].url.params["vo"] == "bio"
        assert (await client.jobs.shadow())[0].differing == 1
        request = MatchRequest(resource=Resource(site="DIRAC.X.org"), request_id="r1", wait=20)
        assert (await client.jobs.match(request)).reasons == {"site": 3}
        assert await client.sandboxes.of_job(42) == {"input": ["a"], "output": []}
        await client.sandboxes.assign_output(42, "SB:SandboxSE|/S3/x")
        assert json.loads(fake.requests[-1].content) == "/S3/x"
        await client.sandboxes.unassign_job(42)
        await client.sandboxes.unassign([42])
        await client.pilots.register(PilotRegistration(pilot_stamp="a", vo="astro"))
        await client.pilots.update({"a": PilotMetadata(Status=PilotStatus.DONE)})
        assert json.loads(fake.requests[-1].content) == {"a": {"Status": "Done"}}
        assert (await client.pilots.search()).rows[0]["PilotStamp"] == "a"
        assert [row async for row in client.pilots.iterate()] == [{"PilotID": 1, "PilotStamp": "a"}]
        assert (await client.pilots.summary(["Status"]))[0]["count"] == 1
        assert await client.config.get() == {"Registry": {}}
        assert (await client.config.tree(version=1)).version == 1
        assert (await client.config.diff(old=1))[0].path == "/a"
        assert (await client.config.log())[0].author == "astro:ada"
        assert (await client.config.files(names=["a.yml", "b.yml"])).files[0].name == "a.yml"
        assert fake.requests[-1].url.params.get_list("name") == ["a.yml", "b.yml"]
        assert (await client.config.blame("a/b"))[0].value == 2
        assert (await client.config.explain("a/b", at=moment)).origin == "default"
        assert fake.requests[-1].url.params["at"] == moment.isoformat()
        assert (await client.config.export("cfg")).text == "A = 1"
        assert (await client.config.convert("A = 1")).report == ["nothing"]
        assert (await client.config.apply_files({"a.yml": "{}"}, ["b.yml"], base=1)).version == 2
        assert json.loads(fake.requests[-1].content)["removed"] == ["b.yml"]
        assert await client.config.schema() == {"type": "object"}
        assert (await client.config.apply("x: 1", file="site.yml")).version == 2
        assert (await client.config.rollback(1)).version == 2
        assert (await client.tasks.search())[0].error == "x"
        await client.tasks.retry("t1")
        assert await client.health("live") == {"status": "live"}
    assert set(fake.seen) == set(fake.routes)


async def test_a_pilots_request_is_repeated_with_its_identifier() -> None:
    fake = Fake({"POST /api/jobs/match": Script(httpx.ReadTimeout("late"), refused(502), {})})
    async with fake.client() as client:
        request = MatchRequest(resource=Resource(site="DIRAC.X.org"), request_id="r1")
        await client.jobs.match(request)
    assert {request.content for request in fake.requests} == {fake.requests[0].content}
    assert len(fake.requests) == 3


async def test_a_rescheduling_is_not_repeated_blindly() -> None:
    fake = Fake({"POST /api/jobs/reschedule": httpx.ReadTimeout("late")})
    async with fake.client() as client:
        with pytest.raises(UnavailableError):
            await client.jobs.reschedule([1])
    assert len(fake.requests) == 1


async def test_the_servers_reason_is_the_clients_error() -> None:
    body = {"detail": "larger than 5 bytes", "error": "too_large"}
    fake = Fake({"POST /api/jobs/jdl": httpx.Response(413, json=body)})
    async with fake.client() as client:
        with pytest.raises(TooLargeError, match="larger than 5 bytes"):
            await client.jobs.submit("Executable = x;")
