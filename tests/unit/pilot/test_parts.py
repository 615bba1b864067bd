from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pilot.dirac_pilot.agent import memory_share
from pilot.dirac_pilot.compat import to_wire, write_private
from pilot.dirac_pilot.environment import check_directory, parse_environment
from pilot.dirac_pilot.errors import PilotError
from pilot.dirac_pilot.exchange import detail_of, seconds_of, token_of
from pilot.dirac_pilot.http import bypasses_proxy
from pilot.dirac_pilot.node import allocated_processors, cgroup_limits, memory_total_mb, parse_cpu_list
from pilot.dirac_pilot.process import exit_code_of, find_program
from pilot.dirac_pilot.report import Report
from pilot.dirac_pilot.secret import take_secret


def put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


class TestNode:
    @pytest.mark.parametrize(
        ("text", "numbers"), [("0-2,7\n", [0, 1, 2, 7]), ("3", [3]), ("", []), ("0-1,4-5", [0, 1, 4, 5])]
    )
    def test_lists_of_processors(self, text: str, numbers: list[int]) -> None:
        assert parse_cpu_list(text) == numbers

    def test_limits_of_version_2_count_on_every_level(self, tmp_path: Path) -> None:
        put(tmp_path / "a/b/cpu.max", "max 100000\n")
        put(tmp_path / "a/cpu.max", "150000 100000\n")
        put(tmp_path / "a/b/memory.max", "2000\n")
        put(tmp_path / "a/memory.max", "3000\n")
        assert cgroup_limits("0::/a/b\n", str(tmp_path)) == (1.5, 2000)

    def test_limits_of_version_1(self, tmp_path: Path) -> None:
        put(tmp_path / "cpu,cpuacct/job/cpu.cfs_quota_us", "400000\n")
        put(tmp_path / "cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
        put(tmp_path / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
        put(tmp_path / "memory/job/memory.limit_in_bytes", "5000000\n")
        put(tmp_path / "memory/memory.limit_in_bytes", "9223372036854771712\n")
        membership = "4:memory:/job\n2:cpu,cpuacct:/job\n1:name=systemd:/\n"
        assert cgroup_limits(membership, str(tmp_path)) == (4.0, 5000000)

    def test_no_limits(self, tmp_path: Path) -> None:
        assert cgroup_limits("", str(tmp_path)) == (None, None)
        assert cgroup_limits("garbage\n0::/x\n", str(tmp_path)) == (None, None)

    def test_memory_of_the_node(self) -> None:
        assert memory_total_mb("MemFree: 1 kB\nMemTotal:   2048000 kB\n") == 2000
        assert memory_total_mb("") is None

    def test_what_the_batch_system_granted(self, tmp_path: Path) -> None:
        assert allocated_processors({}) is None
        (tmp_path / "allocated_cpu").write_text("8\n")
        assert allocated_processors({"JOBFEATURES": str(tmp_path)}) == 8

    @pytest.mark.parametrize(
        ("total", "limit", "processors", "share"),
        [
            (64000, None, 1, 1000),
            (64000, None, 64, 64000),
            (64000, None, 100, 64000),
            (64000, 2000, 8, 2000),
            (64000, 99999, 2, 2000),
            (None, None, 1, 0),
        ],
    )
    def test_the_share_of_memory(
        self, total: int | None, limit: int | None, processors: int, share: int
    ) -> None:
        node = {"memory_total_mb": total, "memory_limit_mb": limit, "processors_online": 64}
        assert memory_share(node, processors) == share


class TestSecret:
    def test_is_taken_once(self, tmp_path: Path) -> None:
        path = tmp_path / "pilot.secret"
        path.write_text("abcdefgh1234\n")
        path.chmod(0o600)
        assert take_secret(str(tmp_path)) == "abcdefgh1234"
        assert not path.exists()
        with pytest.raises(PilotError, match="does not exist"):
            take_secret(str(tmp_path))

    @pytest.mark.parametrize(
        ("content", "mode", "words"),
        [
            (b"abcdefgh1234", 0o640, "mode 0600"),
            (b"", 0o600, "does not hold"),
            (b"short", 0o600, "does not hold"),
            (b"two words here", 0o600, "does not hold"),
            (b"x" * 5000, 0o600, "does not hold"),
            (b"gehe\xc3\xafmnisse", 0o600, "does not hold"),
        ],
    )
    def test_what_is_no_secret_is_removed_as_well(
        self, tmp_path: Path, content: bytes, mode: int, words: str
    ) -> None:
        path = tmp_path / "pilot.secret"
        path.write_bytes(content)
        path.chmod(mode)
        with pytest.raises(PilotError, match=words):
            take_secret(str(tmp_path))
        assert not path.exists()

    def test_links_and_pipes_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "other").write_text("abcdefgh1234")
        (tmp_path / "pilot.secret").symlink_to("other")
        with pytest.raises(PilotError, match="cannot read"):
            take_secret(str(tmp_path))
        (tmp_path / "pilot.secret").unlink()
        os.mkfifo(tmp_path / "pilot.secret", 0o600)
        with pytest.raises(PilotError, match="does not hold"):
            take_secret(str(tmp_path))


class TestReport:
    def test_secrets_are_blanked_in_every_spelling(self, tmp_path: Path) -> None:
        read_end, write_end = os.pipe()
        report = Report(str(tmp_path), write_end)
        secret = 'a"b\\c-secret'
        report.hide(secret, None)
        report.say(f"{secret} {secret!r} {json.dumps(secret)} caf\u00e9 \udcff")
        report.step("One", 0.1, {"echo": [secret]})
        report.step("Two", 0.1, reason=secret)
        report.end(1)
        os.close(write_end)
        with os.fdopen(read_end) as source:
            printed = source.read()
        stored = (tmp_path / "pilot-report.json").read_text()
        assert "secret" not in printed
        assert "secret" not in stored
        assert "caf\\xe9 \\udcff" in printed
        content = json.loads(stored)
        assert content["exit_code"] == 1
        assert content["steps"][0]["facts"] == {"echo": ["[hidden]"]}

    def test_neither_a_closed_output_nor_a_vanished_directory_stop_it(self, tmp_path: Path) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        report = Report(str(tmp_path / "gone"), write_end)
        report.step("One", 0.1, {})
        report.end(0)
        os.close(write_end)
        assert report.content["exit_code"] == 0


class TestEnvironment:
    def test_values_may_hold_anything_but_nul(self) -> None:
        output = b"A=1\0_=/usr/bin/env\0LINES=x\n y=z\n\0BASH_FUNC_f%%=() {  :\n}\0ODD=\xff\0EMPTY=\0"
        assert parse_environment(output) == {
            "A": "1",
            "LINES": "x\n y=z\n",
            "BASH_FUNC_f%%": "() {  :\n}",
            "ODD": "\udcff",
            "EMPTY": "",
        }

    @pytest.mark.parametrize(
        ("sums", "words"),
        [
            ("", "does not list diracosrc"),
            ("00  diracosrc\n", "does not match"),
            ("00  ../../pilot.json\n", "not 'hash  name'"),
            ("00  /etc/passwd\n", "not 'hash  name'"),
            ("00\n", "not 'hash  name'"),
        ],
    )
    def test_check_sums_that_are_wrong(self, tmp_path: Path, sums: str, words: str) -> None:
        (tmp_path / "diracosrc").write_text("x")
        (tmp_path / "sha256sums").write_text(sums)
        with pytest.raises(PilotError, match=words):
            check_directory(str(tmp_path))

    def test_check_sums_are_optional_but_the_file_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(PilotError, match="not in the directory"):
            check_directory(str(tmp_path))
        (tmp_path / "diracosrc").write_text("x")
        check_directory(str(tmp_path))


class TestExchange:
    def test_a_token_is_dated_from_the_moment_of_asking(self) -> None:
        token = token_of({"access_token": "a", "expires_in": 60, "token_type": "bearer"}, 1000000000.25)
        assert token == {"access_token": "a", "expires_at": "2001-09-09T01:47:40.250000Z"}

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            [],
            {},
            {"access_token": "a"},
            {"access_token": "", "expires_in": 1},
            {"access_token": "a", "expires_in": "1"},
            {"access_token": "a", "expires_in": 1, "token_type": "mac"},
        ],
    )
    def test_what_is_no_token(self, answer: object) -> None:
        with pytest.raises(PilotError, match="not with a bearer token"):
            token_of(answer, 0.0)

    def test_the_words_of_the_server(self) -> None:
        assert detail_of({"detail": "no"}) == "no"
        assert detail_of({"detail": [{"loc": ["body"]}]}) == '[{"loc": ["body"]}]'
        assert detail_of(None) == "(no detail)"
        assert len(detail_of("x" * 5000)) == 1000

    def test_retry_after(self) -> None:
        assert seconds_of("7") == 7.0
        assert seconds_of("Wed, 21 Oct 2026 07:28:00 GMT") == 0.0
        assert seconds_of(None) == 0.0

    @pytest.mark.parametrize(
        ("host", "exceptions", "past"),
        [
            ("a.example.org", "example.org", True),
            ("a.example.org", "x, .example.org", True),
            ("example.org", ".example.org", True),
            ("badexample.org", "example.org", False),
            ("a.org", "*", True),
            ("a.org", ",", False),
        ],
    )
    def test_exceptions_from_the_proxy(self, host: str, exceptions: str, past: bool) -> None:
        assert bypasses_proxy(host, exceptions) is past


def test_private_files_are_private_and_replace_others(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text("old")
    (tmp_path / "agent.json.part").write_text("left over")
    write_private(str(path), "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["agent.json"]


def test_small_things(tmp_path: Path) -> None:
    assert to_wire(0.5) == "1970-01-01T00:00:00.500000Z"
    assert exit_code_of(-9) == 137
    assert exit_code_of(3) == 3
    (tmp_path / "tool").write_text("")
    assert find_program("tool", str(tmp_path)) is None
    (tmp_path / "tool").chmod(0o755)
    assert find_program("tool", f"/nonexistent:{tmp_path}") == str(tmp_path / "tool")
