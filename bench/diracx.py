"""What operations cost here and in DiracX's published server, in the same run: CPU of both, and the ratio.

    python -m bench.diracx                                  # 20 000 jobs, MariaDB
    python -m bench.diracx --engine sqlite --jobs 100000
    python -m bench.diracx --at-a-time 8                    # servers that are kept busy

One process of each server, each with a private database server of the same kind. Both get the same requests
in the same order, through kept connections, with a token of their own, and take turns; where both answer with
jobs or counts, the answers are compared. The ratio is that of CPU, first in the server's process, then with
the database's added. Not in it: what a server does later, as ours, which then adds up its counters of jobs.

A server that waits for each request starts with cold caches, on a busy machine above all, which costs the
faster one relatively more; one that is kept busy does not. DiracX's environment is made if it is not there.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
from bench.published import ENGINES, diracx
from bench.served import Cost, Served, served
from bench.submission import JDL

GROUP = 1000  # jobs of a group, and of a step of filling
FATES = ("Failed", "Done", "Done", "Done", "Running")  # of one job after the other
TURNS = 10
_ADMINISTRATOR = "administrator"
_encode = msgspec.json.encode


class Side:
    """One of both servers, and what it was given.

    Args:
        server: It.
        limit: So many jobs it takes in one call; more go into several.
    """

    def __init__(self, server: Served, limit: int) -> None:
        self.server = server
        self.limit = limit
        self.running: list[int] = []
        self._submitted = itertools.count()
        self._reported = itertools.count()

    def submit(self, many: int) -> list[int]:
        """Submit so many jobs; return their numbers."""
        named = [(number, number // GROUP) for number in itertools.islice(self._submitted, many)]
        texts = [f'{JDL.format(number)}JobGroup = "{group:04}";\n' for number, group in named]
        answers = [
            self.server.post("/api/jobs/jdl", _encode(texts[start : start + self.limit]), status=201).json()
            for start in range(0, many, self.limit)
        ]
        return [job["JobID"] for answer in answers for job in answer]

    def fill(self) -> None:
        """Submit a group of jobs and let them end, run or fail."""
        jobs = self.submit(GROUP)
        fates = list(zip(jobs, itertools.cycle(FATES), strict=False))
        self._patch({job: {"Status": fate, "MinorStatus": "Filled"} for job, fate in fates}, "?force=true")
        self.running += [job for job, fate in fates if fate == "Running"]

    def report(self, many: int) -> None:
        """Report on so many of the jobs that run, each time on others, what is new."""
        number = next(self._reported)
        start = number % (len(self.running) // many) * many
        update = {
            "Status": "Running",
            "MinorStatus": ("Application", "Uploading output")[number % 2],
            "ApplicationStatus": f"{number} done",
            "Source": "bench",
        }
        self._patch(dict.fromkeys(self.running[start : start + many], update))

    def _patch(self, updates: dict[int, dict[str, str]], query: str = "") -> None:
        now = datetime.now(UTC).isoformat()
        body = _encode({str(job): {now: update} for job, update in updates.items()})
        answer = self.server.send("PATCH", f"/api/jobs/status{query}", body, _ADMINISTRATOR, 200)
        if len(answer.json()["success"]) != len(updates):
            sys.exit(f"{self.server.url} did not take all reports: {answer.text[:500]}")

    def search(self, body: dict[str, Any]) -> tuple[list[Any], str]:
        """Return name and status of the first hundred jobs that fit, and which of how many they are."""
        answer = self._ask("/api/jobs/search?page=1&per_page=100", body, 206)
        rows = [(row["JobName"], row["Status"], row["Owner"]) for row in answer.json()]
        return rows, answer.headers["Content-Range"]

    def summary(self, body: dict[str, Any]) -> set[tuple[Any, ...]]:
        """Return the groups and their counts."""
        rows = self._ask("/api/jobs/summary", body, 200).json()
        return {(*(row[name] for name in body["grouping"]), row["count"]) for row in rows}

    def _ask(self, path: str, body: dict[str, Any], status: int) -> httpx.Response:
        return self.server.post(path, _encode(body), _ADMINISTRATOR, status)


@dataclass(frozen=True)
class Operation:
    """What is measured: what is done, and how often in all."""

    title: str
    run: Callable[[Side], Any]
    times: int
    compared: bool = False


def _page(*conditions: tuple[str, str, Any], by: Sequence[str]) -> dict[str, Any]:
    return {
        "search": [{"parameter": name, "operator": word, "value": value} for name, word, value in conditions],
        "sort": [{"parameter": name, "direction": "desc"} for name in by],
    }


def operations(times: int) -> list[Operation]:
    """Return what is measured, in order: first what needs the jobs as they were filled in."""
    newest = _page(("Status", "eq", "Failed"), ("Owner", "eq", "alice"), by=["JobID"])
    group = _page(("JobGroup", "eq", "0007"), ("Status", "neq", "Done"), by=["Status", "JobID"])
    everything = {"grouping": ["Status", "Site"]}
    some = {"grouping": ["MinorStatus"], "search": [newest["search"][0]]}
    few = max(times // 5, TURNS)
    return [
        Operation("search: newest 100 failed", lambda side: side.search(newest), times, compared=True),
        Operation("search: 100 of a job group", lambda side: side.search(group), times, compared=True),
        Operation("summary by status and site", lambda side: side.summary(everything), times, compared=True),
        Operation("summary of what failed", lambda side: side.summary(some), times, compared=True),
        Operation("status of 1 job", lambda side: side.report(1), times),
        Operation("status of 100 jobs in one call", lambda side: side.report(100), few),
        Operation("submit 1 job", lambda side: side.submit(1), times),
        Operation("submit 20 jobs in one call", lambda side: side.submit(20), few),
        Operation("submit 100 jobs", lambda side: side.submit(100), few),
    ]


def measure(operation: Operation, both: tuple[Side, Side], at_a_time: int) -> list[Cost]:
    """Let both do it in turns; return what it costs each."""
    answers = [operation.run(side) for side in both]
    if operation.compared and answers[0] != answers[1]:
        sys.exit(f"{operation.title}: the answers differ\nours:   {answers[0]}\nDiracX: {answers[1]}")
    costs = {side: Cost(0.0, 0.0) for side in both}
    times = max(operation.times // TURNS, at_a_time)
    with ThreadPoolExecutor(at_a_time) as clients:
        for turn in range(TURNS):
            for side in both if turn % 2 else reversed(both):
                asked = [side] * times
                _ = list(clients.map(operation.run, asked[:at_a_time]))
                cost = side.server.cost(lambda asked=asked: list(clients.map(operation.run, asked)), 1)
                costs[side] += cost.per(times)
    return [costs[side].per(TURNS) for side in both]


def fill(both: tuple[Side, Side], count: int) -> int:
    """Give both so many jobs, at least what the searches look for; return how many."""
    groups = max(count // GROUP, 8)
    for number in range(groups):
        for side in both:
            side.server.renew()
            side.fill()
        print(f"\r{(number + 1) * GROUP:>10} jobs in both", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for side in both:
        side.server.renew()
        side.server.rest()
    return groups * GROUP


HEAD = (
    "| operation | CPU ms ours | CPU ms DiracX | ratio | database ours | database DiracX | ratio with it "
    "| wall ms ours | wall ms DiracX |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def row(title: str, ours: Cost, theirs: Cost) -> str:
    """Return a line of the table."""
    alone = theirs.cpu / ours.cpu
    together = (theirs.cpu + theirs.database) / (ours.cpu + ours.database)
    cpu, database, wall = (
        f"{1000 * mine:.2f} | {1000 * others:.2f}"
        for mine, others in (
            (ours.cpu, theirs.cpu),
            (ours.database, theirs.database),
            (ours.wall, theirs.wall),
        )
    )
    return f"| {title} | {cpu} | {alone:.1f} | {database} | {together:.1f} | {wall} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=ENGINES, default="mariadb", help="database of both")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs that are there (default 20000)")
    parser.add_argument("--times", type=int, default=300, help="calls of what is cheap (default 300)")
    parser.add_argument("--at-a-time", type=int, default=1, help="requests at a time (default 1)")
    given = parser.parse_args()
    with served(given.engine) as ours, diracx(given.engine) as theirs:
        both = Side(ours, limit=GROUP), Side(theirs, limit=20)
        jobs = fill(both, given.jobs)
        print(
            f"{given.engine} for both, {jobs} jobs, {given.at_a_time} at a time; all per operation\n\n{HEAD}"
        )
        for operation in operations(given.times):
            if not (theirs.no_search and operation.title.startswith("search")):
                print(row(operation.title, *measure(operation, both, given.at_a_time)), flush=True)
    print("\nDiracX takes at most 20 jobs in one call: 100 are five calls there and one here.")
    print("There, a job stays as it came in; here it is checked, put into its class and waits for a pilot.")
    if theirs.no_search:
        print(f"DiracX's search was not measured: {theirs.no_search}")


if __name__ == "__main__":
    main()
