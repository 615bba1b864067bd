# SPDX-License-Identifier: GPL-3.0-or-later
"""Two brokers: who may do what, over TLS only, and a queue that lives on both."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

VHOST = quote("work & more", safe="")
DIRAC = "dirac:it's \"quoted\" \\ and ü"


def api(host: Any, path: str, *options: str) -> Any:
    secret = host.file("/etc/rabbitmq/host-account.secret").content_string
    account = f"host-{host.check_output('hostname -s')}:{secret}"
    words = " ".join(options)
    said = host.check_output(f"curl -sf -u %s {words} http://127.0.0.1:15672/api%s", account, path)
    return json.loads(said) if said else None


def test_both_are_one_cluster(host: Any) -> None:
    nodes = {row["name"]: row["running"] for row in api(host, "/nodes")}
    assert nodes == {"rabbit@one": True, "rabbit@two": True}


def test_only_tls_is_offered(host: Any) -> None:
    assert host.socket("tcp://0.0.0.0:5671").is_listening
    assert not host.socket("tcp://:::5672").is_listening
    assert not host.socket("tcp://0.0.0.0:5672").is_listening
    name = host.check_output("hostname -s")
    said = host.check_output(
        "openssl s_client -connect %s:5671 -CAfile /etc/dirac/pki/ca.pem -verify_return_error -verify_hostname %s"
        " < /dev/null 2>&1",
        name,
        name,
    )
    assert "Verify return code: 0 (ok)" in said
    old = host.run("openssl s_client -connect %s:5671 -tls1_1 < /dev/null", name)
    assert old.rc != 0


def test_rights_are_the_least(host: Any) -> None:
    rights = {(row["user"], row["vhost"]): row for row in api(host, "/permissions")}
    assert {user for user, _ in rights} == {"dirac", "reader", "host-one", "host-two"}
    reader = rights[("reader", "work & more")]
    assert (reader["configure"], reader["write"], reader["read"]) == ("", "", "^public\\.")
    tags = {row["name"]: row["tags"] for row in api(host, "/users")}
    assert (tags["dirac"], tags["admin"]) == ([], ["administrator"])
    assert "guest" not in tags


def test_password_is_taken_as_it_is(host: Any) -> None:
    # No tag: it may log in, and not manage.
    said = host.run("curl -s -u %s http://127.0.0.1:15672/api/overview", DIRAC)
    assert "Not management user" in said.stdout or "Not_Authorized" in said.stdout.title().replace(" ", "_")
    assert "Login failed" not in said.stdout


def test_settings_given_are_in_force(host: Any) -> None:
    assert host.check_output("rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'") == "{ok,7200000}"
    assert host.check_output("systemctl show --value --property=LimitNOFILE rabbitmq-server") == "10000"
    assert host.file("/var/lib/rabbitmq/.erlang.cookie").mode == 0o400
    assert "[E*] rabbitmq_top" in host.check_output("rabbitmq-plugins list")


def test_no_password_is_in_the_log(host: Any) -> None:
    for word in ("for the reader", "SECRETOFTHISTEST", "quoted"):
        assert host.run("grep -rqF -- %s /var/log/rabbitmq /etc/rabbitmq", word).rc == 1
