# SPDX-License-Identifier: GPL-3.0-or-later
"""With certificates: who shows one gets an answer, who does not gets none; alerts reach the Alertmanager."""

from __future__ import annotations

import json
import time
from typing import Any

testinfra_hosts = ["ansible://monitor"]
PROMETHEUS = "https://monitor.dirac.test:9090"
KNOWN = "c.load_cert_chain('/etc/test-pki/host.pem','/etc/test-pki/host.key');"


def _get(host: Any, url: str, *, known: bool = True) -> Any:
    code = (
        "import ssl,urllib.request as u;c=ssl.create_default_context(cafile='/etc/test-pki/ca.pem');"
        f"{KNOWN if known else ''}print(u.urlopen('{url}',context=c).read().decode())"
    )
    return host.run(f'python3 -c "{code}"')


def _ask(host: Any, path: str) -> Any:
    done = _get(host, f"{PROMETHEUS}/api/v1/{path}")
    assert done.rc == 0, done.stderr
    return json.loads(done.stdout)["data"]


def test_all_targets_are_asked_with_certificates(host: Any) -> None:
    targets = _ask(host, "targets")["activeTargets"]
    assert {(one["labels"]["job"], one["health"]) for one in targets} == {
        ("prometheus", "up"),
        ("node", "up"),
    }
    assert len(targets) == 3
    assert all(one["scrapeUrl"].startswith("https://") for one in targets)


def test_who_shows_no_certificate_gets_no_answer(host: Any) -> None:
    for url in (f"{PROMETHEUS}/api/v1/query?query=up", "https://other.dirac.test:9100/metrics"):
        assert _get(host, url).rc == 0
        refused = _get(host, url, known=False)
        assert refused.rc != 0
        assert "alert" in refused.stderr, "TLS ends it, not something else"


def test_rule_of_the_site_reaches_the_alertmanager(host: Any) -> None:
    deadline = time.monotonic() + 60
    names: list[str] = []
    while "SiteAlwaysFires" not in names and time.monotonic() < deadline:
        code = "import urllib.request as u;print(u.urlopen('http://127.0.0.1:9093/api/v2/alerts').read().decode())"
        alerts = json.loads(host.check_output(f'python3 -c "{code}"'))
        names = [one["labels"]["alertname"] for one in alerts if one["labels"]["site"] == "test"]
        time.sleep(1)
    assert "SiteAlwaysFires" in names


def test_alertmanager_listens_for_this_host_only(host: Any) -> None:
    assert "127.0.0.1:9093" in host.check_output("ss -Hltn 'sport = :9093'")
    assert host.check_output("ss -Hltn 'sport = :9094'") == ""
