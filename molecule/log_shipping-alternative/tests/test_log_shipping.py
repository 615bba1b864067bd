# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines come to OpenSearch, from other hosts as well, and an outage loses and doubles none."""

from __future__ import annotations

import base64
import json
import os
import secrets
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

NOTES = Path(os.environ["DIRAC_MOLECULE_NOTES"])
PATIENCE = 180.0


def search(host: Any, mark: str) -> list[dict[str, Any]]:
    """Return the lines with a mark, asked on the host of OpenSearch as the user of DIRAC."""
    address = host.check_output("getent ahostsv4 search.dirac.test | awk '{print $1; exit}'")
    context = ssl.create_default_context(cafile=str(NOTES / "ca.pem"))
    account = base64.b64encode(b"dirac:Wv3-cloud-Maple-86").decode()
    found: dict[str, Any] = {}
    for method, path in (("POST", "_refresh"), ("GET", f"_search?size=100&q=message:{mark}")):
        url = f"https://{address}:9200/dirac-logs-*/{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {account}"}, method=method)
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            found = json.load(answer)
    return [hit["_source"] for hit in found["hits"]["hits"]]


def wait(host: Any, mark: str, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE
    found: list[dict[str, Any]] = []
    while len(found) < count and time.monotonic() < deadline:
        try:
            found = search(host, mark)
        except (urllib.error.URLError, ConnectionError):
            found = []
        time.sleep(0.5)
    time.sleep(3)  # what is doubled comes late
    return search(host, mark)


def write(host: Any, mark: str, numbers: range) -> None:
    text = "".join(json.dumps({"level": "INFO", "message": f"{mark} {n}", "job": n}) + "\n" for n in numbers)
    host.check_output("mkdir -p /srv/logs/dirac-test-1")
    host.check_output("printf '%%s' %s >> /srv/logs/dirac-test-1/current", text)


def test_lines_of_this_host_arrive_once_with_all_fields(host: Any) -> None:
    mark = secrets.token_hex(8)
    write(host, mark, range(3))
    found = wait(host, mark, 3)
    assert sorted(line["job"] for line in found) == [0, 1, 2]
    name = host.check_output("hostname -s")
    origin = {(line["host"], line["site"], line["service"], line["level"]) for line in found}
    assert origin == {(name, "TEST.Site.org", "dirac-test-1", "INFO")}


def test_an_outage_of_opensearch_loses_and_doubles_nothing(host: Any) -> None:
    if host.check_output("hostname -s") != "search":
        pytest.skip("OpenSearch runs on another host")
    mark = secrets.token_hex(8)
    write(host, mark, range(5))
    host.check_output("systemctl stop opensearch")
    write(host, mark, range(5, 40))
    host.check_output("systemctl restart rsyslog")  # what waits survives that as well
    write(host, mark, range(40, 50))
    host.check_output("systemctl start opensearch")
    assert sorted(line["job"] for line in wait(host, mark, 50)) == list(range(50))


def test_the_password_is_for_root_only(host: Any) -> None:
    found = host.run("grep -rlF Zk9-ember-Quilt-25 /etc /run/systemd /tmp /var/log").stdout.split()
    assert set(found) <= {"/etc/rsyslog.d/60-dirac.conf"}
    assert host.file("/etc/rsyslog.d/60-dirac.conf").mode == 0o600
