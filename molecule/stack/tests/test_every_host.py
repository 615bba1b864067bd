"""The hosts of a site know each other, and who they let in."""

from __future__ import annotations

import json
from typing import Any

import pytest

# Who opens a connection to what, as the parts of the site need it; everybody else is kept out.
DOORS = {
    "db.example.org:3306": {"dirac1", "dirac2", "db"},
    "broker.example.org:5671": {"dirac1", "dirac2", "broker"},
    "dirac1.example.org:8443": {"gate", "dirac1"},
    "wn1.example.org:9100": {"monitor", "wn1"},
}


def test_users_reach_the_service_through_the_balancer(host: Any) -> None:
    said = host.check_output("curl -fsS --max-time 10 https://dirac.example.org/api/health/ready")
    assert json.loads(said)["status"] == "ready"


@pytest.mark.parametrize("door", DOORS)
def test_a_door_is_open_for_those_who_need_it_only(host: Any, door: str) -> None:
    name = host.backend.get_hostname().partition(".")[0]
    done = host.run("timeout 3 bash -c %s", f"</dev/tcp/{door.replace(':', '/')}")
    assert (done.rc == 0) == (name in DOORS[door])
