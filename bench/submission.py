"""What submissions cost: one job, a hundred and a hundred thousand in one call, through HTTP with a token.

python -m bench.submission [--engines sqlite,postgresql] [--huge 100000]
"""

from __future__ import annotations

import argparse
import itertools

import msgspec
from bench.served import ENGINES, Served, peak_of, served

JDL = (
    'Executable = "/bin/echo";\nArguments = "hello %j";\nJobName = "bench_{}";\nStdOutput = "std.out";\n'
    'StdError = "std.err";\nOutputSandbox = {{"std.out", "std.err"}};\nCPUTime = 3600;\n'
)
_encode = msgspec.json.encode


def measure(server: Served, engine: str, times: int, huge: int) -> None:
    """Print the figures of one engine."""
    number = itertools.count()

    def submit(many: int) -> bytes:
        return _encode([JDL.format(next(number)) for _ in range(many)])

    def once(many: int) -> None:
        server.post("/api/jobs/jdl", submit(many), status=201)

    server.cost(lambda: once(1), 100)
    for many, rounds in ((1, times), (100, max(times // 10, 20))):
        cost = server.cost(lambda many=many: once(many), rounds)
        print(row(engine, f"submit {many} in one call", cost.cpu, cost.wall, many))
    if huge:
        body = submit(huge)
        before = peak_of(server.pid)
        cost = server.cost(lambda: server.post("/api/jobs/jdl", body, status=201), 1)
        print(row(engine, f"submit {huge} in one call", cost.cpu, cost.wall, huge))
        print(f"    memory: {(peak_of(server.pid) - before) / 2**20:.0f} MiB more at its peak")


def row(engine: str, what: str, cpu: float, wall: float, many: int) -> str:
    """Return a line of the table."""
    return (
        f"| {engine:10} | {what:28} | {1000 * cpu:9.2f} | {1000 * wall:9.2f} "
        f"| {many / cpu:8.0f} | {many / wall:8.0f} |"
    )


HEAD = (
    "| engine | operation | CPU ms | wall ms | jobs per CPU second | jobs/s |\n|---|---|---:|---:|---:|---:|"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", default="sqlite,postgresql", help=f"some of {', '.join(ENGINES)}")
    parser.add_argument("--times", type=int, default=500, help="calls with one job")
    parser.add_argument("--huge", type=int, default=100_000, help="jobs of the largest call; 0 for none")
    given = parser.parse_args()
    print(HEAD)
    for engine in given.engines.split(","):
        with served(engine) as server:
            measure(server, engine, given.times, given.huge)


if __name__ == "__main__":
    main()
