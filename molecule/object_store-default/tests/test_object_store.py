# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a host, asked from outside and looked at from inside."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

SECRET = "only-for-this-test-0123"
_spec = importlib.util.spec_from_file_location("objects", Path(__file__).parents[2] / "shared/objects.py")
assert _spec is not None
assert _spec.loader is not None
objects = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(objects)


def settings(host: Any, **changes: str) -> dict[str, str]:
    address = host.check_output("hostname -I").split()[0]
    return {
        "bucket": "dirac-sandboxes",
        "endpoint_url": f"http://{address}:9000",
        "access_key_id": "dirac",
        "secret_access_key": SECRET,
        **changes,
    }


def upload(store: dict[str, str], key: str, announced: bytes, content: bytes) -> int:
    return int(asyncio.run(objects.upload(store, key, announced, content)))


def test_an_upload_with_a_policy_is_taken_and_can_be_read(host: Any) -> None:
    assert upload(settings(host), "vo/a", b"hello", b"hello") in range(200, 300)
    assert asyncio.run(objects.read(settings(host), "vo/a")) == b"hello"
    asyncio.run(objects.delete(settings(host), "vo/a"))


def test_other_content_than_the_policy_says_is_refused(host: Any) -> None:
    assert upload(settings(host), "vo/b", b"hello", b"olleh") in (400, 403)


def test_a_wrong_secret_is_refused(host: Any) -> None:
    wrong = settings(host, secret_access_key="wrong-wrong-wrong-wrong")
    assert upload(wrong, "vo/c", b"hello", b"hello") == 403


def test_the_service_has_no_rights_beyond_its_directory(host: Any) -> None:
    process = host.process.get(comm="versitygw")
    assert process.user == "object-store"
    status = host.check_output(f"cat /proc/{process.pid}/status")
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status


def test_secrets_are_for_root_and_the_service_only(host: Any) -> None:
    assert SECRET not in host.check_output("ps -eww -o args")
    assert host.file("/etc/object-store/administrator.env").mode == 0o600
    assert host.file("/etc/object-store").mode == 0o700
    assert host.file("/var/lib/object-store").mode == 0o700
    found = host.run(f"grep -rlF -e {SECRET} /etc /opt /var/log /run/systemd /tmp")
    assert found.stdout == ""


def test_it_starts_with_the_host(host: Any) -> None:
    assert host.service("object-store").is_enabled
