# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that keeps its own repository: sets are made, found again, and damaged ones refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

STAGING = "/var/lib/dirac-backup/staging"


def _ask(host: Any, *words: str, code: int = 0) -> Any:
    done = host.run("/usr/local/sbin/dirac-backup " + " ".join(words))
    assert done.rc == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def _make(host: Any, name: str, content: str, *, finish: bool = True) -> list[dict[str, Any]]:
    """Save one file as the state of a role, as playbooks/backup.yml does."""
    _ask(host, "stage")
    host.check_output(f"mkdir {STAGING}/mariadb && printf %s '{content}' > {STAGING}/mariadb/dump.sql")
    given = json.dumps({"roles": [{"role": "mariadb", "number": 0}]})
    entries = _ask(host, "save", "--set", name, "--host", "state", "--input", f"'{given}'")
    if finish:
        _ask(
            host,
            "finish",
            "--set",
            name,
            "--host",
            "state",
            "--input",
            f"'{json.dumps({'entries': entries})}'",
        )
    _ask(host, "wipe")
    result: list[dict[str, Any]] = entries
    return result


def _fetch(host: Any, entries: Any, *, paths: list[str], confirmed: bool, code: int = 0) -> Any:
    given = json.dumps({"entries": entries, "data_paths": paths, "confirmed": confirmed})
    return _ask(host, "fetch", "--input", f"'{given}'", code=code)


@pytest.mark.parametrize("path", ["password", "settings.json"])
def test_secrets_are_for_root_only(host: Any, path: str) -> None:
    file = host.file(f"/etc/dirac-backup/{path}")
    assert (file.mode, file.user) == (0o600, "root")
    assert host.file("/etc/dirac-backup").mode == 0o700


def test_keeper_is_scheduled(host: Any) -> None:
    assert host.service("dirac-backup-tidy.timer").is_enabled
    assert "dirac-backup-tidy" in host.check_output("systemctl list-timers --all --no-legend")


def test_repository_is_encrypted(host: Any) -> None:
    _make(host, "20260101T000000Z", "a most telling content")
    assert host.run(f"grep -rq 'most telling' {STAGING} /var/lib/dirac-backup/repository").rc != 0


def test_latest_complete_set_is_chosen_and_comes_back(host: Any) -> None:
    _make(host, "20260102T000000Z", "the second of January")
    _make(host, "20260103T000000Z", "was broken off", finish=False)
    manifest = _ask(host, "choose")
    assert manifest["set"] == "20260102T000000Z"
    _fetch(host, manifest["entries"], paths=["/var/lib/nothing-here"], confirmed=False)
    assert host.file(f"{STAGING}/mariadb/dump.sql").content_string == "the second of January"
    assert host.file(STAGING).mode == 0o700
    _ask(host, "wipe")
    assert not host.file(STAGING).exists


def test_incomplete_set_is_refused_by_name(host: Any) -> None:
    _make(host, "20260104T000000Z", "was broken off", finish=False)
    assert "is not complete" in _ask(host, "choose", "--set", "20260104T000000Z", code=1)
    assert "is not there" in _ask(host, "choose", "--set", "20250104T000000Z", code=1)


def test_host_with_data_is_left_alone_unless_confirmed(host: Any) -> None:
    entries = _make(host, "20260105T000000Z", "data")
    said = _fetch(host, entries, paths=["/etc/hostname"], confirmed=False, code=1)
    assert "-e confirm=site" in said
    assert not host.file(STAGING).exists
    _fetch(host, entries, paths=["/etc/hostname"], confirmed=True)
    _ask(host, "wipe")


def test_state_that_is_not_what_the_manifest_says_is_refused(host: Any) -> None:
    entries = _make(host, "20260106T000000Z", "data")
    entries[0]["sha256"] = "0" * 64
    assert "is damaged" in _fetch(host, entries, paths=[], confirmed=False, code=1)
    assert not host.file(STAGING).exists


def test_set_that_names_what_was_not_saved_is_not_finished(host: Any) -> None:
    entries = _make(host, "20260107T000000Z", "data", finish=False)
    entries[0]["snapshot"] = "0" * 8
    given = json.dumps({"entries": entries})
    said = _ask(host, "finish", "--set", "20260107T000000Z", "--host", "x", "--input", f"'{given}'", code=1)
    assert "mariadb of state" in said


def test_old_set_is_reported(host: Any) -> None:
    assert "hours old" in _ask(host, "status", "--hours", "1", code=1)


def test_damaged_repository_is_noticed(host: Any) -> None:
    _make(host, "20260108T000000Z", "data")
    _ask(host, "check")
    pack = host.check_output("find /var/lib/dirac-backup/repository/data -type f | sort | head -1")
    host.check_output(f"cp -p {pack} /root/pack && chmod u+w {pack} && truncate -s -1 {pack}")
    try:
        assert "restic check" in _ask(host, "check", code=1)
    finally:
        host.check_output(f"cp -p /root/pack {pack} && rm /root/pack")
    _ask(host, "check")
