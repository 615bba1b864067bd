# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of services and of journald come to a file with the same fields."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

TARGET = "/var/log/dirac-all.jsonl"
PATIENCE = 30.0


def lines(host: Any, mark: str, count: int) -> list[dict[str, Any]]:
    """Wait for that many lines with a mark."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = [json.loads(line) for line in host.run(f"grep -F {mark} {TARGET}").stdout.splitlines()]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.3)


def write(host: Any, line: str, service: str = "dirac-test-1") -> None:
    host.check_output(f"mkdir -p /var/log/dirac/{service}")
    host.check_output(f"printf '%%s\\n' %s >> /var/log/dirac/{service}/current", line)


def test_a_line_keeps_what_the_service_said_and_gets_its_origin(host: Any) -> None:
    mark = secrets.token_hex(8)
    said = {
        "time": "2026-01-02T03:04:05.006+00:00",
        "level": "ERROR",
        "message": f"x {mark}",
        "job": 7,
        "a.b": [1, "x", {"y": None}],
    }
    write(host, json.dumps(said))
    [found] = lines(host, mark, 1)
    assert {key: found[key] for key in said} == said
    assert found["service"] == "dirac-test-1"
    assert found["host"] == host.check_output("hostname -s")


def test_a_line_that_is_no_json_is_kept_as_a_message(host: Any) -> None:
    mark = secrets.token_hex(8)
    write(host, f"Traceback: {mark}")
    [found] = lines(host, mark, 1)
    assert found["message"] == f"Traceback: {mark}"
    assert found["service"] == "dirac-test-1"
    assert found["time"]


def test_rotation_loses_and_doubles_nothing(host: Any) -> None:
    mark = secrets.token_hex(8)
    # As svlogd does: lines, the file gets another name, lines go on in a new one.
    script = (
        "cd /var/log/dirac/dirac-test-1; for part in 1 2 3; do for n in 1 2 3 4 5; do "
        f'echo "{{\\"message\\": \\"{mark} $part-$n\\"}}" >>current; done; mv current @$part.s; done; '
        f'echo "{{\\"message\\": \\"{mark} 4-1\\"}}" >>current'
    )
    host.check_output("sh -c %s", script)
    found = sorted(line["message"].split()[1] for line in lines(host, mark, 16))
    assert found == sorted([f"{part}-{n}" for part in (1, 2, 3) for n in range(1, 6)] + ["4-1"])


def test_a_stop_of_the_service_loses_and_doubles_nothing(host: Any) -> None:
    mark = secrets.token_hex(8)
    write(host, f"{mark} 1")
    lines(host, mark, 1)
    host.check_output("systemctl stop log-shipping")
    write(host, f"{mark} 2")
    host.check_output("cd /var/log/dirac/dirac-test-1; mv current @stopped.s; echo %s >current", f"{mark} 3")
    host.check_output("systemctl start log-shipping")
    assert sorted(line["message"] for line in lines(host, mark, 3)) == [f"{mark} {n}" for n in (1, 2, 3)]


def test_the_last_lines_before_each_rotation_come(host: Any) -> None:
    mark = secrets.token_hex(8)
    # At another moment between two looks of the service each time.
    script = (
        "cd /var/log/dirac/dirac-test-1; for n in 1 2 3 4 5 6; do "
        f'echo "{mark} $n" >>current; sleep 0.0$n; mv current @last$n.s; : >current; sleep 1.1$n; done'
    )
    host.check_output("sh -c %s", script)
    assert sorted(line["message"] for line in lines(host, mark, 6)) == [f"{mark} {n}" for n in range(1, 7)]


def test_lines_of_other_services_come_from_journald(host: Any) -> None:
    mark = secrets.token_hex(8)
    host.check_output(f"systemd-run --wait --unit=other-{mark} logger -t elsewhere -p daemon.warning {mark}")
    found = [line for line in lines(host, mark, 1) if line["service"] == "elsewhere"]
    assert [(line["level"], line["message"]) for line in found] == [("warning", mark)]


def test_settings_are_for_root_only(host: Any) -> None:
    assert host.file("/etc/syslog-ng/log-shipping.conf").mode == 0o600
    assert host.file(TARGET).mode == 0o640
