# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSearch with TLS and users: who may do what, and what is removed when."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

PASSWORDS = {"admin": "Qn7-river-Stone-41", "dirac": "Wv3-cloud-Maple-86", "logs": "Zk9-ember-Quilt-25"}
DOCUMENT = {"message": "hello", "host": "h"}


def ask(host: Any, user: str | None, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Send a request from outside; returns status and body."""
    address = host.check_output("hostname -I").split()[0]
    context = ssl.create_default_context(cadata=host.file("/etc/test-tls/ca.pem").content_string)
    headers = {"Content-Type": "application/json"}
    if user:
        headers["Authorization"] = (
            "Basic " + base64.b64encode(f"{user}:{PASSWORDS.get(user, 'admin')}".encode()).decode()
        )
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"https://{address}:9243{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code, None


@pytest.mark.parametrize(
    ("user", "method", "path", "status"),
    [
        (None, "GET", "/", 401),
        ("kibanaserver", "GET", "/", 401),  # an account that the vendor ships, with a known password
        ("dirac", "PUT", "/mine-jobs/_doc/1", 201),
        ("dirac", "GET", "/mine-jobs/_search", 200),
        ("dirac", "PUT", "/mine_jobs/_doc/1", 201),
        ("dirac", "PUT", "/others/_doc/1", 403),
        ("dirac", "GET", "/_plugins/_security/api/internalusers", 403),
        ("logs", "PUT", "/mine-logs-2999.01.01/_doc/1", 201),
        ("logs", "GET", "/mine-logs-2999.01.01/_search", 403),
        ("logs", "DELETE", "/mine-logs-2999.01.01", 403),
        ("logs", "PUT", "/mine-jobs/_doc/2", 403),
        ("admin", "DELETE", "/mine-logs-2999.01.01", 200),
        ("admin", "DELETE", "/mine-jobs,mine_jobs", 200),
    ],
)
def test_users_have_the_rights_they_need_and_no_others(
    host: Any, user: str | None, method: str, path: str, status: int
) -> None:
    body = DOCUMENT if method == "PUT" else None
    assert ask(host, user, method, path, body)[0] == status


def test_plain_http_is_refused(host: Any) -> None:
    address = host.check_output("hostname -I").split()[0]
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(f"http://{address}:9243/", timeout=10)


def test_old_indices_are_removed_and_young_ones_stay(host: Any) -> None:
    today = datetime.now(UTC).date()
    names = {days: f"/mine-logs-{today - timedelta(days=days):%Y.%m.%d}" for days in (0, 3, 4, 400)}
    for name in [*names.values(), "/mine-jobs-2020.01.01"]:
        assert ask(host, "admin", "PUT", name)[0] == 200
    host.check_output("systemctl start opensearch-retention.service")
    left = {days for days, name in names.items() if ask(host, "admin", "GET", name)[0] == 200}
    assert left == {0, 3}
    assert ask(host, "admin", "DELETE", "/mine-jobs-2020.01.01")[0] == 200
    assert host.service("opensearch-retention.timer").is_running


def test_words_of_logs_are_kept_whole_and_messages_are_searched(host: Any) -> None:
    day = "/mine-logs-2999.02.02"
    document = {"message": "the quick fox", "service": "dirac-server-1", "vo": "astro"}
    assert ask(host, "admin", "PUT", f"{day}/_doc/1?refresh=true", document)[0] == 201
    properties = next(iter(ask(host, "admin", "GET", f"{day}/_mapping")[1].values()))["mappings"][
        "properties"
    ]
    assert {name: properties[name]["type"] for name in document} == {
        "message": "text",
        "service": "keyword",
        "vo": "keyword",
    }
    found = ask(host, "dirac", "GET", f"{day}/_search?q=message:quick")[1]
    assert found["hits"]["total"]["value"] == 1
    assert ask(host, "admin", "DELETE", day)[0] == 200


def test_keys_and_passwords_are_not_for_others(host: Any) -> None:
    assert host.file("/etc/opensearch/tls/administrator.key").mode == 0o600
    assert host.file("/etc/opensearch/tls/host.key").mode == 0o640
    assert host.file("/etc/opensearch").mode == 0o750
    pattern = " ".join(f"-e {password}" for password in PASSWORDS.values())
    assert host.run(f"grep -rlF {pattern} /etc /opt /var/log /run/systemd /tmp").stdout == ""
