"""The balancer has the processes of both server hosts."""

from __future__ import annotations

from typing import Any

testinfra_hosts = ["gate.example.org"]


def test_all_processes_of_both_servers_are_up(host: Any) -> None:
    said = host.check_output("curl -fsS http://localhost:8405/metrics").splitlines()
    up = {
        line.split('server="')[1].split('"')[0]: line.endswith(" 1")
        for line in said
        if line.startswith('haproxy_server_status{proxy="dirac"') and 'state="UP"' in line
    }
    assert {name for name in up if not name.endswith("-unasked")} == {
        "dirac1-1",
        "dirac1-2",
        "dirac2-1",
        "dirac2-2",
    }
    assert all(up.values())
