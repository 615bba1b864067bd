# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment is whole, though the host has no package index."""

from __future__ import annotations

from typing import Any

ROOT = "/srv/environments"


def test_programs_run_for_everybody(host: Any) -> None:
    said = host.check_output(f"runuser -u nobody -- {ROOT}/current/bin/dirac-server --help")
    assert "Commands" in said


def test_all_packages_came_from_the_bundle(host: Any) -> None:
    host.check_output(f"{ROOT}/current/bin/python -c 'import celery, sqlalchemy, uvicorn, asyncmy'")
    asked = host.check_output("journalctl -u bundles -o cat --no-pager")
    assert asked.count("GET /one.tar.gz") == 1
    assert "two.tar.gz" not in asked


def test_nothing_else_is_left_there(host: Any) -> None:
    assert len(host.check_output(f"ls -A {ROOT}").split()) == 2  # the environment and the link to it
    assert not host.file("/opt/dirac/release").exists
