"""Prometheus sees all of the site, and this host has the backups."""

from __future__ import annotations

import json
import time
from typing import Any

testinfra_hosts = ["monitor.example.org"]
TLS = "--cacert /etc/dirac/pki/ca.pem --cert /etc/dirac/pki/host.pem --key /etc/dirac/pki/host.key"
JOBS = {"dirac-server": 4, "dirac-worker": 2, "dirac-scheduler": 2, "haproxy": 1, "rabbitmq": 1, "node": 10}
PATIENCE = 90.0


def targets(host: Any) -> list[dict[str, Any]]:
    url = "https://monitor.example.org:9090/api/v1/targets?state=active"
    return list(json.loads(host.check_output(f"curl -fsS {TLS} '{url}'"))["data"]["activeTargets"])


def test_every_process_has_a_target_that_answers(host: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while (down := [one for one in targets(host) if one["health"] != "up"]) and time.monotonic() < deadline:
        time.sleep(3)
    assert [(one["scrapeUrl"], one["lastError"]) for one in down] == []
    names = [one["labels"]["job"] for one in targets(host)]
    assert {name: names.count(name) for name in JOBS} == JOBS


def test_the_backups_of_the_others_go_here(host: Any) -> None:
    assert host.file("/var/lib/dirac-backup-store").is_directory
