"""The balancer has the processes of both server hosts."""

from __future__ import annotations

from typing import Any

testinfra_hosts = ["gate.example.org"]


def test_all_processes_of_both_servers_are_up(host: Any) -> None:
    said = host.check_output("curl -fsS http://localhost:8405/metrics").splitlines()
    up = [
        line
        for line in said
        if line.startswith('haproxy_server_status{proxy="dirac"') and 'state="UP"' in line
    ]
    assert len(up) == 4
    assert [line for line in up if not line.endswith(" 1")] == []
