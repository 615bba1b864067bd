from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from dirac.agent.job_agent import AgentSettings, Token
from dirac.agent.ports import JobServer, PilotServer
from dirac.agent.server import HttpPilotServer
from dirac.core.errors import ConflictError, DiracError, NotFoundError, UnavailableError
from dirac.formats.archive import pack_members
from dirac.systems.workload.models import (
    HeartbeatData,
    JobStatus,
    JobStatusUpdate,
    MatchRequest,
    PilotStatus,
    Resource,
)
from tests.unit.client.fakes import SERVER, Fake, LeapingClock, Script, refused

RUNNING = JobStatusUpdate(Status=JobStatus.RUNNING)
PFN = "/S3/sandboxes/astro/users/ada/sha256:" + "0" * 64 + ".tar.gz"
GOOD = {"success": {"42": {}}, "failed": {}}


def pilot(fake: Fake, clock: LeapingClock | None = None, token: Token | None = None) -> HttpPilotServer:
    settings = AgentSettings(
        server=SERVER,
        vo="astro",
        site="DIRAC.X.org",
        pilot_stamp="a1",
        workdir="/nowhere",
        token=token or Token("pilot-token"),
    )
    transport = httpx.MockTransport(fake.handle)
    return HttpPilotServer(settings, clock=clock or LeapingClock(), transport=transport)


def job(fake: Fake, clock: LeapingClock | None = None) -> JobServer:
    return pilot(fake, clock).for_job("job-token", 42, 60)


def away(clock: LeapingClock, until: float, answer: Any) -> Any:
    """Make a route that is not there until some time of the clock."""

    def route(request: httpx.Request) -> Any:
        return httpx.ConnectError("refused") if clock.elapsed < until else answer

    return route


async def test_it_is_what_the_agent_asks_for() -> None:
    server: PilotServer = pilot(Fake({}))
    await pilot(Fake({})).close()
    assert server.for_job("t", 1, 60)


async def test_the_pilot_speaks_with_its_token_and_the_run_with_its_own() -> None:
    fake = Fake({"PATCH /api/pilots/metadata": httpx.Response(204), "PATCH /api/jobs/status": GOOD})
    server = pilot(fake)
    await server.set_pilot_status(PilotStatus.ABORTED, "told to stop" + "!" * 300)
    await server.for_job("job-token", 42, 60).report([(datetime(2026, 11, 20, tzinfo=UTC), RUNNING)])
    first, second = fake.requests
    assert first.headers["authorization"] == "Bearer pilot-token"
    sent = json.loads(first.content)
    assert sent["a1"]["Status"] == "Aborted"
    assert len(sent["a1"]["StatusReason"]) == 255
    assert second.headers["authorization"] == "Bearer job-token"
    assert json.loads(second.content) == {"42": {"2026-11-20T00:00:00Z": {"Status": "Running"}}}


async def test_reports_of_one_moment_keep_their_order() -> None:
    fake = Fake({"PATCH /api/jobs/status": GOOD})
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    updates = [JobStatusUpdate(MinorStatus=text) for text in "abcd"]
    moments = [moment, moment, moment - timedelta(seconds=5), moment + timedelta(seconds=5)]
    await job(fake).report(list(zip(moments, updates, strict=True)))
    sent: Mapping[str, Any] = json.loads(fake.requests[0].content)["42"]
    in_time = [sent[time] for time in sorted(sent, key=datetime.fromisoformat)]
    assert [update["MinorStatus"] for update in in_time] == list("abcd")


@pytest.mark.parametrize(
    ("detail", "kind"),
    [
        ("stale attempt: this is run 1 of job 42, which is at run 2", ConflictError),
        ("a job that is Killed cannot become Running; it may become Deleted", ConflictError),
        ("there is no job 42. See `dirac job list`", NotFoundError),
    ],
)
async def test_a_failure_of_the_one_job_is_an_error(detail: str, kind: type[DiracError]) -> None:
    fake = Fake({"PATCH /api/jobs/status": {"success": {}, "failed": {"42": {"detail": detail}}}})
    with pytest.raises(kind, match=detail[:20]):
        await job(fake).report([(datetime(2026, 11, 20, tzinfo=UTC), RUNNING)])


async def test_a_stale_attempt_is_a_conflict_in_every_call(tmp_path: Path) -> None:
    body = {"detail": "stale attempt", "error": "conflict"}
    stale = httpx.Response(409, json=body)
    fake = Fake(
        {
            "PATCH /api/jobs/status": stale,
            "PATCH /api/jobs/heartbeat": stale,
            "PATCH /api/jobs/metadata": stale,
            "GET /api/jobs/sandbox": stale,
            "POST /api/jobs/sandbox": Script({"pfn": PFN}, stale),
            "PATCH /api/jobs/42/sandbox/output": stale,
        }
    )
    server = job(fake)
    pack_members({"f": Path(__file__)}, tmp_path / "x.tar.gz")
    with pytest.raises(ConflictError):
        await server.report([(datetime(2026, 11, 20, tzinfo=UTC), RUNNING)])
    with pytest.raises(ConflictError):
        await server.heartbeat(HeartbeatData())
    with pytest.raises(ConflictError):
        await server.set_parameters({"a": "b"})
    with pytest.raises(ConflictError):
        await server.fetch_sandbox("SB:SandboxSE|/S3/x", tmp_path)
    for _ in range(2):
        with pytest.raises(ConflictError):
            await server.store_output(tmp_path / "x.tar.gz")
    await server.close()
    assert len(fake.requests) == 7


