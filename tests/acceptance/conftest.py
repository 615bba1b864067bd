"""Installations for acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A running installation with two VOs and their users, shared by the tests of a module."""
    running = Installation(tmp_path_factory.mktemp("installation"))
    try:
        running.deploy()
        yield running
    finally:
        running.close()


@pytest.fixture
def fresh_installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """A running installation of its own, with options given by ``indirect`` parameters."""
    running = Installation(tmp_path / "installation", **getattr(request, "param", {}))
    try:
        running.deploy()
        yield running
    finally:
        running.close()
