"""The parts of the site know each other, as far as only a site with all of them can tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

TLS = "--cacert /etc/dirac/pki/ca.pem --cert /etc/dirac/pki/host.pem --key /etc/dirac/pki/host.key"
PATIENCE = 90.0


def eventually(look: Callable[[], Any]) -> Any:
    """Look until there is nothing to complain of, or for long enough; returns the last complaint."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(3)
    return found


def test_all_clocks_ports_and_names_are_as_needed(host: Any) -> None:
    # Each host knows all others by the names that their certificates have.
    for name in ("gate", "dirac1", "db", "broker", "search", "objects", "monitor"):
        assert host.addr(f"{name}.example.org").is_resolvable


def test_users_reach_the_service_through_the_balancer(host: Any) -> None:
    said = host.check_output("curl -fsS --max-time 10 https://dirac.example.org/api/health/ready")
    assert json.loads(said)["status"] == "ready"


def test_the_balancer_has_four_servers(host: Any) -> None:
    if host.backend.get_hostname() != "gate.example.org":
        return
    said = host.check_output("curl -fsS http://localhost:8405/metrics")
    up = [
        line
        for line in said.splitlines()
        if line.startswith("haproxy_server_status{") and 'state="UP"' in line
    ]
    good = [line for line in up if 'proxy="dirac"' in line and line.endswith(" 1")]
    assert len(good) == 4


def test_prometheus_reaches_every_target(host: Any) -> None:
    if host.backend.get_hostname() != "monitor.example.org":
        return

    def down() -> list[str]:
        said = host.check_output(
            f"curl -fsS {TLS} https://monitor.example.org:9090/api/v1/targets?state=active"
        )
        targets = json.loads(said)["data"]["activeTargets"]
        assert len(targets) == 4 + 2 + 2 + 1 + 1 + 10 + 1
        return [f"{one['scrapeUrl']}: {one['lastError']}" for one in targets if one["health"] != "up"]

    assert eventually(down) == []


def test_nobody_else_reaches_the_database(host: Any) -> None:
    inside = host.backend.get_hostname() in ("dirac1.example.org", "dirac2.example.org", "db.example.org")
    done = host.run("timeout 3 bash -c '</dev/tcp/db.example.org/3306'")
    assert (done.rc == 0) == inside
