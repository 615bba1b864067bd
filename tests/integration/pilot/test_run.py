"""The whole way from a node to an agent, and each way it can end early."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from pilot.release import make_release

STEPS = ["CheckWorkerNode", "FindEnvironment", "ExchangeSecret", "CaptureEnvironment", "LaunchAgent"]


def assert_complete_run(pilot: Any, server: Any, tools: Any) -> None:
    seen, report = pilot.seen, pilot.report
    assert not (pilot.workdir / "pilot.secret").exists()
    assert "pilot.secret" not in seen["files"]
    assert seen["argv"][1:] == [str(pilot.workdir / "agent.json")]
    assert seen["settings_mode"] == 0o600
    assert tools.secret not in json.dumps(seen)
    assert tools.access not in seen["environ"] + seen["parent_environ"] + seen["parent_cmdline"]
    settings = seen["settings"]
    assert settings["token"].pop("expires_at").endswith("Z")
    assert settings.pop("max_ram_mb") > 0
    assert settings.pop("platform").startswith(os.uname().sysname + "_" + os.uname().machine)
    assert settings == {
        "server": server.url,
        "vo": "astro",
        "site": "LCG.Here.org",
        "ce": "ce.here.org",
        "queue": "long",
        "pilot_stamp": "stamp1",
        "processors": 1,
        "tags": [],
        "max_cycles": 10,
        "idle_limit_seconds": 300,
        "workdir": str(pilot.workdir),
        "token": {"access_token": tools.access, "refresh_token": tools.refresh},
    }
    assert [(step["step"], step["ok"]) for step in report["steps"]] == [(name, True) for name in STEPS]
    assert all(step["seconds"] >= 0 for step in report["steps"])
    assert report["pilot_stamp"] == "stamp1"
    assert report["version"] == "1.2.3"
    printed = [json.loads(line.split(" step ", 1)[1]) for line in pilot.out.splitlines() if " step " in line]
    assert printed == report["steps"]
    assert len(server.requests) == 1
    assert server.requests[0]["path"] == "/api/pilots/token"
    assert server.requests[0]["body"] == {
        "pilot_stamp": "stamp1",
        "pilot_secret": tools.secret,
        "vo": "astro",
    }


def test_python_2_7_and_some_python_3_are_here(tools: Any) -> None:
    found = tools.interpreters()
    assert (2, 7) in found, f"found only {sorted(found)}. {tools.how_to_mend}"
    assert any(major == 3 for major, _ in found), f"found only {sorted(found)}. {tools.how_to_mend}"


def test_the_agent_runs_on_every_other_python(other_pilot: Any, server: Any, tools: Any) -> None:
    assert other_pilot.run() == 0, other_pilot.out + other_pilot.err
    assert_complete_run(other_pilot, server, tools)


def test_the_agent_runs_and_its_exit_code_is_the_pilots(pilot: Any, server: Any, tools: Any) -> None:
    assert pilot.run(mode="exit 42") == 42, pilot.out + pilot.err
    assert_complete_run(pilot, server, tools)
    assert pilot.report["exit_code"] == 42
    assert "agent on stdout" in pilot.out
    assert pilot.err == "agent on stderr\n"
    seen = pilot.seen
    assert seen["group"] == seen["parent_group"]
    node = pilot.report["steps"][0]["facts"]
    assert node["processors_usable"] == len(os.sched_getaffinity(0)) or node["processors_usable"] >= 1
    assert node["disk_free_mb"] > 0


def test_an_agent_ended_by_a_signal(pilot: Any) -> None:
    assert pilot.run(mode="die 9") == 137
    assert pilot.last["facts"]["exit_code"] == 137


def test_options_win_over_the_file_and_reach_the_agent(pilot: Any) -> None:
    pilot.settings |= {"processors": 3, "tags": ["GPU"], "max_cycles": 5, "max_ram_mb": 1234, "name": "Other"}
    assert pilot.run("-P", "2", "-M3", "-T", "86400", "-t", "A,B", "-t", "C", "--idleLimit=9", "-d") == 0
    settings = pilot.seen["settings"]
    assert settings["processors"] == 2
    assert settings["tags"] == ["A", "B", "C"]
    assert settings["max_cycles"] == 3
    assert settings["max_ram_mb"] == 1234
    assert settings["cpu_time_left"] == 86400
    assert settings["idle_limit_seconds"] == 9
    assert settings["site"] == "LCG.Here.org"


def test_an_unknown_option_is_named_and_nothing_is_touched(pilot: Any, server: Any) -> None:
    assert pilot.run("--wnV0=astro") == 2
    assert "wnV0" in pilot.err
    assert pilot.out == ""
    assert (pilot.workdir / "pilot.secret").exists()
    assert not server.requests


def test_help_lists_the_options(pilot: Any) -> None:
    assert pilot.run("-h") == 0
    assert "--CVMFS_locations=LIST" in pilot.out
    assert "allow_http" in pilot.out


def test_modules_lying_about_in_the_working_directory_are_not_loaded(pilot: Any) -> None:
    for name in ("json", "ssl", "dirac_pilot"):
        (pilot.workdir / f"{name}.py").write_text("raise RuntimeError('loaded from the working directory')\n")
    assert pilot.run() == 0, pilot.err


def test_too_little_disk(pilot: Any, server: Any) -> None:
    assert pilot.run("-D", "999999999999") == 10
    assert "999999999999 are needed" in pilot.last["reason"]
    assert not server.requests
    assert not (pilot.workdir / "pilot.secret").exists()


def test_no_secret(pilot: Any, server: Any) -> None:
    pilot.secret = None
    assert pilot.run() == 12
    assert "pilot.secret does not exist" in pilot.last["reason"]
    assert not server.requests


class TestEnvironment:
    def home(self, root: Path, release: str = "pro") -> Path:
        return root / "dirac" / release / f"{os.uname().sysname}-{os.uname().machine}"

    def test_missing_everywhere_names_all_paths(
        self, pilot: Any, server: Any, release: Path, tmp_path: Path
    ) -> None:
        assert pilot.run(f"--CVMFS_locations={tmp_path},{release}", "-r", "9.9") == 11
        for root in (tmp_path, release):
            assert str(self.home(root, "9.9") / "diracosrc") in pilot.last["reason"]
        assert "No such file or directory" in pilot.last["reason"]
        assert not server.requests

    def test_a_given_release_of_a_project(self, pilot: Any, release: Path, tmp_path: Path) -> None:
        target = tmp_path / "cvmfs" / "labdirac" / "7"
        target.parent.mkdir(parents=True)
        shutil.copytree(release / "dirac" / "1.2.3", target)
        assert pilot.run(f"--CVMFS_locations={tmp_path / 'cvmfs'}", "-r", "7", "-l", "Lab") == 0

    def test_a_location_that_hangs_is_passed_over(self, pilot: Any, release: Path, tmp_path: Path) -> None:
        home = self.home(tmp_path / "dead")
        home.mkdir(parents=True)
        (home / "diracosrc").write_text("")
        os.mkfifo(home / "sha256sums")  # whoever opens it sleeps, as on a dead mount
        pilot.settings["lookup_seconds"] = 0.5
        assert pilot.run(f"--CVMFS_locations={tmp_path / 'dead'},{release}") == 0
        passed_over = pilot.report["steps"][1]["facts"]["passed_over"]
        assert len(passed_over) == 1
        assert "did not end within 0.5 s" in passed_over[0]

    def test_wrong_check_sums(self, pilot: Any, server: Any, release: Path, tmp_path: Path) -> None:
        home = self.home(tmp_path / "copy")
        shutil.copytree(release / "dirac" / "1.2.3", home.parent)
        (home / "diracosrc").write_text("export EVIL=1\n")
        assert pilot.run(f"--CVMFS_locations={tmp_path / 'copy'}") == 11
        assert "diracosrc does not match sha256sums" in pilot.last["reason"]
        assert not server.requests

    def source(self, root: Path, release: Path, text: str) -> str:
        home = self.home(root)
        home.mkdir(parents=True)
        original = self.home(release) / "diracosrc"
        (home / "diracosrc").write_text(f"source {original}\n{text}\n")
        return f"--CVMFS_locations={root}"

    def test_all_that_bash_exports_reaches_the_agent(self, pilot: Any, release: Path, tmp_path: Path) -> None:
        text = "export LINES_OF='a\n b=c\n'\nf() { echo hi; }\nexport -f f\n"
        text += "export ODD=$'\\xff\\x01'\necho chatter"
        pilot.environ = {"PYTHONPATH": "/somewhere/else"}
        assert pilot.run(self.source(tmp_path / "x", release, text)) == 0
        entries = pilot.seen["environ"].split("\0")
        assert "LINES_OF=a\n b=c\n" in entries
        assert "ODD=\xff\x01" in entries
        assert "BASH_FUNC_f%%=() {  echo hi\n}" in entries
        assert "PYTHONPATH_SAVE=/somewhere/else" in entries
        assert not [entry for entry in entries if entry.startswith("PYTHONPATH=")]
        assert "chatter" in pilot.err

    def test_children_do_not_ignore_broken_pipes_as_python_does(
        self, pilot: Any, release: Path, tmp_path: Path
    ) -> None:
        text = 'while read -r name value; do [ "$name" != SigIgn: ] || export IGNORED=$value; done'
        text += " < /proc/self/status"
        assert pilot.run(self.source(tmp_path / "x", release, text)) == 0
        (mask,) = [entry[8:] for entry in pilot.seen["environ"].split("\0") if entry.startswith("IGNORED=")]
        assert int(mask, 16) & (1 << (signal.SIGPIPE - 1)) == 0

    def test_sourcing_fails(self, pilot: Any, release: Path, tmp_path: Path) -> None:
        assert pilot.run(self.source(tmp_path / "x", release, "return 5")) == 13
        assert "failed with exit code 5" in pilot.last["reason"]

    def test_sourcing_hangs(self, pilot: Any, release: Path, tmp_path: Path) -> None:
        pilot.settings["capture_seconds"] = 0.2
        assert pilot.run(self.source(tmp_path / "x", release, "sleep 60")) == 13
        assert "did not end within 0.2 s" in pilot.last["reason"]

    def test_a_signal_ends_the_sourcing_with_all_its_processes(
        self, pilot: Any, release: Path, tmp_path: Path, tools: Any
    ) -> None:
        note = tmp_path / "pids"
        pilot.start(self.source(tmp_path / "x", release, f"sleep 60 & echo $$ $! > {note}; wait"))
        tools.wait_until(lambda: note.exists() and len(note.read_text().split()) == 2, "the sourcing")
        pilot.process.send_signal(signal.SIGTERM)
        assert pilot.wait() == 143
        assert pilot.last["step"] == "CaptureEnvironment"
        for pid in note.read_text().split():
            tools.wait_until(lambda pid=pid: not tools.alive(int(pid)), f"the end of process {pid}")

    def test_no_agent_in_the_environment(self, pilot: Any, release: Path, tmp_path: Path) -> None:
        assert pilot.run(self.source(tmp_path / "x", release, "PATH=/usr/bin:/bin")) == 14
        assert "dirac-agent is not in the PATH of the environment: /usr/bin:/bin" in pilot.last["reason"]

    def test_a_release_can_be_moved_with_its_environment(
        self, pilot: Any, release: Path, tmp_path: Path
    ) -> None:
        inner = self.home(tmp_path / "one", "5") / "bin"
        inner.mkdir(parents=True)
        shutil.copy(release.parent / "env" / "bin" / "dirac-agent", inner)
        make_release(tmp_path / "one", "5", inner)
        (tmp_path / "one").rename(tmp_path / "two")
        assert pilot.run(f"--CVMFS_locations={tmp_path / 'two'}") == 0
        assert pilot.last["facts"]["program"] == str(self.home(tmp_path / "two") / "bin" / "dirac-agent")
