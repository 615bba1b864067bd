# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker without any variable: reached from this host only, and nobody but the host has an account."""

from __future__ import annotations

import json
from typing import Any


def api(host: Any, path: str) -> Any:
    name = host.check_output("hostname -s")
    secret = host.file("/etc/rabbitmq/host-account.secret").content_string
    return json.loads(host.check_output("curl -sf -u %s http://127.0.0.1:15672/api%s", f"host-{name}:{secret}", path))


def test_broker_listens_on_this_host_only(host: Any) -> None:
    for port in (5672, 15672, 15692):
        listening = host.socket(f"tcp://127.0.0.1:{port}")
        assert listening.is_listening, port
        assert not host.socket(f"tcp://0.0.0.0:{port}").is_listening, port


def test_guest_is_gone(host: Any) -> None:
    assert [user["name"] for user in api(host, "/users")] == ["host-mq"]
    assert host.check_output("curl -s -o /dev/null -w '%%{http_code}' -u guest:guest 127.0.0.1:15672/api/whoami") == "401"


def test_password_of_the_host_is_for_root(host: Any) -> None:
    assert host.file("/etc/rabbitmq/host-account.secret").mode == 0o600


def test_queues_are_quorum_queues(host: Any) -> None:
    assert {row["name"]: row["default_queue_type"] for row in api(host, "/vhosts")}["dirac"] == "quorum"


def test_there_are_metrics(host: Any) -> None:
    assert "rabbitmq_identity_info" in host.check_output("curl -sf 127.0.0.1:15692/metrics")
