# SPDX-License-Identifier: GPL-3.0-or-later
"""A store with TLS and with other names than the default, and a host that has none of its own."""

from __future__ import annotations

from typing import Any

import pytest


def name(host: Any) -> str:
    return str(host.check_output("hostname -s"))


def test_only_the_host_that_is_to_run_a_store_runs_one(host: Any) -> None:
    assert host.service("object-store").is_running == (name(host) == "storage")
    assert host.file("/opt/object-store").exists == (name(host) == "storage")


def test_plain_http_and_strangers_are_refused(host: Any) -> None:
    ask = (
        "import ssl, urllib.request; "
        "print(urllib.request.urlopen({url!r}, context=ssl.create_default_context(cafile={ca!r})).status)"
    )
    url = "https://storage.dirac.test:9443/another-bucket"
    anonymous = host.run("python3 -c %s", ask.format(url=url, ca="/etc/test-tls/ca.pem"))
    assert "403" in anonymous.stderr
    unknown = host.run("python3 -c %s", ask.format(url=url, ca="/etc/ssl/certs/ca-certificates.crt"))
    assert "CERTIFICATE_VERIFY_FAILED" in unknown.stderr


def test_objects_are_where_they_were_wished(host: Any) -> None:
    if name(host) != "storage":
        pytest.skip("has no store")
    assert host.file("/srv/objects/data/another-bucket").is_directory
    assert not host.file("/var/lib/object-store").exists
    assert "dirac-tls" in host.user("object-store").groups