async def test_reports_and_outputs_outlive_ten_minutes_without_the_server(tmp_path: Path) -> None:
    clock = LeapingClock()
    fake = Fake(
        {
            "PATCH /api/jobs/status": away(clock, 550, GOOD),
            "POST /api/jobs/sandbox": away(clock, 1100, {"pfn": PFN}),
            "PATCH /api/jobs/42/sandbox/output": away(clock, 1650, None),
        }
    )
    server = job(fake, clock)
    pack_members({"f": Path(__file__)}, tmp_path / "x.tar.gz")
    await server.report([(clock.now(), RUNNING)])
    assert await server.store_output(tmp_path / "x.tar.gz") == f"SB:SandboxSE|{PFN}"
    assert 1650 <= clock.elapsed < 1670
    fake.routes["PATCH /api/jobs/status"] = away(clock, 1e9, GOOD)
    with pytest.raises(UnavailableError):
        await server.report([(clock.now(), RUNNING)])
    assert clock.elapsed < 1670 + 600


async def test_a_sign_of_life_is_not_worth_more_than_its_period() -> None:
    clock = LeapingClock()
    server = job(Fake({"PATCH /api/jobs/heartbeat": httpx.ConnectError("refused")}), clock)
    with pytest.raises(UnavailableError):
        await server.heartbeat(HeartbeatData(CPUConsumed=1))
    assert clock.elapsed <= 60


async def test_orders_for_other_jobs_are_not_obeyed() -> None:
    orders = [{"job_id": 42, "command": "Kill"}, {"job_id": 43, "command": "Kill"}]
    server = job(Fake({"PATCH /api/jobs/heartbeat": orders}))
    assert [order.job_id for order in await server.heartbeat(HeartbeatData())] == [42]


async def test_a_request_for_work_is_repeated_as_it_was() -> None:
    clock = LeapingClock()
    fake = Fake({"POST /api/jobs/match": Script(httpx.ReadError("gone"), refused(503), {"reasons": {}})})
    request = MatchRequest(resource=Resource(site="DIRAC.X.org"), request_id="r1", wait=20)
    answer = await pilot(fake, clock).match(request)
    assert answer.job is None
    assert {json.loads(sent.content)["request_id"] for sent in fake.requests} == {"r1"}
    assert len(fake.requests) == 3


async def test_an_input_sandbox_is_unpacked_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    pack_members({"sub/f": Path(__file__)}, tmp_path / "x.tar.gz")
    content = (tmp_path / "x.tar.gz").read_bytes()
    fake = Fake(
        {
            "GET /api/jobs/sandbox": {"url": f"{SERVER}/f?signature=x", "expires_in": 300},
            "GET /f": httpx.Response(200, content=content),
        }
    )
    pfn = PFN.replace("0" * 64, hashlib.sha256(content).hexdigest())
    await job(fake).fetch_sandbox(f"SB:SandboxSE|{pfn}", tmp_path / "run")
    assert fake.requests[0].url.params["pfn"] == pfn
    assert (tmp_path / "run/sub/f").read_bytes() == Path(__file__).read_bytes()
    found = sorted(path.name for path in tmp_path.rglob("*"))
    assert found == ["f", "run", "sub", "x.tar.gz"]


async def test_an_input_sandbox_that_is_not_what_its_name_says_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    pack_members({"f": Path(__file__)}, tmp_path / "x.tar.gz")
    fake = Fake(
        {
            "GET /api/jobs/sandbox": {"url": f"{SERVER}/f?signature=x", "expires_in": 300},
            "GET /f": httpx.Response(200, content=(tmp_path / "x.tar.gz").read_bytes()),
        }
    )
    with pytest.raises(UnavailableError, match="SHA-256"):
        await job(fake).fetch_sandbox(f"SB:SandboxSE|{PFN}", tmp_path / "run")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["run", "x.tar.gz"]


async def test_a_pilots_token_is_renewed_before_its_end_until_there_is_no_more() -> None:
    clock = LeapingClock()
    given = {"access_token": "new", "expires_in": 3600, "token_type": "Bearer"}

    def renew(request: httpx.Request) -> Any:
        over = request.headers["authorization"] == "Bearer new"
        return httpx.Response(403, json={"detail": "its time is over"}) if over else given

    fake = Fake({"POST /api/pilots/token/renew": renew, "PATCH /api/pilots/metadata": httpx.Response(204)})
    server = pilot(fake, clock, Token("old", expires_at=clock.now() + timedelta(seconds=100)))
    await server.keep_token()
    tokens = [request.headers["authorization"] for request in fake.requests]
    assert tokens == ["Bearer old", "Bearer new"]
    assert clock.elapsed == 50 + 1800, "at half of each token's life"
    await server.set_pilot_status(PilotStatus.RUNNING)
    assert fake.requests[-1].headers["authorization"] == "Bearer new"


async def test_a_token_without_an_end_is_not_renewed() -> None:
    fake = Fake({})
    await pilot(fake, LeapingClock(), Token("only")).keep_token()
    assert fake.seen == []
