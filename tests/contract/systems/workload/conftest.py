"""The workload system on each database."""

from __future__ import annotations

from pathlib import Path

import pytest

from dirac.db.engine import Database
from dirac.testing.time import FakeClock

from .support import Room


@pytest.fixture
def room(database: Database, tmp_path: Path, clock: FakeClock) -> Room:
    """The first half of the system."""
    return Room(database, tmp_path / "objects", clock)
