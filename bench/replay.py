"""Plays one day of a large production in virtual time against the real code, and says what came of it.

    python -m bench.replay                   # a hundredth of 872 000 jobs, on SQLite
    python -m bench.replay --scale 1         # all of them; takes hours

`tests/simulation/day.py` says what of it is from published figures and what is assumed. CPU is that of this
process while it is in the server's code, SQLite included; most calls are one pilot's, without HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.server.schema import LOCATIONS
from dirac.testing.time import FakeClock
from tests.simulation.day import Day, Report


async def replay(scale: float, seed: int, place: Path) -> Report:
    """Play a day."""
    clock = FakeClock()
    database = Database(f"sqlite:///{place / 'replay.db'}", clock=clock)
    try:
        await migrate(database, LOCATIONS)
        return await Day(database, clock, place / "objects", scale, seed).play()
    finally:
        await database.close()


def main() -> int:
    """Play, print, and fail if something was not as it must be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scale", type=float, default=0.01, help="part of the jobs and pilots (default 0.01)"
    )
    parser.add_argument("--seed", type=int, default=1, help="another one is another day (default 1)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dirac-replay-") as place:
        report = asyncio.run(replay(given.scale, given.seed, Path(place)))
    print(report)
    print("\n".join(report.faults[:100]))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
