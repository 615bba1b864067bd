# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare host after the role base."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any


def _answers(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=2):
        return True
    return False


def test_service_user_cannot_log_in(host: Any) -> None:
    user = host.user("dirac")
    assert user.home == "/var/lib/dirac"
    assert user.shell.endswith("/nologin")
    assert host.file("/var/lib/dirac").mode == 0o750


def test_new_service_may_have_many_files_open(host: Any) -> None:
    assert host.check_output("systemctl show -p DefaultLimitNOFILE --value") == "65536"


def test_firewall_lets_in_ssh_and_nothing_else(host: Any) -> None:
    address = host.ansible.get_variables()["ansible_host"]
    host.run("systemd-run --unit=listener python3 -m http.server 7005")
    with suppress(AssertionError):
        deadline = time.monotonic() + 10
        while not host.socket("tcp://0.0.0.0:7005").is_listening and time.monotonic() < deadline:
            time.sleep(0.2)
    try:
        assert host.socket("tcp://0.0.0.0:7005").is_listening
        assert _answers(address, 22)
        assert not _answers(address, 7005)
    finally:
        host.run("systemctl stop listener")


def test_firewall_is_loaded_again_at_boot(host: Any) -> None:
    assert host.service("dirac-firewall").is_enabled
    host.check_output("nft delete table inet dirac")
    host.check_output("systemctl restart dirac-firewall")
    assert "policy drop" in host.check_output("nft list table inet dirac")
