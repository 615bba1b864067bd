# SPDX-License-Identifier: GPL-3.0-or-later
"""Other settings reach the certificate."""

from __future__ import annotations

from typing import Any


def test_certificate_is_as_it_was_asked_for(host: Any) -> None:
    text = host.check_output("openssl x509 -in /etc/dirac/pki/host.pem -noout -text")
    assert "Public-Key: (2048 bit)" in text
    assert "DNS:service.example.org" in text
    assert host.run("openssl x509 -in /etc/dirac/pki/host.pem -noout -checkend %s", str(41 * 86400)).rc == 1
    host.check_output("openssl x509 -in /etc/dirac/pki/host.pem -noout -checkend %s", str(39 * 86400))


def test_services_were_told_and_metrics_say_when_it_ends(host: Any) -> None:
    assert host.file("/run/reloaded").exists
    assert (
        "dirac_certificate_end_seconds" in host.file("/var/lib/metrics/dirac_certificate.prom").content_string
    )
