from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from dirac.agent.payload import end_of
from dirac.agent.wrapper import JobWrapper, Place
from dirac.core.errors import ConflictError, DiracError, InvalidInputError, NotFoundError, UnavailableError
from dirac.core.time import SystemClock
from dirac.core.trust import TRUST_VARIABLES
from dirac.formats.description import JobDescription
from dirac.systems.workload.models import JobCommand, JobStatus, JobStatusUpdate
from tests.unit.agent.fakes import FakeJobServer, eventually, is_alive, left_in, matched, shell, words_of

INPUT = "SB:SandboxSE|/S3/in"
KILL = JobCommand(job_id=42, command="Kill")
CONFIRMED = "= / Ended as ordered"
SUCCESS = [
    "Running / Job Initialization",
    "= / Application",
    "Completing / Application Finished Successfully",
    "= / Uploading Output Sandbox",
    "= / Output Sandbox Uploaded",
    "Done / Execution Complete",
]


def wrapper(
    directory: Path, description: JobDescription, server: FakeJobServer, *, heartbeat_seconds: int = 60
) -> JobWrapper:
    return JobWrapper(
        matched(heartbeat_seconds=heartbeat_seconds),
        description,
        server=server,
        directory=directory / "job-42-1",
        place=Place("DIRAC.X.org", 4),
        clock=SystemClock(),
    )


def failing(**errors: DiracError) -> FakeJobServer:
    """Make a server whose calls of that name fail."""
    return FakeJobServer(errors.get)


async def test_a_job_that_succeeds(tmp_path: Path) -> None:
    server = FakeJobServer()
    description = shell('echo "hello $JOBID $DIRAC_JOB_ATTEMPT $DIRACSITE"', output_sandbox=("std.out",))
    assert await wrapper(tmp_path, description, server).run()
    assert server.story == SUCCESS
    assert server.output == {"std.out": b"hello 42 1 DIRAC.X.org\n"}
    assert {update.Source for update in server.updates} == {"JobWrapper"}
    assert left_in(tmp_path) == []


async def test_a_payload_that_fails_says_how(tmp_path: Path) -> None:
    server = FakeJobServer()
    description = shell("echo oh no >&2; exit 3", output_sandbox=("std.err",))
    assert not await wrapper(tmp_path, description, server).run()
    assert server.story[-1] == "Failed / Application Finished With Errors"
    assert server.updates[-1].ApplicationStatus == "Failed (exit code 3)"
    assert server.parameters == {"StandardErrorTail": "oh no"}
    assert server.output == {"std.err": b"oh no\n"}


async def test_a_payload_that_is_killed_has_the_shells_exit_code(tmp_path: Path) -> None:
    server = FakeJobServer()
    assert not await wrapper(tmp_path, shell("kill -9 $$"), server).run()
    assert server.updates[-1].ApplicationStatus == "Failed (exit code 137)"


@pytest.mark.parametrize("executable", ["/no/such/program", "nosuchprogram", "data.txt"])
async def test_a_program_that_cannot_be_started(tmp_path: Path, executable: str) -> None:
    server = FakeJobServer()
    server.sandboxes[INPUT] = {"data.txt": "\0 neither a script nor a binary"}
    description = JobDescription(executable=executable, input_sandbox=(INPUT,))
    assert not await wrapper(tmp_path, description, server).run()
    assert server.story[-1] == "Failed / Application not found"
    assert executable in str(server.updates[-1].ApplicationStatus)


async def test_arguments_that_no_shell_would_take(tmp_path: Path) -> None:
    server = FakeJobServer()
    description = JobDescription(executable="/bin/echo", arguments='an "open quote')
    assert not await wrapper(tmp_path, description, server).run()
    assert server.story[-1] == "Failed / Illegal Job JDL"


async def test_the_input_sandbox_is_there_and_can_be_run(tmp_path: Path) -> None:
    server = FakeJobServer()
    server.sandboxes[INPUT] = {"run.sh": "#!/bin/sh\ncat data.txt; echo $1 $NAME"}
    server.sandboxes["/S3/data"] = {"data.txt": "data "}  # as DIRAC's clients may name them
    description = JobDescription(
        executable="run.sh",
        arguments="'with blank'",
        environment={"NAME": "value"},
        input_sandbox=(INPUT, "/S3/data", "LFN:/astro/ignored"),
        output_sandbox=("std.out",),
    )
    assert await wrapper(tmp_path, description, server).run()
    assert server.output == {"std.out": b"data with blank value\n"}
    assert server.story[1] == "= / Downloading InputSandbox"


