"""What may never be in an environment of ours is in no lock of ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
_pinned = re.compile(r"^([a-z0-9.-]+)==", re.MULTILINE)


def packages(name: str) -> set[str]:
    return set(_pinned.findall((REQUIREMENTS / f"{name}.txt").read_text()))


@pytest.mark.parametrize("name", ["build", "deploy", "server", "test"])
def test_nothing_of_diracx_is_needed(name: str) -> None:
    assert [package for package in packages(name) if package.startswith(("diracx", "diraccommon"))] == []


def test_the_locks_of_diracx_have_what_they_are_for() -> None:
    assert "diracx-client" in packages("diracx")
    assert {"diracx-routers", "uvicorn", "uvloop"} <= packages("diracx-server")
