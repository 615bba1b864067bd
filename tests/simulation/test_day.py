"""A day of a large production, thinned; `bench/replay.py` plays as much of it as one likes."""

from __future__ import annotations

import shutil
from pathlib import Path

from dirac.db.engine import Database
from dirac.testing.time import FakeClock

from .day import Day

SCALE = 1 / 2000


async def test_a_day_of_a_large_production(tmp_path: Path, sqlite_template: Path) -> None:
    shutil.copy(sqlite_template, tmp_path / "test.db")
    clock = FakeClock()
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=clock)
    try:
        report = await Day(database, clock, tmp_path / "objects", SCALE).play()
    finally:
        await database.close()
    print(report)  # pytest shows it with -s
    assert not report.faults, "\n".join([str(report), *report.faults[:20]])
    assert report.jobs > 400
    assert report.matches >= report.jobs
    assert all(report.longest.get(group, 0) > 1 for group in ("mc", "data")), "groups never competed"
