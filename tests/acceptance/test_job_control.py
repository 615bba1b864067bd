"""People's control over their jobs, through the command line, against a running server with real pilots."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import BIN, Installation, eventually

NOWHERE = 'Executable = "/bin/true"; Tags = {"Nowhere"};'


def submit(installation: Installation, directory: Path, jdl: str, name: str = "job.jdl") -> list[int]:
    """Submit a description as a person does; return its jobs."""
    (directory / name).write_text(jdl)
    said = installation.run("job", "submit", name, "--json", cwd=directory)
    return [job["JobID"] for job in json.loads(said)]


def status(installation: Installation, job_id: int) -> dict[str, Any]:
    return dict(json.loads(installation.run("job", "status", str(job_id), "--json"))[0])


def test_hold_and_release_and_the_verbs_by_filter(installation: Installation, tmp_path: Path) -> None:
    ids = submit(installation, tmp_path, NOWHERE + 'JobGroup = "many"; Parameters = 5;')
    here = f"{ids[0]}-{ids[-1]}"
    assert installation.run("job", "hold", here) == "5 jobs held.\n"
    assert status(installation, ids[0])["MinorStatus"] == "On hold"
    refused = installation.run("job", "release", str(10**9), code=3)
    assert refused == ""
    count = installation.run("job", "release", "--group", "many", "--preview")
    assert count == "5 jobs would be released.\n"
    installation.run("job", "release", "--group", "many", code=2)
    assert status(installation, ids[0])["Status"] == "Checking", "nobody was there to say yes"
    assert installation.run("job", "release", "--group", "many", "--yes") == "5 jobs released.\n"
    again = installation.run("job", "release", "--group", "many", "--yes")
    assert again == "No job that fits can be released.\n"
    found = json.loads(
        installation.run("job", "kill", "--group", "many", "--status", "waiting", "-y", "--json")
    )
    assert (found["done"], found["failed"]) == (5, {})
    assert installation.run("job", "hold", str(ids[0]), code=1) == ""
    assert installation.run("job", "delete", "--group", "many", "-y") == "5 jobs deleted.\n"


def test_which_jobs_has_to_be_said(installation: Installation) -> None:
    installation.run("job", "kill", code=2)
    installation.run("job", "kill", "1", "--status", "waiting", code=2)


def test_wait_says_how_it_ended_by_its_exit_code(installation: Installation, tmp_path: Path) -> None:
    (waits,) = submit(installation, tmp_path, NOWHERE)
    (good,) = submit(installation, tmp_path, 'Executable = "/bin/true";')
    (bad,) = submit(installation, tmp_path, 'Executable = "/bin/false";')
    installation.run("job", "wait", str(good), "--timeout", "60")
    installation.run("job", "wait", str(good), str(bad), "--timeout", "60", code=6)
    installation.run("job", "wait", str(waits), "--timeout", "0.1", code=7)
    assert installation.run("job", "reset", str(bad)) == f"Job {bad} reset.\n"
    installation.run("job", "kill", str(waits))


def test_a_killed_job_ends_on_its_node_and_says_so(installation: Installation, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    (job_id,) = submit(
        installation,
        tmp_path,
        f"""Executable = "/bin/sh"; Arguments = "-c 'echo $$ > {mark}; exec sleep 600'";""",
    )
    eventually(mark.exists, "the payload runs")
    assert installation.run("job", "kill", str(job_id)) == f"Job {job_id} killed.\n"
    eventually(
        lambda: status(installation, job_id)["MinorStatus"] == "Ended as ordered", "the kill is confirmed"
    )
    assert not Path(f"/proc/{mark.read_text().strip()}").exists()
    log = json.loads(installation.run("job", "log", str(job_id), "--json"))
    assert [(entry["Status"], entry["MinorStatus"]) for entry in log][-2:] == [
        ("Killed", "Marked for termination"),
        ("Killed", "Ended as ordered"),
    ]


def test_reading_along_with_a_job(installation: Installation, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"seq -f 'line %g' 50; while [ ! -e {go} ]; do sleep 0.1; done; echo the end"
    (tmp_path / "talk.sh").write_text(f"#!/bin/sh\n{script}\n")
    (job_id,) = submit(installation, tmp_path, 'Executable = "talk.sh"; InputSandbox = "talk.sh";')
    said: list[str] = []
    with subprocess.Popen(
        [BIN / "dirac", "job", "log", str(job_id), "-f"],
        env=installation.environment("alice"),
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        thread = threading.Thread(target=lambda: said.extend(reader.stdout or ()))
        thread.start()
        try:
            eventually(lambda: any("line 50" in line for line in said), "the output is read along")
            assert "line 50" in installation.run("job", "peek", str(job_id))
            go.touch()
            assert reader.wait(60) == 0
        finally:
            reader.kill()
            thread.join()
    text = "".join(said)
    assert [f"  | line {number}\n" in text for number in (31, 50)] == [True, True]
    assert "  | the end\n" in text
    assert "Waiting" in text
    assert "Done" in said[-1]
    usage = json.loads(installation.run("job", "params", str(job_id), "--usage", "--json"))
    assert usage[0]["data"]["WallClockTime"] >= 0
    assert "MEMORY" in installation.run("job", "params", str(job_id), "--usage")


def test_a_job_as_it_was(installation: Installation, tmp_path: Path) -> None:
    (job_id,) = submit(installation, tmp_path, 'Executable = "/bin/true";')
    installation.run("job", "wait", str(job_id))
    log = json.loads(installation.run("job", "log", str(job_id), "--json"))
    for entry in log:
        found = installation.run("job", "status", str(job_id), "--at", entry["StatusTime"], "--json")
        after = [each for each in log if each["StatusTime"] <= entry["StatusTime"]][-1]
        assert json.loads(found)[0]["Status"] == after["Status"]
    (before,) = json.loads(installation.run("job", "status", str(job_id), "--at", "1d", "--json"))
    assert before["Status"] == ""
    installation.run("job", "status", str(10**9), "--at", "1d", code=3)


def test_a_capsule_runs_again_here_with_and_without_dirac(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "sum.sh").write_text('#!/bin/sh\necho "sum $(($1 + $(cat number))) $NAME $JOBID" | tee out\n')
    (tmp_path / "number").write_text("40")
    (job_id,) = submit(
        installation,
        tmp_path,
        'Executable = "sum.sh"; Arguments = "2"; InputSandbox = {"sum.sh", "number"};'
        'ExecutionEnvironment = {"NAME=a b"}; OutputSandbox = {"std.out", "out"};',
    )
    installation.run("job", "wait", str(job_id), "--timeout", "60")
    expected = f"sum 42 a b {job_id}\n"
    assert installation.run("job", "input", str(job_id), "-d", "in", cwd=tmp_path).endswith(
        "number, sum.sh\n"
    )
    assert (tmp_path / f"in/{job_id}/number").read_text() == "40"
    said = installation.run("job", "capsule", str(job_id), cwd=tmp_path)
    assert said.startswith(f"job-{job_id}.tar.gz: ")
    ran = installation.run("job", "run-local", f"job-{job_id}.tar.gz", "-d", "again", cwd=tmp_path)
    assert ran == expected
    assert (tmp_path / "again/out").read_text() == expected
    (tmp_path / "open").mkdir()
    subprocess.run(["tar", "xzf", f"../job-{job_id}.tar.gz"], cwd=tmp_path / "open", check=True)
    bare = {"PATH": "/usr/bin:/bin"}
    subprocess.run(["./run.sh", tmp_path / "plain"], cwd=tmp_path / "open", check=True, env=bare)
    assert (tmp_path / "plain/out").read_text() == expected
    assert (tmp_path / "open/output/std.out").read_text() == expected
    assert json.loads((tmp_path / "open/log.json").read_text())[-1]["Status"] == "Done"
    assert f"Job {job_id}" in (tmp_path / "open/README.md").read_text()
    from_directory = installation.run("job", "run-local", "open", "--json", cwd=tmp_path)
    assert json.loads(from_directory)["good"] is True


def test_a_description_runs_here_without_a_server(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\necho job $1; echo oh >&2; exit $2\n")
    jdl = 'Executable = "run.sh"; InputSandbox = "run.sh"; Arguments = "%s %n"; Parameters = {"a", "b"};'
    (tmp_path / "two.jdl").write_text(jdl)
    assert installation.run("job", "run-local", "two.jdl", cwd=tmp_path) == "job a\n"
    assert installation.run("job", "run-local", "two.jdl", "--number", "1", cwd=tmp_path, code=6) == "job b\n"
    assert (tmp_path / "two.jdl.run/std.err").read_text() == "oh\n"
    installation.run("job", "run-local", "two.jdl", "--number", "2", cwd=tmp_path, code=2)
    (tmp_path / "far.jdl").write_text('Executable = "x"; InputSandbox = "LFN:/astro/x";')
    installation.run("job", "run-local", "far.jdl", cwd=tmp_path, code=2)
    installation.run("job", "run-local", "gone.jdl", cwd=tmp_path, code=2)


def test_top_is_shown_once_where_nobody_watches(installation: Installation, tmp_path: Path) -> None:
    (job_id,) = submit(installation, tmp_path, NOWHERE)
    said = installation.run("job", "top").splitlines()
    assert "Waiting" in said[0]
    assert any(line.startswith(f"{job_id} ") for line in said[2:])
    shown = json.loads(installation.run("job", "top", "--status", "waiting", "--json"))
    assert job_id in [row["JobID"] for row in shown["jobs"]]
    installation.run("job", "kill", str(job_id))
    live = [row["JobID"] for row in json.loads(installation.run("job", "top", "--json"))["jobs"]]
    assert job_id not in live


@pytest.mark.parametrize("verb", ["kill", "hold", "release", "reschedule", "reset", "delete"])
def test_a_wrong_filter_changes_nothing(installation: Installation, verb: str) -> None:
    installation.run("job", verb, "--where", "Sky=blue", "--yes", code=2)
    installation.run("job", verb, "--status", "flying", code=2)
