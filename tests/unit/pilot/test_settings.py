from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pilot.dirac_pilot.errors import UsageError
from pilot.dirac_pilot.settings import OPTIONS, help_text, is_loopback, read_settings, url_problems

GOOD = ["-n", "S", "-N", "C", "--wnVO=v", "--pilotUUID=p", "-u", "https://dirac.example.org/"]


def read(
    tmp_path: Path, arguments: list[str], content: Any = None, **environ: str
) -> tuple[dict[str, Any], list[str]]:
    if content is not None:
        (tmp_path / "pilot.json").write_text(content if isinstance(content, str) else json.dumps(content))
    settings, warnings = read_settings(arguments, str(tmp_path), environ)
    return settings, warnings


def test_defaults(tmp_path: Path) -> None:
    settings, warnings = read(tmp_path, GOOD)
    assert not warnings
    assert settings["url"] == "https://dirac.example.org"
    assert settings["min_disk_mb"] == 2560
    assert settings["max_cycles"] == 10
    assert settings["release"] == "pro"
    assert settings["processors"] is None
    assert settings["allow_http"] is False


def test_the_command_line_wins_over_the_file_over_the_environment(tmp_path: Path) -> None:
    content = {"site": "F", "MaxCycles": 4, "vo": "file", "check_seconds": 0.5, "tags": "A, B,"}
    arguments = ["-n", "L", "-N", "C", "-u", "https://x.org"]
    settings, _ = read(tmp_path, arguments, content, DIRAC_PILOT_VO="env", DIRAC_PILOT_STAMP="env")
    assert settings["site"] == "L"
    assert settings["max_cycles"] == 4
    assert settings["vo"] == "file"
    assert settings["pilot_stamp"] == "env"
    assert settings["check_seconds"] == 0.5
    assert settings["tags"] == ["A", "B"]


def test_a_key_for_other_pilots_is_ignored_aloud(tmp_path: Path) -> None:
    _, warnings = read(tmp_path, GOOD, {"allow_htttp": True})
    assert len(warnings) == 1
    assert "'allow_htttp' means nothing" in warnings[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-P", "many"], "-P: 'many' is not a whole number"),
        (["-P", "0"], "at least 1 is needed"),
        (["-P", "-1"], "-P: '-1' is not a whole number"),
        (["stray"], "unexpected argument 'stray'"),
        (
            ["--wnVO=", "-n", ""],
            "set it with -n, --name or 'site' in pilot.json; vo is missing",
        ),
        (["-u", "http://dirac.example.org"], "the secret would travel in the clear"),
        (["-u", "dirac.example.org"], "must look like https://"),
        (["-r", "../x"], "cannot hold a path"),
        (["-l", ".x"], "cannot hold a path"),
        (["-F", "absent.json"], "absent.json"),
        (["--Queue"], "--Queue"),
    ],
)
def test_usage_errors_say_what_is_wrong(tmp_path: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, GOOD + arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ({"site": 1}, "site: 1 is not a text"),
        ({"max_cycles": True}, "True is not a whole number"),
        ({"max_cycles": 1.5}, "1.5 is not a whole number"),
        ({"grace_seconds": -1}, "-1 is not a number, 0 or more"),
        ({"tags": [1]}, "[1] is not a list of texts"),
        ({"allow_http": "yes"}, "'yes' is not true or false"),
        ({"site": "a", "name": "b"}, "sets site a second time"),
    ],
)
def test_faults_of_the_file_are_named_with_their_place(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, GOOD, content)
    assert words in str(caught.value)
    assert "pilot.json" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "allow_http", "fine"),
    [
        ("https://dirac.example.org:8443/base", False, True),
        ("http://localhost:8000", False, True),
        ("http://127.3.2.1", False, True),
        ("http://[::1]:80", False, True),
        ("http://127.0.0.1.example.org", False, False),
        ("http://example.org", True, True),
        ("ftp://example.org", True, False),
        ("https://me@example.org", False, False),
        ("https://example.org:port", False, False),
        ("https://example.org?x=1", False, False),
    ],
)
def test_urls(url: str, allow_http: bool, fine: bool) -> None:
    assert bool(url_problems(url, allow_http)) is not fine


def test_loopback_is_decided_without_a_name_server() -> None:
    assert is_loopback("127.0.0.1")
    assert not is_loopback("127.example.org")
    assert not is_loopback("128.0.0.1")


def test_help_names_every_option(tmp_path: Path) -> None:
    text = help_text()
    for option in OPTIONS:
        assert ("--" + option.long in text) if option.long else (option.key in text)
    assert read(tmp_path, ["-h"]) == ({"help": True}, [])
