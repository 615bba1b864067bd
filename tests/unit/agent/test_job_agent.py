from __future__ import annotations

from pathlib import Path

import pytest

from dirac.agent.job_agent import AgentSettings, JobAgent, Token, read_settings
from dirac.core.entropy import SystemEntropy
from dirac.core.errors import InvalidInputError
from dirac.systems.workload.models import PilotStatus
from tests.unit.agent.fakes import FakePilotServer, left_in, matched
from tests.unit.client.fakes import LeapingClock

JDL = 'Executable = "/bin/echo"; Arguments = "hello"; OutputSandbox = { "std.out" };'


def agent(
    directory: Path, server: FakePilotServer, clock: LeapingClock | None = None, **changes: object
) -> JobAgent:
    values: dict[str, object] = {
        "server": "http://dirac.test",
        "vo": "astro",
        "site": "DIRAC.X.org",
        "pilot_stamp": "a1",
        "workdir": str(directory),
        "token": Token("secret"),
        "tags": ["gpu"],
        "platform": "x86_64",
    }
    settings = AgentSettings(**(values | changes))  # type: ignore[arg-type]
    return JobAgent(settings, server=server, clock=clock or LeapingClock(), entropy=SystemEntropy())


async def test_jobs_are_run_until_there_are_no_more(tmp_path: Path) -> None:
    # The leaping clock would let a heartbeat follow the other: these jobs end before the second one.
    server = FakePilotServer(matched(JDL), matched(JDL, job_id=43, attempt=2, token="other"))
    clock = LeapingClock()
    assert await agent(tmp_path, server, clock).run() == 2
    assert server.statuses == [(PilotStatus.RUNNING, ""), (PilotStatus.DONE, "2 jobs run")]
    assert server.opened == [("job-token", 42, 60), ("other", 43, 60)]
    assert server.job_server.story.count("Done / Execution Complete") == 2
    assert server.job_server.closed
    assert len({request.request_id for request in server.requests}) == len(server.requests)
    assert server.requests[0].resource.tags == ["gpu"]
    assert server.requests[0].resource.platforms == ["x86_64"]
    assert [name for name in left_in(tmp_path) if "output" not in name] == []


async def test_without_work_it_asks_until_it_has_been_idle_for_long_enough(tmp_path: Path) -> None:
    server, clock = FakePilotServer(), LeapingClock()
    assert await agent(tmp_path, server, clock).run() == 0
    # Nobody held the requests, so it waited by itself.
    assert 60 <= clock.elapsed < 65
    assert set(clock.naps) == {1.0}
    assert max(request.wait for request in server.requests) <= 30
    assert server.requests[-1].wait == 0
    assert server.statuses[-1] == (PilotStatus.DONE, "0 jobs run")


async def test_no_more_jobs_are_run_than_allowed(tmp_path: Path) -> None:
    server = FakePilotServer(*(matched(JDL, job_id=number) for number in (1, 2, 3)))
    assert await agent(tmp_path, server, max_cycles=2).run() == 2
    assert len(server.requests) == 2


async def test_a_pilot_that_may_not_be_idle_ends_after_one_question(tmp_path: Path) -> None:
    server = FakePilotServer()
    assert await agent(tmp_path, server, idle_limit_seconds=0).run() == 0
    assert [request.wait for request in server.requests] == [0]


@pytest.mark.parametrize("jdl", ["", "Executable = ;", 'Arguments = "no executable";'])
async def test_a_description_that_cannot_be_read_fails_the_job_and_not_the_agent(
    tmp_path: Path, jdl: str
) -> None:
    server = FakePilotServer(matched(jdl), matched(JDL))
    assert await agent(tmp_path, server).run() == 2
    assert server.job_server.story[0] == "Failed / Illegal Job JDL"
    assert server.job_server.story[-1] == "Done / Execution Complete"
    assert server.job_server.updates[0].ApplicationStatus


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "agent.json"
    with pytest.raises(InvalidInputError, match=r"agent\.json"):
        read_settings(file)
    file.write_text('{"server": "http://x"}')
    with pytest.raises(InvalidInputError, match=r"agent\.json.*vo"):
        read_settings(file)
