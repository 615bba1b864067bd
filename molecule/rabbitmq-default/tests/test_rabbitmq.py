# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker without any variable: reached from this host only, and nobody but the host has an account."""

from __future__ import annotations

import json
from typing import Any

# What curl would do, which bare hosts do not have: prints the status and the body.
ASK = """
import base64, sys, urllib.error, urllib.request
proof = base64.b64encode(sys.argv[1].encode()).decode()
request = urllib.request.Request(sys.argv[2], headers={"Authorization": "Basic " + proof})
try:
    answer = urllib.request.urlopen(request, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"""


def get(host: Any, account: str, url: str) -> tuple[int, str]:
    status, _, body = host.check_output("python3 -c %s %s %s", ASK, account, url).partition(" ")
    return int(status), body


def api(host: Any, path: str) -> Any:
    name = host.check_output("hostname -s")
    secret = host.file("/etc/rabbitmq/host-account.secret").content_string
    return json.loads(get(host, f"host-{name}:{secret}", f"http://127.0.0.1:15672/api{path}")[1])


def test_broker_listens_on_this_host_only(host: Any) -> None:
    for port in (5672, 15672, 15692):
        listening = host.socket(f"tcp://127.0.0.1:{port}")
        assert listening.is_listening, port
        assert not host.socket(f"tcp://0.0.0.0:{port}").is_listening, port


def test_guest_is_gone(host: Any) -> None:
    assert [user["name"] for user in api(host, "/users")] == ["host-mq"]
    assert get(host, "guest:guest", "http://127.0.0.1:15672/api/whoami")[0] == 401


def test_password_of_the_host_is_for_root(host: Any) -> None:
    assert host.file("/etc/rabbitmq/host-account.secret").mode == 0o600


def test_queues_are_quorum_queues(host: Any) -> None:
    assert {row["name"]: row["default_queue_type"] for row in api(host, "/vhosts")}["dirac"] == "quorum"


def test_there_are_metrics(host: Any) -> None:
    assert "rabbitmq_identity_info" in get(host, "", "http://127.0.0.1:15692/metrics")[1]
