# SPDX-License-Identifier: GPL-3.0-or-later
"""Other settings reach the supervisor."""

from __future__ import annotations

from typing import Any


def test_supervisor_has_the_limits_that_were_asked_for(host: Any) -> None:
    pid = host.check_output("systemctl show -p MainPID --value runit")
    limits = host.file(f"/proc/{pid}/limits").content_string
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == ["4096", "4096"]


def test_stop_has_the_deadline_that_was_asked_for(host: Any) -> None:
    assert host.check_output("systemctl show -p TimeoutStopUSec --value runit") == "33s"


def test_logs_go_where_they_were_asked_to(host: Any) -> None:
    assert host.file("/srv/log/dirac").is_directory
