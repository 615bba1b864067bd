# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSearch without users: for its own host only."""

from __future__ import annotations

import socket
from typing import Any

import pytest


def test_it_is_the_real_server_with_the_security_plugin(host: Any) -> None:
    ask = (
        "import urllib.request; print(urllib.request.urlopen('http://localhost:9200{path}').read().decode())"
    )
    assert '"distribution" : "opensearch"' in host.check_output("python3 -c %s", ask.format(path="/"))
    assert "opensearch-security" in host.check_output("python3 -c %s", ask.format(path="/_cat/plugins"))


@pytest.mark.parametrize("port", [9200, 9300])
def test_nobody_reaches_it_from_outside(host: Any, port: int) -> None:
    address = host.check_output("hostname -I").split()[0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, port), timeout=5)


def test_the_service_has_no_new_rights(host: Any) -> None:
    process = host.process.get(comm="java")
    assert process.user == "opensearch"
    assert "NoNewPrivs:\t1" in host.check_output(f"cat /proc/{process.pid}/status")
