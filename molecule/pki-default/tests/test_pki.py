# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of the site's authority."""

from __future__ import annotations

from typing import Any


def test_chain_is_trusted_by_the_whole_host_and_by_grid_software(host: Any) -> None:
    host.check_output("openssl verify -CApath /etc/ssl/certs /etc/dirac/pki/host.pem")
    host.check_output("openssl verify -CApath /etc/grid-security/certificates /etc/dirac/pki/host.pem")


def test_key_is_for_its_group_only_and_belongs_to_the_certificate(host: Any) -> None:
    key = host.file("/etc/dirac/pki/host.key")
    assert (key.mode, key.user, key.group) == (0o640, "root", "dirac-tls")
    public = host.check_output("openssl x509 -in /etc/dirac/pki/host.pem -noout -pubkey")
    assert host.check_output("openssl pkey -in /etc/dirac/pki/host.key -pubout") == public


def test_key_of_the_authority_is_not_on_the_host(host: Any) -> None:
    ca = host.check_output("openssl x509 -in /etc/dirac/pki/ca.pem -noout -pubkey").splitlines()[1]
    assert host.check_output("ls /etc/dirac/pki").split() == ["ca.pem", "host.key", "host.pem"]
    assert ca not in host.check_output("openssl pkey -in /etc/dirac/pki/host.key -pubout")


def test_server_with_the_certificate_is_accepted_by_a_client_that_trusts_the_host(host: Any) -> None:
    host.check_output(
        "systemd-run --unit=tls openssl s_server -accept 9443 -www -cert /etc/dirac/pki/host.pem "
        "-key /etc/dirac/pki/host.key"
    )
    try:
        said = host.check_output(
            "timeout 20 sh -c 'until ss -Hltn sport = :9443 | grep -q .; do sleep 0.1; done; "
            "openssl s_client -connect localhost:9443 -verify_return_error -verify_hostname localhost "
            "-CApath /etc/ssl/certs </dev/null 2>&1'"
        )
    finally:
        host.run("systemctl stop tls")
    assert "Verify return code: 0 (ok)" in said
