"""The benchmarks run: what they measure is nobody's promise, that they measure is."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PATIENCE = 300.0
NAMES = sorted(path.stem for path in (CHECKOUT / "bench").glob("*.py"))


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_what_a_benchmark_uses_is_there(name: str) -> None:
    assert importlib.import_module(f"bench.{name}").__doc__


def test_submissions_are_measured() -> None:
    table = run("bench.submission", "--engines", "sqlite", "--times", "10", "--huge", "0")
    for what in ("submit 1 in one call", "submit 100 in one call"):
        cells = next(line for line in table.splitlines() if what in line).split("|")
        assert float(cells[3]) > 0, cells


def test_searches_are_measured() -> None:
    table = run("bench.search", "--jobs", "2000")
    assert "206, 100 rows" in next(line for line in table.splitlines() if "by status and number" in line)


def test_the_cleaning_of_sandboxes_is_measured() -> None:
    # A fiftieth of them belongs to each slot of time, one in a hundred to no job.
    assert "5000 sandboxes, 1200 due, 12 removed" in run("bench.sandboxes", "5000")


def test_large_configurations_are_measured() -> None:
    told = run("bench.configuration", "--vos", "3", "--users", "30", "--sites", "5")
    assert "3 VOs, 30 users, 5 sites: 9 files" in told
    for what in ("apply a user more", "apply a queue", "read as a member", "a login", "memory of a process"):
        assert sum(what in line for line in told.splitlines()) == 1, told
