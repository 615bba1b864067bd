"""The workload system on each database."""

from __future__ import annotations

from pathlib import Path

import pytest

from dirac.db.engine import Database
from dirac.testing.time import FakeClock

from .support import Room
from .support_running import Hall


@pytest.fixture
def room(database: Database, tmp_path: Path, clock: FakeClock) -> Room:
    """The first half of the system."""
    return Room(database, tmp_path / "objects", clock)


@pytest.fixture
def hall(database: Database, tmp_path: Path, clock: FakeClock) -> Hall:
    """Both halves of the system."""
    return Hall(database, tmp_path / "objects", clock)