async def test_a_job_believes_whom_the_agent_believes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TRUST_VARIABLES:
        monkeypatch.setenv(name, f"/{name}")
    monkeypatch.setenv("SECRET", "s3cr3t")
    server = FakeJobServer()
    assert await wrapper(tmp_path, shell("env", output_sandbox=("std.out",)), server).run()
    assert server.output is not None
    lines = server.output["std.out"].decode().splitlines()
    assert {f"{name}=/{name}" for name in TRUST_VARIABLES} <= set(lines)
    assert not any("s3cr3t" in line for line in lines)


@pytest.mark.parametrize("error", [InvalidInputError("damaged"), NotFoundError("there is no sandbox")])
async def test_an_input_sandbox_that_cannot_be_had(tmp_path: Path, error: DiracError) -> None:
    server = failing(fetch=error)
    description = JobDescription(executable="/bin/true", input_sandbox=(INPUT,))
    assert not await wrapper(tmp_path, description, server).run()
    assert server.story[-1] == "Failed / Failed Downloading InputSandbox"
    assert server.updates[-1].ApplicationStatus == str(error)


async def test_outputs_are_what_the_patterns_find_inside(tmp_path: Path) -> None:
    server = FakeJobServer()
    script = "mkdir sub; echo 1 > a.dat; echo 2 > sub/b.dat; echo 3 > other; ln -s /etc/passwd c.dat"
    description = shell(script, output_sandbox=("*.dat", "sub/*.dat", "a.dat", "missing"))
    assert await wrapper(tmp_path, description, server).run()
    assert server.output == {"a.dat": b"1\n", "sub/b.dat": b"2\n"}


async def test_no_outputs_are_not_uploaded(tmp_path: Path) -> None:
    server = FakeJobServer()
    assert await wrapper(tmp_path, shell("true", output_sandbox=("missing",)), server).run()
    assert server.output is None
    assert server.story[-1] == "Done / Execution Complete"


async def test_outputs_that_cannot_be_stored_fail_the_job(tmp_path: Path) -> None:
    server = failing(store=UnavailableError("the store is away"))
    assert not await wrapper(tmp_path, shell("true", output_sandbox=("std.out",)), server).run()
    assert server.story[-1] == "Failed / Uploading Output Sandbox"
    assert left_in(tmp_path) == []


async def test_the_order_to_stop_reaches_the_whole_group(tmp_path: Path) -> None:
    server, pids = FakeJobServer(), tmp_path / "pids"
    script = f"sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait"
    run = asyncio.create_task(wrapper(tmp_path, shell(script), server, heartbeat_seconds=0).run())
    await eventually(lambda: len(words_of(pids)) == 2)
    server.orders = [KILL]
    async with asyncio.timeout(20):
        assert not await run
    await eventually(lambda: not any(map(is_alive, words_of(pids))))
    assert server.story == [*SUCCESS[:2], CONFIRMED]
    assert left_in(tmp_path) == ["pids"]


async def test_a_job_that_is_killed_while_its_inputs_come_is_not_started(tmp_path: Path) -> None:
    server, never = FakeJobServer(), asyncio.Event()

    async def fetch(_reference: str, _directory: Path) -> None:
        await never.wait()

    server.fetch_sandbox = fetch  # type: ignore[method-assign]
    server.orders = [KILL]
    description = JobDescription(executable="/bin/true", input_sandbox=(INPUT,))
    async with asyncio.timeout(20):
        assert not await wrapper(tmp_path, description, server, heartbeat_seconds=0).run()
    assert server.story == [SUCCESS[0], "= / Downloading InputSandbox", CONFIRMED]
    assert len(server.beats) == 1, "it gave a sign of life meanwhile"
    assert left_in(tmp_path) == []


async def test_a_run_whose_end_is_refused_says_that_it_has_ended(tmp_path: Path) -> None:
    """The order to stop was lost, and the payload came to its end."""
    server = FakeJobServer()
    report = server.report

    async def refusing(updates: list[tuple[datetime, JobStatusUpdate]]) -> None:
        if updates[0][1].Status == JobStatus.COMPLETING:
            raise ConflictError("a job that is Killed cannot become Completing")
        await report(updates)

    server.report = refusing  # type: ignore[method-assign]
    assert not await wrapper(tmp_path, shell("true"), server).run()
    assert server.story == [*SUCCESS[:2], CONFIRMED]


async def test_whoever_follows_a_run_gets_all_that_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dirac.agent.wrapper._FOLLOWED_PERIOD", 0.01)
    server, go = FakeJobServer(), tmp_path / "go"
    server.orders = [JobCommand(job_id=42, command="Follow", arguments="600")]
    lines = "".join(f"line {number}\n" for number in range(100))
    script = f"seq -f 'line %g' 0 99; while [ ! -e {go} ]; do sleep 0.02; done; echo the end"
    run = asyncio.create_task(wrapper(tmp_path, shell(script), server, heartbeat_seconds=600).run())
    await eventually(lambda: server.beats and server.beats[-1].StandardOutput == lines)
    assert server.beats[-1].StandardOutputOffset == 0
    go.touch()
    async with asyncio.timeout(20):
        assert await run
    assert server.beats[-1].StandardOutput == lines + "the end\n"


