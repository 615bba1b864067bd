# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor, and what the module runit_service does with it, on a real host."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

PATIENCE = 20.0
# Writes its variables, then a line now and then; says so when it is asked to end.
PROBE = """\
trap 'echo ended well; exit 0' TERM
echo "variable $VARIABLE user $(id -un) groups $(id -Gn) files $(ulimit -n)"
while :; do sleep 0.2; done
"""
STUBBORN = """\
trap '' TERM
while :; do sleep 0.2; done
"""


class Service:
    """A service under the supervisor of a host."""

    def __init__(self, host: Any, name: str, **options: Any) -> None:
        self.host, self.name, self.options = host, name, options

    def apply(self, **others: Any) -> dict[str, Any]:
        """Run the module."""
        answer = self.ask(check=False, **others)
        assert "restarted" in answer, answer
        return answer

    def ask(self, *, check: bool, **others: Any) -> dict[str, Any]:
        """Run the module, whatever comes of it."""
        words = json.dumps({"name": self.name, **self.options, **others})
        answer: dict[str, Any] = self.host.ansible("runit_service", words, check=check)
        return answer

    @property
    def pid(self) -> int:
        """The process."""
        return int(self.host.file(f"/etc/service/{self.name}/supervise/pid").content_string or 0)

    @property
    def log(self) -> str:
        """What it has printed."""
        return str(self.host.file(f"/var/log/dirac/{self.name}/current").content_string)


@pytest.fixture(scope="module")
def made(host: Any) -> Iterator[Service]:
    service = Service(
        host, "probe", run=PROBE, user="www-data", environment={"VARIABLE": "a b"}, limits={"nofile": 2048}
    )
    yield service
    service.apply(state="absent")
    assert not host.file("/etc/sv/probe").exists
    assert not host.file("/var/log/dirac/probe").exists


@pytest.fixture
def probe(made: Service) -> Service:
    """The service as it was told at first."""
    made.apply()
    return made


def _until(true: Any) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.2)
    return bool(true())


def test_supervisor_runs_and_starts_at_boot(host: Any) -> None:
    unit = host.service("runit")
    assert unit.is_running
    assert unit.is_enabled


def test_service_runs_as_it_was_told(probe: Service) -> None:
    assert "variable a b user www-data groups www-data files 2048" in probe.log


def test_service_that_crashes_is_started_again(probe: Service) -> None:
    before = probe.pid
    probe.host.check_output(f"kill -KILL {before}")
    assert _until(lambda: probe.pid not in (0, before))


def test_second_run_leaves_the_process_alone(probe: Service) -> None:
    before = probe.pid
    answer = probe.apply()
    assert not answer["changed"]
    assert probe.pid == before


def test_another_variable_restarts_the_service_once(probe: Service) -> None:
    before = probe.pid
    answer = probe.apply(environment={"VARIABLE": "c"})
    assert answer["restarted"] == ["probe"]
    assert probe.pid != before
    assert "variable c " in probe.log
    assert not probe.apply(environment={"VARIABLE": "c"})["changed"]


def test_file_it_depends_on_restarts_the_service(probe: Service) -> None:
    probe.host.check_output("echo one > /tmp/depends")
    probe.apply(restart_on=["/tmp/depends"])
    assert not probe.apply(restart_on=["/tmp/depends"])["changed"]
    probe.host.check_output("echo two > /tmp/depends")
    assert probe.apply(restart_on=["/tmp/depends"])["restarted"] == ["probe"]


def test_check_mode_changes_nothing(probe: Service) -> None:
    before = probe.pid
    answer = probe.ask(check=True, run="exec sleep 1000")
    assert answer["restarted"] == ["probe"]
    assert probe.pid == before
    assert "ended well" in probe.host.file("/etc/sv/probe/program").content_string


def test_stopped_service_has_ended_by_itself_and_stays_down(probe: Service) -> None:
    answer = probe.apply(state="stopped")
    assert answer["killed"] == []
    assert probe.log.endswith("ended well\n")
    assert probe.pid == 0
    assert not probe.apply(state="stopped")["changed"]
    assert probe.apply(state="started")["started"] == ["probe"]


def test_service_that_does_not_end_is_killed_after_its_deadline(host: Any) -> None:
    service = Service(host, "stubborn", run=STUBBORN, stop_timeout=2)
    service.apply()
    assert service.apply(state="stopped")["killed"] == ["stubborn"]
    service.apply(state="absent")


def test_service_that_does_not_stay_up_is_a_failure_that_shows_its_log(host: Any) -> None:
    service = Service(host, "crash", run="echo no such database; exit 3", start_timeout=7)
    answer = service.ask(check=False)
    assert "no such database" in answer["msg"]
    service.apply(state="absent")


def test_logs_are_rotated_and_belong_to_a_user_of_their_own(host: Any) -> None:
    line = "x" * 99
    text = f"i=0; while [ $i -lt 2000 ]; do echo {line}; i=$((i+1)); done; exec sleep 1000"
    service = Service(host, "talker", run=text, log_size=8192, log_keep=3)
    service.apply()
    count = "ls /var/log/dirac/talker | grep -c ^@"
    assert _until(lambda: host.run(count).stdout.strip() == "3")
    current = host.file("/var/log/dirac/talker/current")
    assert current.user == "_runit-log"
    assert current.size <= 8192
    assert host.file("/var/log/dirac/talker").mode == 0o2750
    service.apply(state="absent")


def test_instances_are_restarted_one_after_the_other_and_removed_when_there_are_fewer(host: Any) -> None:
    text = "echo here is $INSTANCE; exec sleep 1000"
    service = Service(host, "many", run=text, instances=2, check="test -n $INSTANCE")
    assert sorted(service.apply()["pids"]) == ["many-1", "many-2"]
    assert "here is 2" in host.file("/var/log/dirac/many-2/current").content_string
    assert service.apply(restart_if="2")["restarted"] == ["many-1", "many-2"]
    service.apply(instances=1, restart_if="2")
    assert not host.file("/etc/sv/many-2").exists
    assert not host.file("/var/log/dirac/many-2").exists
    service.apply(state="absent")


def test_services_end_by_themselves_when_the_machine_goes_down(probe: Service) -> None:
    probe.host.check_output("systemctl stop runit")
    assert probe.log.endswith("ended well\n")
    assert probe.host.check_output("systemctl show -p Result --value runit") == "success"
    probe.host.check_output("systemctl start runit")
    assert _until(lambda: probe.pid)
