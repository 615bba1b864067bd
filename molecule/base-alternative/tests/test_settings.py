# SPDX-License-Identifier: GPL-3.0-or-later
"""Other settings reach the host."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import pytest


@pytest.fixture(params=[7001, 7002])
def listener(host: Any, request: Any) -> Any:
    """A port on which the host listens."""
    port = request.param
    program = f"import socket; s = socket.create_server(('', {port}))\nwhile True: s.accept()[0].close()"
    host.check_output("systemd-run --unit=listener-%s python3 -c %s", str(port), program)
    host.check_output(
        "timeout 20 sh -c %s", f"until ss -Hltn 'sport = :{port}' | grep -q .; do sleep 0.1; done"
    )
    yield port
    host.run("systemctl stop listener-%s", str(port))


def _answers(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=2):
        return True
    return False


def test_user_and_its_home_have_their_names(host: Any) -> None:
    assert host.user("grid").home == "/srv/grid"
    assert not host.user("dirac").exists


def test_packages_and_updates_are_there(host: Any) -> None:
    assert host.package("jq").is_installed
    assert host.package("unattended-upgrades").is_installed
    assert "ntp.example.org" in host.file("/etc/chrony/sources.d/60-dirac.sources").content_string
    said = host.check_output("apt-config dump Unattended-Upgrade::Origins-Pattern")
    assert said.count("origin=") == 1
    assert "-security" in said


def test_host_trusts_the_further_authority(host: Any) -> None:
    host.check_output("openssl verify /usr/local/share/ca-certificates/dirac-extra-1.crt")


def test_port_for_a_group_is_open_to_its_hosts_and_a_port_for_all_to_all(host: Any, listener: int) -> None:
    variables = host.ansible.get_variables()
    outside = _answers(variables["ansible_host"], listener)
    assert outside is (listener == 7002)
    rules = host.check_output("nft list table inet dirac")
    assert "10.0.0.0/8" in rules
    assert "udp dport 7003-7004" in rules


def test_what_another_program_filters_is_left_alone(host: Any) -> None:
    host.check_output("nft add table inet other")
    host.check_output("systemctl reload dirac-firewall")
    assert "table inet other" in host.check_output("nft list tables")
    host.check_output("nft delete table inet other")
