# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus measures, and knows its rules."""

from __future__ import annotations

import json
from typing import Any


def _ask(host: Any, path: str) -> Any:
    code = (
        f"import urllib.request as u; print(u.urlopen('http://localhost:9090/api/v1/{path}').read().decode())"
    )
    return json.loads(host.check_output(f'python3 -c "{code}"'))["data"]


def test_prometheus_measures_itself(host: Any) -> None:
    (row,) = _ask(host, "query?query=up")["result"]
    assert (row["metric"]["job"], row["value"][1]) == ("prometheus", "1")


def test_rules_are_evaluated_without_errors(host: Any) -> None:
    groups = _ask(host, "rules")["groups"]
    assert {"dirac", "hosts", "databases", "broker", "backup"} <= {group["name"] for group in groups}
    assert [rule["name"] for group in groups for rule in group["rules"] if rule.get("lastError")] == []


def test_measurements_are_kept_as_long_as_was_said(host: Any) -> None:
    flags = _ask(host, "status/flags")
    assert flags["storage.tsdb.retention.time"] == "90d"
    assert flags["storage.tsdb.retention.size"] == "20GiB"
