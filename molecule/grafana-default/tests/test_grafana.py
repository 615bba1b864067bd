# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role lays down is what Grafana reads; a real Prometheus answers every query of the dashboards."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

DASHBOARDS = sorted((Path(__file__).parents[3] / "roles/grafana/files/dashboards").glob("*.json"))


def _queries() -> list[tuple[str, str]]:
    return [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


def _concrete(query: str) -> str:
    query = query.replace("$__rate_interval", "30s")
    for variable in ("vo", "site", "instance"):
        query = query.replace(f"${variable}", ".*")
    return query


def _ask(host: Any, query: str) -> Any:
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": query})
    code = (
        "import urllib.request as u, urllib.error as e\n"
        "try: print(u.urlopen('http://localhost:9090" + path + "').read().decode())\n"
        "except e.HTTPError as error: print(error.read().decode())"
    )
    return json.loads(host.check_output(f'python3 -c "{code}"'))


@pytest.mark.parametrize(("panel", "query"), _queries(), ids=lambda value: value[:60])
def test_prometheus_understands_the_query(host: Any, panel: str, query: str) -> None:
    answer = _ask(host, _concrete(query))
    assert answer["status"] == "success", f"{panel}: {answer}"
    # No disk of its own: a container shares those of its host.
    if "node_" in query and "node_filesystem" not in query and "node_disk" not in query:
        assert answer["data"]["result"], f"{panel} is empty: {query}"


@pytest.mark.parametrize("path", ["admin_password", "grafana.ini", "provisioning/datasources/dirac.yaml"])
def test_secrets_are_for_grafana_only(host: Any, path: str) -> None:
    assert host.file(f"/etc/grafana/{path}").mode & 0o007 == 0
    assert "only-for-tests" not in host.file("/etc/grafana/grafana.ini").content_string


def test_nobody_unknown_gets_in(host: Any) -> None:
    code = "import urllib.request as u; u.urlopen('http://localhost:3000/api/search')"
    assert "401" in host.run(f'python3 -c "{code}"').stderr
