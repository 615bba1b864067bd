# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines come to OpenSearch, from other hosts as well, and outages lose and double none."""

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
import testinfra

NOTES = Path(os.environ["DIRAC_MOLECULE_NOTES"])
PATIENCE = 180.0


def ask(host: Any, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Ask OpenSearch as the user of DIRAC."""
    address = host.check_output("getent ahostsv4 search.dirac.test | awk '{print $1; exit}'")
    context = ssl.create_default_context(cafile=str(NOTES / "ca.pem"))
    account = base64.b64encode(b"dirac:Wv3-cloud-Maple-86").decode()
    headers = {"Authorization": f"Basic {account}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"https://{address}:9200/dirac-logs-*/{path}", data=data, headers=headers, method=method
    )
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def search(host: Any, mark: str) -> list[dict[str, Any]]:
    """Return the lines with a mark."""
    ask(host, "POST", "_refresh")
    return [hit["_source"] for hit in ask(host, "GET", f"_search?size=100&q=message:{mark}")["hits"]["hits"]]


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


def only_on(host: Any, name: str) -> None:
    if host.check_output("hostname -s") != name:
        pytest.skip(f"a test of {name}")


def test_an_outage_of_opensearch_loses_and_doubles_nothing(host: Any) -> None:
    only_on(host, "search")
    mark = secrets.token_hex(8)
    write(host, mark, range(5))
    host.check_output("systemctl stop opensearch")
    try:
        write(host, mark, range(5, 40))
        host.check_output("systemctl restart log-shipping")  # what waits survives that as well
        write(host, mark, range(40, 50))
    finally:
        host.check_output("systemctl start opensearch")
    assert sorted(line["job"] for line in wait(host, mark, 50)) == list(range(50))


def test_an_outage_of_the_receiving_host_loses_and_doubles_nothing(host: Any) -> None:
    only_on(host, "node")
    other = testinfra.get_host(f"ansible://search?ansible_inventory={os.environ['MOLECULE_INVENTORY_FILE']}")
    mark = secrets.token_hex(8)
    write(host, mark, range(5))
    other.check_output("systemctl kill --signal=KILL log-shipping; systemctl stop log-shipping")
    try:
        write(host, mark, range(5, 40))
        host.check_output("systemctl restart log-shipping")
        write(host, mark, range(40, 50))
    finally:
        other.check_output("systemctl start log-shipping")
    assert sorted(line["job"] for line in wait(host, mark, 50)) == list(range(50))


def test_lines_wait_while_the_disk_of_opensearch_is_full(host: Any) -> None:
    only_on(host, "search")
    block = "index.blocks.read_only_allow_delete"  # what OpenSearch sets then
    mark = secrets.token_hex(8)
    ask(host, "PUT", "_settings", {block: True})
    try:
        write(host, mark, range(5))
        said = "until journalctl -u log-shipping | grep -q 'disk usage exceeded'; do sleep 1; done"
        host.check_output("timeout 60 sh -c %s", said)
        assert search(host, mark) == []
    finally:
        ask(host, "PUT", "_settings", {block: None})
    assert sorted(line["job"] for line in wait(host, mark, 5)) == list(range(5))


def test_a_line_that_opensearch_cannot_take_comes_as_a_message(host: Any) -> None:
    mark = secrets.token_hex(8)
    line = json.dumps({"level": "ERROR", "message": f"{mark} \ud800 ü", "time": "no time"})
    write(host, mark, range(1))
    host.check_output("printf '%%s\\n' %s >> /srv/logs/dirac-test-1/current", line)
    write(host, mark, range(1, 2))
    found = wait(host, mark, 3)
    assert sorted(line["job"] for line in found if "job" in line) == [0, 1]
    [text] = [line for line in found if "job" not in line]
    assert text["service"] == "dirac-test-1"
    assert f"{mark} ? ü" in text["message"]
    assert "no time" in text["message"]


def test_strangers_are_not_listened_to(host: Any) -> None:
    only_on(host, "search")  # whose own certificate is not among the peers'
    script = (
        "import http.client, ssl, sys; c = ssl.create_default_context(cafile='/etc/test-tls/ca.pem'); "
        "len(sys.argv) > 1 and c.load_cert_chain('/etc/test-tls/host.pem', '/etc/test-tls/host.key'); "
        "k = http.client.HTTPSConnection('search.dirac.test', 6514, context=c); "
        "k.request('POST', '/_bulk', ''); print(k.getresponse().status)"
    )
    assert host.check_output("python3 -c %s certificate", script) == "403"
    without = host.run("python3 -c %s", script)
    assert without.rc == 1
    assert without.stdout == ""
    said = host.check_output("journalctl --unit=log-shipping --output=cat --grep='did not return a cert'")
    assert "connection of" in said


def test_the_password_is_for_root_only(host: Any) -> None:
    found = host.run("grep -rlF Zk9-ember-Quilt-25 /etc /run/systemd /tmp /var/log").stdout.split()
    assert set(found) <= {"/etc/syslog-ng/log-shipping.conf"}
    assert host.file("/etc/syslog-ng/log-shipping.conf").mode == 0o600
