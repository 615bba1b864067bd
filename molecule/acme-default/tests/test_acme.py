# SPDX-License-Identifier: GPL-3.0-or-later
"""The host has a certificate of the authority, and the timer renews it."""

from __future__ import annotations

from typing import Any

PEM, KEY = "/etc/dirac/acme/public.pem", "/etc/dirac/acme/public.key"


def test_certificate_is_for_the_name_and_of_the_authority(host: Any) -> None:
    text = host.check_output(f"openssl x509 -in {PEM} -noout -text")
    assert "DNS:acme.example.org" in text
    assert "Pebble Intermediate CA" in text


def test_key_is_for_its_group_only(host: Any) -> None:
    file = host.file(KEY)
    assert (file.group, file.mode) == ("dirac-tls", 0o640)
    assert host.file("/etc/dirac/acme.conf").mode == 0o600
    assert host.file("/run/reloaded").exists


def test_timer_looks_daily(host: Any) -> None:
    assert host.service("dirac-acme.timer").is_running
    assert host.service("dirac-acme.timer").is_enabled


def test_what_is_due_is_renewed_with_the_same_key(host: Any) -> None:
    serial = f"openssl x509 -in {PEM} -noout -serial"
    before, key = host.check_output(serial), host.file(KEY).sha256sum
    host.check_output("systemctl start dirac-acme.service")
    assert host.check_output(serial) == before, "it is not due"
    host.check_output("set -a; . /etc/dirac/acme.conf; ACME_DAYS=100000 /usr/local/sbin/dirac-acme")
    assert host.check_output(serial) != before
    assert host.file(KEY).sha256sum == key
