# SPDX-License-Identifier: GPL-3.0-or-later
"""A store host: others can add, and only the keeper takes away."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
import testinfra

STAGING = "/var/lib/dirac-backup/staging"
testinfra_hosts = ["ansible://state"]


@pytest.fixture(scope="module")
def store() -> Any:
    """The store host, which is the keeper."""
    return testinfra.get_host(f"ansible://store?ansible_inventory={os.environ['MOLECULE_INVENTORY_FILE']}")


def _ask(host: Any, *words: str, code: int = 0) -> Any:
    done = host.run("/usr/local/sbin/dirac-backup " + " ".join(words))
    assert done.rc == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def _name(age: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - age))


def _make(state: Any, store: Any, age: int, *, finish: bool = True) -> str:
    name = _name(age)
    _ask(state, "stage")
    state.check_output(f"mkdir {STAGING}/mariadb && echo {name} > {STAGING}/mariadb/dump.sql")
    given = json.dumps({"roles": [{"role": "mariadb", "number": 0}]})
    entries = _ask(state, "save", "--set", name, "--host", "state", "--input", f"'{given}'")
    if finish:
        given = json.dumps({"entries": entries})
        _ask(store, "finish", "--set", name, "--host", "store", "--input", f"'{given}'")
    _ask(state, "wipe")
    return name


def _sets(host: Any) -> list[str]:
    answer = _ask(host, "status")
    return sorted(answer["complete"] + answer["incomplete"])


def test_keeper_removes_surplus_and_broken_sets_as_a_whole(host: Any, store: Any) -> None:
    made = [_make(host, store, age) for age in (9000, 8000, 7000)]
    broken = _make(host, store, 6500, finish=False)
    being_made = _make(host, store, 60, finish=False)
    assert _sets(host) == [*made, broken, being_made]
    answer = _ask(store, "tidy")
    assert sorted(answer["removed"]) == [made[0], broken]
    assert _sets(host) == [made[1], made[2], being_made]
    assert _ask(host, "choose", "--set", made[1])["entries"][0]["host"] == "state"


def test_host_cannot_delete_what_it_has_saved(host: Any, store: Any) -> None:
    _make(host, store, 5000)
    before = _sets(host)
    said = _ask(host, "tidy", code=1)
    assert "403" in said or "only the keeper" in said, (
        "there is a surplus set, which only the keeper may remove"
    )
    assert _sets(store) == before
    _ask(store, "check")


def test_key_of_a_host_opens_no_shell(host: Any) -> None:
    words = json.loads(host.file("/etc/dirac-backup/settings.json").content_string)["options"]
    program = next(word for word in words if word.startswith("rclone.program=ssh ")).partition("=")[2]
    assert program.endswith(" rclone")
    done = host.run(f"{program.removesuffix('rclone')} id </dev/null")
    assert "uid=" not in done.stdout + done.stderr


def test_store_belongs_to_its_account(store: Any) -> None:
    strangers = store.check_output("find /srv/backup ! -user dirac-backup")
    assert strangers == ""
    assert store.file("/srv/backup").mode == 0o700


def test_keeper_only_has_the_timer(host: Any, store: Any) -> None:
    assert store.service("dirac-backup-tidy.timer").is_enabled
    assert not host.file("/etc/systemd/system/dirac-backup-tidy.timer").exists


def test_monitoring_is_told(host: Any, store: Any) -> None:
    name = _make(host, store, 1000)
    _ask(store, "tidy")
    text = store.file("/var/lib/dirac_backup.prom").content_string
    rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    stamp = int(time.mktime(time.strptime(name, "%Y%m%dT%H%M%SZ")) - time.timezone)
    assert rows['dirac_backup_last_complete_timestamp_seconds{site="alternative"}'] == str(stamp)
    assert rows['dirac_backup_complete_sets{site="alternative"}'] == "2"
    assert rows['dirac_backup_last_check_success{site="alternative"}'] == "1"