@pytest.mark.parametrize(
    ("content", "most", "lines", "expected"),
    [
        (b"one\ntwo\nthree\n", 100, 2, (4, "two\nthree\n")),
        (b"one\ntwo", 100, None, (0, "one\ntwo")),
        ("aä€".encode(), 4, None, (3, "€")),
        ("ä".encode(), 1, None, (2, "")),
        (b"\xff\x00ok", 100, None, (0, "??ok")),
        (b"", 100, None, (0, "")),
    ],
)
def test_the_end_of_a_file(
    tmp_path: Path, content: bytes, most: int, lines: int | None, expected: tuple[int, str]
) -> None:
    file = tmp_path / "out"
    file.write_bytes(content)
    offset, text = end_of(file, most, lines)
    assert (offset, text) == expected
    assert offset + len(text.encode()) == len(content)
    assert end_of(tmp_path / "none", most, lines) == (0, "")


async def test_a_payload_that_ignores_the_order_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dirac.agent.payload._KILL_GRACE", 0.1)
    server, pids = FakeJobServer(), tmp_path / "pids"
    script = f"trap '' TERM; echo $$ > {pids}; while :; do sleep 600; done"
    run = asyncio.create_task(wrapper(tmp_path, shell(script), server, heartbeat_seconds=0).run())
    await eventually(lambda: words_of(pids))
    server.orders = [KILL]
    async with asyncio.timeout(20):
        assert not await run
    await eventually(lambda: not any(map(is_alive, words_of(pids))))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("report", ConflictError("stale attempt")),
        ("report", NotFoundError("there is no job 42")),
        ("heartbeat", ConflictError("stale attempt")),
        ("heartbeat", NotFoundError("there is no job 42")),
        ("fetch", ConflictError("stale attempt")),
        ("store", ConflictError("stale attempt")),
        ("store", NotFoundError("there is no job 42")),
    ],
)
async def test_a_run_that_is_not_the_present_one_is_given_up(
    tmp_path: Path, call: str, error: DiracError
) -> None:
    server = failing(**{call: error})
    script = "sleep 600" if call == "heartbeat" else "true"
    inputs = (INPUT,) if call == "fetch" else ()
    description = shell(script, input_sandbox=inputs, output_sandbox=("std.out",))
    async with asyncio.timeout(20):
        assert not await wrapper(tmp_path, description, server).run()
    assert not any("Failed" in line or "Done" in line for line in server.story)
    assert left_in(tmp_path) == []


async def test_a_server_that_is_away_stops_no_payload(tmp_path: Path) -> None:
    server, go = failing(heartbeat=UnavailableError("away")), tmp_path / "go"
    script = f"while [ ! -e {go} ]; do sleep 0.02; done; echo done"
    description = shell(script, output_sandbox=("std.out",))
    run = asyncio.create_task(wrapper(tmp_path, description, server, heartbeat_seconds=0).run())
    await eventually(lambda: len(server.updates) == 2)
    for _ in range(100):
        await asyncio.sleep(0)
    go.touch()
    async with asyncio.timeout(20):
        assert await run
    assert server.output == {"std.out": b"done\n"}


async def test_signs_of_life_measure_the_payload(tmp_path: Path) -> None:
    server = FakeJobServer()
    script = "echo working; while :; do :; done"
    run = asyncio.create_task(wrapper(tmp_path, shell(script), server, heartbeat_seconds=0).run())
    await eventually(lambda: server.beats and (server.beats[-1].CPUConsumed or 0) > 0.02)
    beat = server.beats[-1]
    server.orders = [KILL]
    async with asyncio.timeout(20):
        await run
    assert (beat.StandardOutput, beat.StandardOutputOffset) == ("working\n", 0)
    assert (beat.MemoryUsed or 0) > 0
    assert (beat.WallClockTime or 0) > 0


async def test_a_run_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    server, pid = FakeJobServer(), tmp_path / "pid"
    run = asyncio.create_task(wrapper(tmp_path, shell(f"echo $$ > {pid}; exec sleep 600"), server).run())
    await eventually(lambda: words_of(pid))
    run.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await run
    assert not any(map(is_alive, words_of(pid)))
    assert left_in(tmp_path) == ["pid"]


async def test_the_payload_sees_no_secrets_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIRAC_TOKEN_FILE", "/secret")
    server = FakeJobServer()
    assert await wrapper(tmp_path, shell("env", output_sandbox=("std.out",)), server).run()
    assert server.output is not None
    text = server.output["std.out"].decode()
    assert "secret" not in text
    assert "job-token" not in text
    assert f"TMPDIR={tmp_path}" in text
