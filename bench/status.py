"""What reports on jobs cost: one call with a report on each of so many jobs, through HTTP with a token.

python -m bench.status [--engines sqlite,postgresql]
"""

from __future__ import annotations

import argparse
import itertools
from datetime import UTC, datetime

import msgspec
from bench.served import ENGINES, Served, served
from bench.submission import HEAD, JDL, row

_STEPS = (("Running", "Application"), ("Running", "Uploading output"))


def measure(server: Served, engine: str, times: int) -> None:
    """Print the figures of one engine."""
    body = msgspec.json.encode([JDL.format(number) for number in range(1000)])
    jobs = [job["JobID"] for job in server.post("/api/jobs/jdl", body, status=201).json()]
    server.send("PATCH", "/api/jobs/status?force=true", _reports(jobs, 0), "administrator", 200)
    number = itertools.count(1)

    def report(some: list[int]) -> None:
        answer = server.send("PATCH", "/api/jobs/status", _reports(some, next(number)), "administrator", 200)
        if len(answer.json()["success"]) != len(some):
            raise SystemExit(answer.text[:500])

    for many, rounds in ((1, times), (100, max(times // 5, 20)), (1000, max(times // 50, 5))):
        some = jobs[:many]
        cost = server.cost(lambda some=some: report(some), rounds, warm=5)
        print(row(engine, f"report on {many} in one call", cost.cpu, cost.wall, many))


def _reports(jobs: list[int], number: int) -> bytes:
    status, minor = _STEPS[number % 2]
    now = datetime.now(UTC).isoformat()
    update = {
        "Status": status,
        "MinorStatus": minor,
        "ApplicationStatus": f"{number} done",
        "Source": "bench",
    }
    return msgspec.json.encode({str(job): {now: update} for job in jobs})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", default="sqlite,postgresql", help=f"some of {', '.join(ENGINES)}")
    parser.add_argument("--times", type=int, default=300, help="calls with one job")
    given = parser.parse_args()
    print(HEAD)
    for engine in given.engines.split(","):
        with served(engine) as server:
            measure(server, engine, given.times)


if __name__ == "__main__":
    main()
