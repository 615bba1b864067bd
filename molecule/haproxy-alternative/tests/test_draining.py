# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody is refused while a server ends; the drained one gets nothing new."""

from __future__ import annotations

import json
from typing import Any

# Asks anew for some seconds, a connection for each request; in between one server is told to end.
CLIENT = """
import collections, http.client, json, ssl, subprocess, sys, time
context = ssl.create_default_context(cafile="/root/ca.pem")
context.check_hostname = False
seen = collections.Counter()
begun = time.monotonic()
told = not sys.argv[1:]
while time.monotonic() < begun + (8 if sys.argv[1:] else 2):
    if not told and time.monotonic() > begun + 2:
        subprocess.run(sys.argv[1:], check=True)
        told = True
    try:
        connection = http.client.HTTPSConnection("127.0.0.1", 443, context=context, timeout=10)
        connection.request("GET", "/")
        seen[connection.getresponse().read().decode()] += 1
    except OSError as error:
        seen["refused: " + str(error)] += 1
print(json.dumps(seen))
"""


def _seen(host: Any, *words: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(host.check_output("python3 -c %s " + " ".join(words), CLIENT))
    return found


def _server(host: Any, state: str) -> None:
    words = {"socket": "/run/haproxy/admin.sock", "server": "one", "state": state}
    answer = host.ansible("haproxy_server", json.dumps(words), check=False)
    assert answer["changed"], answer


def test_requests_go_to_both_and_none_is_refused_when_one_server_ends(host: Any) -> None:
    assert set(_seen(host)) == {"8443", "8444"}
    assert set(_seen(host, "systemctl kill --signal=TERM server-8444")) == {"8443", "8444"}
    assert set(_seen(host)) == {"8443"}
    host.check_output("systemd-run --unit=server-8444 python3 /root/server.py 8444")


def test_drained_server_gets_nothing_new_until_it_is_ready_again(host: Any) -> None:
    _server(host, "drain")
    assert set(_seen(host)) == {"8444"}
    _server(host, "ready")
    assert "8443" in _seen(host)
