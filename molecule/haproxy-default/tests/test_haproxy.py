# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy without any backend."""

from __future__ import annotations

from typing import Any


def test_it_runs_and_tells_its_metrics(host: Any) -> None:
    assert host.service("haproxy").is_running
    assert host.service("haproxy").is_enabled
    program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8405/metrics').read().decode())"
    assert "haproxy_process_start_time_seconds" in host.check_output("python3 -c %s", program)
