"""Measures what README promises, on a demo installation, and prints the table.

    python3 -m bench.figures            # on .demo, which bin/demo has made; all but the first bin/demo
    python3 -m bench.figures --fresh    # bin/demo twice in a directory of its own, then all the rest there

Times are what a clock on the wall says, CPU is user and system time of the child process (getrusage).
The standard library is enough.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
JDL = 'Executable = "/bin/echo"; Arguments = "hello"; OutputSandbox = {"std.out"};'
REPEAT = 7


class Figure(NamedTuple):
    """A row of the table: what, how much at most, and what was measured (None: not measured)."""

    what: str
    goal: float
    measured: float | None
    unit: str = "s"

    def row(self) -> str:
        found = "not measured" if self.measured is None else f"{self.measured:.2f} {self.unit}"
        return f"| {self.what} | {self.goal:g} {self.unit} | {found} |"


class Demo:
    """An installation that bin/demo has made, or is to make."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self.state = root / "server"
        self.bin = root / "environment" / "current" / "bin"

    def environment(self) -> dict[str, str]:
        """Return the environment of a user; without what would keep Python from compiling."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DIRAC_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return kept | {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "DIRAC_URL": f"http://127.0.0.1:{self.port}",
            "DIRAC_CREDENTIALS": str(self.root / "figures-credentials.json"),
            "DIRAC_DEMO_PASSWORDS": str(self.state / "secrets" / "passwords.json"),
            "DIRAC_DEMO_ROOT": str(self.root),
            "DIRAC_DEMO_PORT": str(self.port),
        }

    def run(self, *words: str | Path, given: str | None = None, cwd: Path | None = None) -> str:
        """Run a program and return its standard output; end the measurements if it fails."""
        done = subprocess.run(
            [str(word) for word in words],
            env=self.environment(),
            input=given,
            cwd=cwd,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}")
        return done.stdout

    def set_up(self) -> float:
        """Run bin/demo; return the seconds it takes."""
        began = time.monotonic()
        self.run(CHECKOUT / "bin" / "demo")
        return time.monotonic() - began

    def start_server(self) -> float:
        """Stop the server and start it; return the seconds from its start until it answers."""
        settings = self.state / "dirac.toml"
        self.run(self.bin / "dirac-server", "stop", "-s", settings)
        answer = json.loads(self.run(self.bin / "dirac-server", "up", "-s", settings, "--json"))
        return float(answer["ready_after_seconds"])

    def submit(self) -> int:
        """Submit a job that says hello; return its number."""
        return int(json.loads(self.run("dirac", "job", "submit", "-", "--json", given=JDL))[0]["JobID"])

    def round_trip(self) -> float:
        """Return the seconds from submission to output of one job, by the commands, with a pilot waiting."""
        with tempfile.TemporaryDirectory() as place:
            # The pilot that has just run this one waits for the next.
            self.run("dirac", "job", "wait", str(self.submit()))
            began = time.monotonic()
            job = str(self.submit())
            self.run("dirac", "job", "wait", job)
            self.run("dirac", "job", "output", job, cwd=Path(place))
            taken = time.monotonic() - began
            if (Path(place) / job / "std.out").read_text() != "hello\n":
                sys.exit(f"job {job} did not say hello")
        return taken

    def pilot_set_ups(self) -> list[float]:
        """Return for each pilot the seconds from its start to its first match.

        The start is in the pilot's report. The answer to the first request that brought a job is an event of
        the server, so this is a little more than asked for. Pilots are started because there is work: the
        first request brings a job, unless another pilot was faster, and such a pilot tells nothing.
        """
        first = self._first_matches()
        found = []
        for file in self.root.glob("pilots/**/pilot-report.json"):
            report = json.loads(file.read_text())
            matched = first.get(report.get("pilot_stamp", ""))
            if matched is not None:
                found.append((matched - _moment(report["started"])).total_seconds())
        return found

    def _first_matches(self) -> dict[str, datetime]:
        with contextlib.closing(sqlite3.connect(self.state / "dirac.db", timeout=30)) as database:
            rows = database.execute(
                "SELECT actor, min(time) FROM event"
                " WHERE kind = 'workload.job.status' AND actor LIKE '%:pilot:%' GROUP BY actor"
            ).fetchall()
        return {actor.rpartition(":")[2]: _moment(when) for actor, when in rows}

    def cpu(self, *words: str) -> float:
        """Return the CPU seconds of a command, the median of some runs after one that compiles."""
        costs = []
        for _ in range(REPEAT + 1):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.run(*words)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            costs.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        return statistics.median(costs[1:])


def _moment(value: str) -> datetime:
    """Return a moment, which is in UTC when it does not say where."""
    moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def measure(demo: Demo, set_ups: Mapping[str, float | None]) -> list[Figure]:
    """Return all figures of an installation that runs."""
    ready = demo.start_server()
    demo.run("dirac", "login", "astro", "--demo-user", "alice")
    round_trip = statistics.median(demo.round_trip() for _ in range(3))
    pilots = demo.pilot_set_ups()
    job = str(demo.submit())
    return [
        Figure("first `bin/demo`, with downloads", 120, set_ups["first"]),
        Figure("second `bin/demo`", 20, set_ups["second"]),
        Figure("server ready after its start", 2, ready),
        Figure("submission to output of one `echo`, a pilot waiting", 3, round_trip),
        Figure("pilot, process start to first match", 2, statistics.median(pilots) if pilots else None),
        Figure("`dirac --help`", 0.25, demo.cpu("dirac", "--help"), "s CPU"),
        Figure("`dirac job status ID`", 0.25, demo.cpu("dirac", "job", "status", job), "s CPU"),
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _arguments(words: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=CHECKOUT / ".demo", help="the demo (default .demo)")
    parser.add_argument("--port", type=int, default=8912, help="its port (default 8912)")
    parser.add_argument(
        "--fresh", action="store_true", help="make a demo of its own, and remove it afterwards"
    )
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    arguments = _arguments(words)
    if arguments.fresh:
        place = Path(tempfile.mkdtemp(prefix="dirac-figures-"))
        demo = Demo(place / "demo", _free_port())
        try:
            set_ups: dict[str, float | None] = {"first": demo.set_up(), "second": demo.set_up()}
            figures = measure(demo, set_ups)
            demo.run(CHECKOUT / "bin" / "demo", "--remove")
        finally:
            shutil.rmtree(place, ignore_errors=True)
    else:
        demo = Demo(arguments.root.resolve(), arguments.port)
        figures = measure(demo, {"first": None, "second": demo.set_up()})
    print("| figure | at most | measured |\n|---|---:|---:|")
    print("\n".join(figure.row() for figure in figures))


if __name__ == "__main__":
    main()
