# SPDX-License-Identifier: GPL-3.0-or-later
"""A steady load on a site, which counts what is refused: submissions, searches, single jobs, of two VOs.

Requests leave on time, whatever becomes of those before, and none is repeated. Half of them share a few
connections that are kept, the other half have a connection each. Runs until a file is there, or it is told
to end; then prints what happened as JSON. Every submitted job has a name of its own, kept for who wants to
know whether it ran, and how often.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import ssl
import sys
import time
from pathlib import Path

import httpx

PATIENCE = 30.0
KEPT = 24  # more than are under way at a time, or requests would wait for each other here
SUBMITTED = 39  # each so-manieth pair of requests: more jobs than two slots can run would prove nothing more
ROUND = ("search", "job", "search", "log", "search", "job", "search", "log", "search")
JDL = """\
Executable = "/bin/sh";
Arguments = "-c 'echo ran >> {record}/{name}; sleep {seconds}'";
JobName = "{name}";
CPUTime = 300;
"""


class Load:
    """The load.

    Args:
        given: The command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.tokens: dict[str, str] = json.loads(given.tokens.read_text())
        self.tls = ssl.create_default_context(cafile=str(given.ca))
        self.base = f"https://{given.address}"
        self.jobs: dict[str, list[int]] = {vo: [] for vo in self.tokens}
        self.names: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[dict[str, object]] = []
        self.slowest: list[tuple[float, float, str]] = []
        self.latencies: list[float] = []

    def client(self, limits: httpx.Limits) -> httpx.AsyncClient:
        """Return a client that repeats nothing."""
        return httpx.AsyncClient(
            base_url=self.base,
            transport=httpx.AsyncHTTPTransport(verify=self.tls, retries=0, limits=limits),
            timeout=PATIENCE,
            headers={"Host": self.given.server_name},
        )

    async def run(self) -> dict[str, object]:
        """Send requests until told to stop; returns what happened."""
        began = time.monotonic()
        kept = self.client(httpx.Limits(max_connections=KEPT, max_keepalive_connections=KEPT))
        under_way: set[asyncio.Task[None]] = set()
        number = 0
        while not self.given.stop.exists():
            task = asyncio.create_task(self.send(number, kept))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
            await asyncio.sleep(max(0.0, began + number / self.given.rate - time.monotonic()))
        await asyncio.gather(*under_way)
        await kept.aclose()
        latencies = sorted(self.latencies) or [0.0]
        return {
            "seconds": round(time.monotonic() - began, 1),
            "requests": number,
            "counts": dict(self.counts),
            "failed": len(self.failures),
            "failures": self.failures[:50],
            "latency_median": round(latencies[len(latencies) // 2], 3),
            "latency_99": round(latencies[int(len(latencies) * 0.99)], 3),
            "latency_max": round(latencies[-1], 3),
            "slowest": [
                [round(took, 2), round(at, 1), what] for took, at, what in sorted(self.slowest)[:-6:-1]
            ],
            "load_average": os.getloadavg()[0],
            "jobs": self.jobs,
            "names": self.names,
        }

    async def send(self, number: int, kept: httpx.AsyncClient) -> None:
        """Send one request; whatever is not the answer that it should have is a failure."""
        pair = number // 2
        what = ROUND[pair % len(ROUND)] if pair % SUBMITTED else "submit"
        vo = sorted(self.tokens)[number % len(self.tokens)]
        began, wall = time.monotonic(), time.time()
        try:
            if pair % 2:
                fault = await self.ask(kept, what, vo, number)
            else:
                async with self.client(httpx.Limits(max_keepalive_connections=0)) as fresh:
                    fault = await self.ask(fresh, what, vo, number)
        except httpx.HTTPError as error:
            fault = f"{type(error).__name__}: {error}"
        took = time.monotonic() - began
        self.latencies.append(took)
        self.slowest.append((took, wall, what))
        self.counts[what] += 1
        if fault:
            connection = "kept" if pair % 2 else "fresh"
            self.failures.append(
                {"at": wall, "what": what, "connection": connection, "fault": fault, "took": took}
            )

    async def ask(self, client: httpx.AsyncClient, what: str, vo: str, number: int) -> str:
        """Send a request; returns what is wrong with its answer, empty if nothing is."""
        known = self.jobs[vo]
        options = {
            "headers": {"Authorization": f"Bearer {self.tokens[vo]}"},
            "extensions": {"sni_hostname": self.given.server_name},
        }
        if what == "submit" or not known:
            name = f"{self.given.prefix}-{vo}-{number}"
            jdl = JDL.format(record=self.given.record, name=name, seconds=self.given.job_seconds)
            answer = await client.post("/api/jobs/jdl", json=[jdl], **options)
            if answer.status_code != 201:
                return f"{answer.status_code} {answer.text[:200]}"
            known.append(answer.json()[0]["JobID"])
            self.names.append(name)
            return ""
        job = known[-1]
        if what == "search":
            wanted = [{"parameter": "JobID", "operator": "eq", "value": job}]
            answer = await client.post(
                "/api/jobs/search", json={"parameters": ["JobID", "Status"], "search": wanted}, **options
            )
            good = answer.status_code == 200 and [row["JobID"] for row in answer.json()] == [job]
        else:
            answer = await client.get(f"/api/jobs/{job}/{'jdl' if what == 'job' else 'logging'}", **options)
            good = answer.status_code == 200 and bool(answer.json())
        return "" if good else f"{answer.status_code} {answer.text[:200]}"


def main() -> int:
    """Run the load; exit code 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, help="where the balancer listens")
    parser.add_argument("--server-name", required=True, help="name in its certificate")
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True, help='JSON: {"vo": "token", ...}')
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    parser.add_argument("--stop", type=Path, required=True, help="ends when this file is there")
    parser.add_argument("--prefix", default="load", help="of the jobs' names")
    parser.add_argument(
        "--record", default="/srv/record", help="where each job adds a line to a file of its name"
    )
    parser.add_argument("--job-seconds", type=float, default=0.1)
    facts = asyncio.run(Load(parser.parse_args()).run())
    json.dump(facts, sys.stdout)
    return 1 if facts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
