"""Commands against a server on a real socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dirac
from tests.integration.cli.conftest import Outcome
from tests.integration.cli.fake_server import NOW, FakeServer, State, job

Command = Callable[..., Outcome]


def test_status_by_number_and_range(command: Command) -> None:
    found = command("job", "status", "1-2", "4")
    assert found.code == 0
    assert [line.split()[:2] for line in found.out.splitlines()[1:]] == [
        ["1", "Waiting"],
        ["2", "Running"],
        ["4", "Failed"],
    ]
    assert [row["JobID"] for row in command("job", "status", "4", "1", "--json").json] == [4, 1]


def test_a_job_that_is_not_there(command: Command) -> None:
    found = command("job", "status", "1", "99", "--json")
    assert found.code == 3
    assert [row["JobID"] for row in found.json] == [1]
    assert found.err == "error: there is no job 99, or none that you may see\n"
    for words in (["log", "99"], ["explain", "99"], ["describe", "99"], ["kill", "99"], ["output", "99"]):
        assert command("job", *words).code == 3


def test_a_list_asks_for_what_was_typed(command: Command, state: State) -> None:
    found = command(
        "job", "list", "--status", "failed,done", "--name", "job-*", "-w", "Owner=alice", "--json"
    )
    assert [row["JobID"] for row in found.json] == [4, 3]
    assert state.searches[-1]["search"] == [
        {"parameter": "Status", "operator": "in", "values": ["Failed", "Done"]},
        {"parameter": "JobName", "operator": "like", "value": "job-%"},
        {"parameter": "Owner", "operator": "eq", "value": "alice"},
    ]
    assert command("job", "list", "--since", "1d", "--site", "X").out == "No jobs fit.\n"
    some = command("job", "list", "-n", "2", "-c", "JobID")
    assert some.out == "ID\n4\n3\n"
    assert some.err == "2 of 4 jobs; --limit shows more.\n"


def test_words_that_exclude_and_orders(command: Command, state: State) -> None:
    found = command("job", "list", "--status", "not done,!failed", "--sort", "JobID", "-c", "JobID")
    assert found.out == "ID\n1\n2\n"
    either = command("job", "list", "-w", "Status=Done or Status=Running", "--sort", "JobID:desc", "--json")
    assert [row["JobID"] for row in either.json] == [3, 2]
    wrong = command("job", "list", "-w", "Status=Done or (Status")
    assert (wrong.code, "--where" in wrong.err) == (2, True)
    assert command("job", "summary", "--sort", "Nothing").code == 2


def test_lists_as_files_have_all_rows(
    command: Command, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dirac.cli.job.lists._PART", 3)
    state.jobs |= {number: job(number, "Done") for number in range(5, 61)}
    table = command("job", "list", "--format", "csv", "-c", "JobID,Status", "--sort", "JobID")
    lines = table.out.splitlines()
    assert (lines[0], lines[1], len(lines)) == ("JobID,Status", "1,Waiting", 61)
    rows = command("job", "list", "--format", "jsonl", "-c", "JobID", "-n", "7", "--sort", "JobID:desc").out
    assert [json.loads(line)["JobID"] for line in rows.splitlines()] == [60, 59, 58, 57, 56, 55, 54]
    for words in (["--format", "xml"], ["--format", "csv", "--json"], ["--watch", "1"], ["-n", "20000"]):
        assert command("job", "list", *words).code == 2, words


def test_summaries(command: Command, state: State) -> None:
    state.jobs[5] = job(5, "Done")
    assert command("job", "summary").out.splitlines()[1].split() == ["Done", "2"]
    assert {"Site": "ANY", "count": 5} in command("job", "summary", "--by", "Site", "--json").json
    state.pilots = [{"PilotID": 1, "PilotStamp": "a", "Status": "Running", "GridSite": "X"}]
    assert command("pilot", "summary", "--json").json == [{"Status": "Running", "count": 1}]
    assert command("pilot", "list", "--status", "running").out.splitlines()[1].split() == [
        "a",
        "Running",
        "X",
    ]


def test_submission_with_files(command: Command, state: State, tmp_path: Path) -> None:
    place = tmp_path / "work"
    place.mkdir()
    (place / "run.sh").write_text("echo hello\n")
    (place / "a.jdl").write_text('Executable = "run.sh"; InputSandbox = "run.sh"; Parameters = 3;')
    found = command("job", "submit", "work/a.jdl")
    assert found.code == 0, found.err
    assert found.out == "3 jobs submitted: 5-7\n"
    assert "SB:SandboxSE|" in state.submitted[0]
    assert len(state.uploads) == 1
    again = command("job", "submit", "-", "--json", given='Executable = "/bin/date";')
    assert [row["JobID"] for row in again.json] == [8]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Executable = ;", "line 1"), ('Executable = "x"; InputSandbox = "gone";', "there is no file")],
)
def test_a_wrong_description_submits_nothing(
    command: Command, state: State, text: str, expected: str
) -> None:
    found = command("job", "submit", "-", given=text)
    assert found.code == 2
    assert found.out == ""
    assert expected in found.err
    assert state.submitted == []
    assert command("job", "submit", "nowhere.jdl").code == 2


@pytest.mark.parametrize(("end", "code"), [("Done", 0), ("Failed", 6)])
def test_following_jobs_to_their_end(command: Command, state: State, end: str, code: int) -> None:
    def advance(state: State) -> None:
        for row in state.jobs.values():
            if row["Status"] in ("Waiting", "Running"):
                row["Status"] = "Running" if row["Status"] == "Waiting" else end

    state.on_search = advance
    state.jobs = {1: job(1), 2: job(2)}
    watched = command("job", "watch", "1-2")
    assert watched.code == code
    assert f"2 {end}" in watched.out.splitlines()[-1]
    state.jobs = {1: job(1), 2: job(2)}
    waited = command("job", "wait", "1-2", "--json")
    assert waited.code == code
    assert {row["Status"] for row in waited.json.values()} == {end}
    assert command("job", "submit", "-", "--watch", given='Executable = "/bin/date";').code == code


def test_patience_has_an_end(command: Command) -> None:
    found = command("job", "wait", "1", "--timeout", "0")
    assert found.code == 7
    assert "have not ended" in found.err


def test_outputs(command: Command, state: State, tmp_path: Path) -> None:
    state.outputs[3] = {"std.out": b"hello\n", "deep/data": b"x"}
    found = command("job", "output", "3-4", "-d", "results")
    assert found.out == "results/3: deep/data, std.out\njob 4 has no output\n"
    assert (tmp_path / "results/3/std.out").read_bytes() == b"hello\n"
    assert sorted(command("job", "output", "3", "--json").json["3"]) == ["3/deep/data", "3/std.out"]


def test_all_about_one_job(command: Command, state: State) -> None:
    state.parameters[4] = {"HostName": "node-7", "StandardErrorTail": "one\ntwo"}
    state.pilots = [{"PilotID": 1, "JobID": 4, "PilotStamp": "abcd", "Status": "Done"}]
    shown = command("job", "describe", "4").out
    for part in ("Failed", "node-7", "    two", "abcd", "Executable", "Received"):
        assert part in shown
    assert set(command("job", "describe", "4", "--json").json) == {
        "job",
        "log",
        "parameters",
        "sandboxes",
        "pilots",
        "jdl",
    }
    assert command("job", "params", "4", "StandardErrorTail").out == "one\ntwo\n"
    assert command("job", "params", "4", "Gone").code == 3
    assert command("job", "peek", "2").out == "the last line\n"
    assert [entry["Status"] for entry in command("job", "log", "4", "--json").json][-1] == "Failed"
    explained = command("job", "explain", "1").out
    assert "none of the 1 queues" in explained
    assert "If you drop the tags Cray, GPU" in explained
    assert command("job", "explain", "1", "--json").json["fitting"] == 0


def test_pilots_and_sites_are_explained(command: Command) -> None:
    shown = command("pilot", "explain", "slurm://cluster/7").out
    assert "Pilot 5f0c at X/cluster/short is Running" in shown
    assert "8 processors, 4000 MB, 86400 CPU seconds, tags SSD (it said so" in shown
    assert ["MinRAM", "5", "4", "8000", "4000"] in [line.split() for line in shown.splitlines()]
    assert "NoPilot: 2 jobs fit, and no pilot is there." in shown
    shown = command("site", "explain", "X").out
    assert "1 of the waiting jobs may run nowhere else." in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["sim", "9", "0", "8", "2", "open"] in rows
    assert ["Running", "8"] in rows
    assert any(row[:1] == ["cluster/short"] and row[-5:] == ["2", "1", "4", "5", "full"] for row in rows)
    assert command("pilot", "explain", "5f0c", "--json").json["offer"]["processors"] == 8
    assert command("site", "explain", "X", "--vo", "bio", "--json").json["queues"][0]["fitting"] == 2


def test_what_a_candidate_would_change(command: Command) -> None:
    shown = command("job", "shadow").out
    assert "astro: of 8 decisions since" in shown
    assert "25.0 % would differ" in shown
    assert "no job instead of one" in shown
    assert ["users", "6", "5"] in [line.split() for line in shown.splitlines()]
    assert command("job", "shadow", "--json").json[0]["kinds"] == {"Same": 6, "NoJob": 2}


def test_changes_tell_what_was_refused(command: Command, state: State) -> None:
    assert command("job", "kill", "1-2").out == "2 jobs killed.\n"
    assert state.killed == [1, 2]
    mixed = command("job", "delete", "3", "77", "--json")
    assert mixed.code == 1
    assert list(mixed.json["success"]) == ["3"]
    assert "job 77: not found" in mixed.err
    assert command("job", "reschedule", "-", given="4\n").out == "Job 4 rescheduled.\n"


def test_configuration(command: Command, state: State, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text("a: 2\n")
    assert command("config", "apply", "site.yml").code == 2
    planned = command("config", "apply", "site.yml", "--dry-run")
    assert planned.out == "- sites/a: a: 1\n+ sites/a: a: 2\n1 change; nothing was applied.\n"
    assert len(state.versions) == 1
    applied = command("config", "apply", "site.yml", "--yes", "--json", "--comment", "more")
    assert applied.json["version"] == 2
    assert applied.json["changes"] == [{"path": "sites/a", "old": "a: 1", "new": "a: 2"}]
    assert command("config", "apply", "site.yml", "--yes").out == "No change: version 2 says the same.\n"
    assert command("config", "show").out == "a: 2\n"
    assert command("config", "show", "--version", "1", "--json").json["text"] == "a: 1\n"
    assert command("config", "show", "--version", "9").code == 3
    assert command("config", "diff").out.splitlines()[0] == "- sites/a: a: 1"
    assert len(command("config", "log", "--json").json) == 2
    assert command("config", "rollback", "1").code == 2
    assert command("config", "rollback", "1", "--yes").out.splitlines()[-1] == "This is version 3 now."
    assert "$defs" in json.loads(command("config", "schema").out)
    (tmp_path / "site.yml").write_text("wrong: 1\n")
    refused = command("config", "apply", "site.yml", "--yes")
    assert refused.code == 2
    assert "site.yml line 1: no such option 'wrong'" in refused.err


def test_tasks(command: Command, state: State) -> None:
    parked = {"id": "0198-a", "name": "workload.start_pilots", "state": "Parked", "tries": 8}
    state.tasks = [parked | {"created": NOW, "due": NOW, "error": "no such host"}]
    assert "no such host" in command("task", "list").out
    assert command("task", "list", "--state", "done").out == "No task is done.\n"
    assert command("task", "list", "--state", "gone").code == 2
    assert command("task", "retry", "0198-a", "--json").json == {"retried": ["0198-a"]}
    assert state.retried == ["0198-a"]


def test_login_plays_the_browser(
    command: Command, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIRAC_TOKEN_FILE")
    assert command("whoami").code == 4
    assert command("login", "astro", "--demo-user", "alice").code == 2
    passwords = tmp_path / "passwords.json"
    passwords.write_text(json.dumps({"astro": {"alice": "open sesame", "eve": "guess"}}))
    monkeypatch.setenv("DIRAC_DEMO_PASSWORDS", str(passwords))
    assert command("login", "astro", "--demo-user", "eve").code == 4
    assert command("login", "astro", "--demo-user", "nobody").code == 2
    found = command("login", "astro", "--group", "admin", "--demo-user", "alice")
    assert found.code == 0, found.err
    assert found.out == "Logged in: alice, VO astro, group admin.\n"
    assert "Code   CODE-astro-admin" in found.err
    assert command("whoami", "--json").json["preferred_username"] == "alice"
    assert "token until" in command("whoami").out
    assert command("logout").out == "Logged out of astro.\n"
    assert command("logout", "--json").json["logged_out"] is False
    assert command("whoami").code == 4


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(400, "invalid_input", 2), (403, "not_allowed", 4), (404, "not_found", 3), (409, "conflict", 1)],
)
def test_refusals_are_one_line(
    command: Command, state: State, status: int, code: str, exit_code: int
) -> None:
    state.refusal = (status, {"detail": "so it is", "error": code})
    found = command("job", "peek", "1")
    assert (found.code, found.out, found.err) == (exit_code, "", "error: so it is\n")


def test_errors_have_a_traceback_only_on_request(command: Command, state: State) -> None:
    state.refusal = (404, {"detail": "so it is", "error": "not_found"})
    with pytest.raises(Exception, match="so it is"):
        command("job", "peek", "1", "--debug")


def test_no_server_at_all(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIRAC_URL")
    found = command("job", "list")
    assert found.code == 2
    assert "DIRAC_URL" in found.err


@pytest.mark.parametrize(
    "words",
    [
        ["job", "status"],
        ["job", "status", "x"],
        ["job", "list", "-n", "0"],
        ["jobs"],
        ["job", "peek", "--all", "1"],
    ],
)
def test_wrong_usage(command: Command, words: list[str]) -> None:
    found = command(*words)
    assert found.code == 2
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert "Traceback" not in found.err


def program(
    *words: str, script: str = "from dirac.cli.main import main; main()", **more: str
) -> tuple[int, str, str]:
    """Run a new process, as a shell would."""
    same_code = {"PYTHONPATH": str(Path(dirac.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=os.environ | same_code | more,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_process_itself(server: FakeServer, command: Command) -> None:
    assert program("--version")[1].startswith("dirac ")
    assert program("job", "status", "3", "--json")[0] == 0
    code, out, err = program("job", "status", "99")
    assert (code, out) == (3, "")
    assert err.startswith("error: ")
    assert program("completion", "bash")[1].endswith("complete -o default -F _dirac_completion dirac\n")
    assert program()[0] == 2


def test_an_absent_server_is_told_by_the_exit_code(server: FakeServer, command: Command) -> None:
    # A refusal of the connection is tried again for half a minute; a name that cannot be is told at once.
    script = (
        "import dirac.client.sync.client as c\n"
        "c.Client.__init__.__kwdefaults__['deadline'] = 0.1\n"
        "from dirac.cli.main import main; main()"
    )
    code, _, err = program("job", "list", script=script, DIRAC_URL="http://127.0.0.1:9")
    assert code == 5
    assert "does not answer" in err


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (["--help"], ["rich", "httpx", "pydantic", "asyncio", "dirac.client", "msgspec"]),
        (["job", "--help"], ["rich", "httpx", "pydantic", "asyncio", "dirac.client", "msgspec"]),
        (["job", "status", "1"], ["rich", "pydantic", "asyncio", "sqlalchemy", "fastapi"]),
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported_without_need(
    command: Command, words: list[str], unwanted: list[str]
) -> None:
    script = (
        "import sys\nfrom dirac.cli.main import run\ncode = run(sys.argv[1:])\n"
        f"print([name for name in {unwanted} if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    code, _, err = program(*words, script=script)
    assert (code, err) == (0, "[]\n")


def test_completion_knows_the_words(command: Command) -> None:
    def complete(line: str) -> list[str]:
        words = line.split(" ")
        _, out, _ = program(
            script="from dirac.cli.main import main; main()",
            _DIRAC_COMPLETE="complete_bash",
            COMP_WORDS=line,
            COMP_CWORD=str(len(words) - 1),
        )
        return out.split()

    assert complete("dirac jo") == ["job"]
    assert sorted(complete("dirac job re")) == ["release", "reschedule", "reset"]
    assert "--status" in complete("dirac job list --st")


def test_descriptions_in_all_forms(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("executable: run.sh\nresources: {cpu_time: 3600}\nparameter: 2\n")
    jdl = command("job", "describe", "a.yaml", "--to", "jdl").out
    assert "CPUTime = 3600;" in jdl
    (tmp_path / "a.jdl").write_text(jdl)
    found = command("job", "describe", "a.jdl", "--json")
    assert found.json == {"executable": "run.sh", "resources": {"cpu_time": 3600}, "parameter": 2}
    assert len(command("job", "describe", "a.jdl", "--expand", "--to", "json").json["jobs"]) == 2
    assert command("job", "describe", "a.jdl").out == command("job", "describe", "-", given=jdl).out
    assert "Job" in command("job", "describe", "--schema").json["$defs"]
    wrong = command("job", "describe", "-", given="{executable: x, retry: {exit_codes: [300]}}")
    assert wrong.code == 2
    assert "retry.exit_codes" in wrong.err
    assert command("job", "describe").code == 2
    assert command("job", "describe", "a.yaml", "--inputs", "x").code == 2


def test_several_jobs_of_a_file_are_submitted_with_their_files(
    command: Command, state: State, tmp_path: Path
) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "all.yaml").write_text(
        "jobs:\n- {executable: run.sh, name: a, input: {sandbox: run.sh}}\n"
        "- {executable: y, depends_on: [a]}\n"
    )
    assert command("job", "submit", "all.yaml").out == "2 jobs submitted: 5-6\n"
    first, second = state.submitted
    assert "SB:SandboxSE|" in first
    assert 'DependsOn = {"a"};' in second
    missing = command(
        "job", "submit", "-", given="jobs: [{executable: x}, {executable: y, input: {sandbox: gone}}]"
    )
    assert missing.code == 2
    assert "jobs[1]" in missing.err


def test_a_rehearsal_submits_nothing(command: Command, state: State) -> None:
    found = command("job", "submit", "-", "--dry-run", given='Executable = "x";')
    assert found.code == 1
    for part in ("Nothing was submitted. 3 jobs", "LCG.A.ch", "Input Data Not Available", "lower CPUTime"):
        assert part in found.out
    assert command("job", "submit", "-", "--dry-run", "--json", given="executable: x").json["jobs"] == 3
    assert state.submitted == []
