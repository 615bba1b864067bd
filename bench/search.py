"""Searches and summaries among many jobs: CPU of the server per operation, and how long a caller waits.

    python -m bench.search                                  # a million jobs, SQLite
    python -m bench.search --jobs 10000000 --engine postgresql
    python -m bench.search --url postgresql://u:p@h/db      # filled up, and kept

Requests go through the whole application (token, policy, JSON in and out), without a socket. CPU is that of
this process: of the server alone, but for SQLite, which works in it. Private servers are those of the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from bench.served import ENGINES, databases
from sqlalchemy import Connection, func, select, text

from dirac.db.engine import Database, DatabaseUnits
from dirac.db.schema import migrate
from dirac.server.schema import LOCATIONS
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.api import jobs as routes
from dirac.systems.workload.logic.counting import Counting
from dirac.systems.workload.logic.queries import Queries
from dirac.systems.workload.logic.submission import Submission
from dirac.systems.workload.store.tables import jobs
from dirac.systems.workload.store.unit import WorkloadUnit
from dirac.transport.server import create_app

BATCH = 250_000
ROUNDS = 60
# One user has four jobs of five, sites and states are uneven, a thousand jobs are a group: as in data/.
STATES = (
    "CASE WHEN n % 100 < 60 THEN 'Done' WHEN n % 100 < 85 THEN 'Waiting' WHEN n % 100 < 93 THEN 'Running' "
    "WHEN n % 100 < 98 THEN 'Failed' ELSE 'Killed' END"
)
COLUMNS = {
    "job_id": "n",
    "vo": "CASE WHEN n % 10 < 9 THEN 'astro' ELSE 'bio' END",
    "owner_sub": "CASE WHEN n % 5 < 4 THEN 'prod' ELSE {user} END",
    "owner": "CASE WHEN n % 5 < 4 THEN 'prod' ELSE {user} END",
    "owner_group": "CASE WHEN n % 5 < 4 THEN 'production' ELSE 'users' END",
    "class_id": "n % 501 + 1",
    "status": STATES,
    "minor_status": "CASE WHEN n % 7 < 5 THEN 'Execution Complete' ELSE 'Application Failed' END",
    "application_status": "'Unknown'",
    "site": "CASE WHEN n % 3 = 0 THEN 'LCG.CERN.ch' ELSE {site} END",
    "job_name": "'job'",
    "job_group": "{group}",
    "job_type": "CASE WHEN n % 5 < 4 THEN 'MCSimulation' ELSE 'User' END",
    "user_priority": "1",
    "attempt": "1",
    "reschedule_counter": "0",
    "submission_time": "{time}",
    "last_update_time": "{time}",
    "verified_flag": "{true}",
    "accounted_flag": "{false}",
}
SERIES = {
    "postgresql": "generate_series({first}, {last}) AS t(n)",
    "mariadb": "(SELECT seq AS n FROM seq_{first}_to_{last}) t",
    "sqlite": "(WITH RECURSIVE t(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM t WHERE n < {last}) "
    "SELECT n FROM t)",
}
MOMENTS = {
    "postgresql": "TIMESTAMP '2026-01-01' + n * INTERVAL '1 second'",
    "mariadb": "TIMESTAMP('2026-01-01') + INTERVAL n SECOND",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 1767225600 + n, 'unixepoch')",
}


def _joined(dialect: str, prefix: str, number: str) -> str:
    return f"CONCAT('{prefix}', {number})" if dialect == "mariadb" else f"'{prefix}' || ({number})"


def _indexes(connection: Connection, verb: str) -> None:
    for index in jobs.indexes:
        getattr(index, verb)(connection, checkfirst=True)


async def fill(database: Database, begin: int, count: int) -> None:
    """Insert jobs as one would with years of patience, then let the counters be made right."""
    dialect = database.dialect
    whole = "n DIV 1000" if dialect == "mariadb" else "n / 1000"
    pieces = {
        "user": _joined(dialect, "user", "n % 211"),
        "site": _joined(dialect, "LCG.Site", "n % 61 * 53 % 61"),
        "group": _joined(dialect, "000", whole),
        "time": MOMENTS[dialect],
        "true": "true" if dialect == "postgresql" else "1",
        "false": "false" if dialect == "postgresql" else "0",
    }
    triggers = "ALTER TABLE workload_job {} TRIGGER USER"
    async with database.engine.begin() as connection:
        await connection.run_sync(_indexes, "drop")
        if dialect == "postgresql":
            await connection.execute(text(triggers.format("DISABLE")))
    values = ", ".join(value.format(**pieces) for value in COLUMNS.values())
    for first in range(begin + 1, count + 1, BATCH):
        series = SERIES[dialect].format(first=first, last=min(first + BATCH - 1, count))
        statement = f"INSERT INTO workload_job ({', '.join(COLUMNS)}) SELECT {values} FROM {series}"
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql(
                statement.replace("%", "%%") if dialect == "mariadb" else statement
            )
            await connection.execute(text("DELETE FROM workload_count_change"))
        print(f"\r{min(first + BATCH - 1, count):>10} jobs", end="", flush=True)
    async with database.engine.begin() as connection:
        await connection.run_sync(_indexes, "create")
        if dialect == "postgresql":
            await connection.execute(text(triggers.format("ENABLE")))
    async with database.engine.connect() as connection:
        raw = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in {"mariadb": ["ANALYZE TABLE workload_job"]}.get(dialect, ["ANALYZE workload_job"]):
            await raw.execute(text(statement))
    begun = time.monotonic()
    wrong = await Counting(DatabaseUnits(database, WorkloadUnit)).repair()
    print(f"\rcounters made right in {time.monotonic() - begun:.1f} s: {wrong}")


def _caller(properties: frozenset[Property], sub: str) -> Identity:
    expires = datetime(2100, 1, 1, tzinfo=UTC)
    return Identity(
        vo="astro",
        sub=sub,
        username=sub,
        group="users",
        properties=properties,
        kind="user",
        token_id="t",
        expires=expires,
    )


CALLERS = {
    "admin": _caller(frozenset({Property.JOB_ADMINISTRATOR}), "boss"),
    "user": _caller(frozenset({Property.NORMAL_USER}), "user17"),
}


def application(database: Database) -> Any:
    """Return the application with the routes of jobs."""

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        yield

    async def authenticate(token: str) -> Identity:
        return CALLERS[token]

    units = DatabaseUnits(database, WorkloadUnit)
    return create_app(
        (routes.router,),
        provided={Queries: Queries(units), Submission: None},
        authenticate=authenticate,
        lifespan=lifespan,
        version="bench",
    )


def request(
    app: Any, caller: str, path: str, query: str, body: Any
) -> Callable[[], Awaitable[tuple[int, bytes]]]:
    """Return a function that sends a request and returns the status and the body of the answer."""
    content = msgspec.json.encode(body)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"authorization", f"Bearer {caller}".encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def send_it() -> tuple[int, bytes]:
        answer: list[Any] = [0, b""]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer[0] = message["status"]
            else:
                answer[1] += message.get("body", b"")

        await app(dict(scope), receive, send)
        return answer[0], answer[1]

    return send_it


def _condition(parameter: str, operator: str, value: Any) -> dict[str, Any]:
    return {
        "parameter": parameter,
        "operator": operator,
        "values" if operator.endswith("in") else "value": value,
    }


def cases(count: int) -> list[tuple[str, str, str, str, dict[str, Any]]]:
    """Return what is measured: title, caller, path, query and body."""
    failed = _condition("Status", "eq", "Failed")
    at_site = _condition("Site", "eq", "LCG.Site7")
    new, old = [{"parameter": "JobID", "direction": "desc"}], [{"parameter": "JobID", "direction": "asc"}]
    page, search, summary = "per_page=100", "/api/jobs/search", "/api/jobs/summary"
    either = {"or": [_condition("Status", "eq", "Killed"), _condition("JobGroup", "eq", "0007")]}
    return [
        (
            "failed at a site, newest first",
            "admin",
            search,
            page + "&cursor=",
            {"search": [failed, at_site], "sort": new},
        ),
        (
            "the same, first page with a total",
            "admin",
            search,
            page,
            {"search": [failed, at_site], "sort": new},
        ),
        (
            "a group of jobs, oldest first",
            "admin",
            search,
            page + "&cursor=",
            {"search": [_condition("JobGroup", "eq", "0005")], "sort": old},
        ),
        (
            "running in the middle, by number",
            "admin",
            search,
            page + "&cursor=",
            {
                "search": [_condition("Status", "eq", "Running"), _condition("JobID", "gt", count // 2)],
                "sort": old,
            },
        ),
        ("one of two conditions", "admin", search, page + "&cursor=", {"search": [either], "sort": new}),
        (
            "not done, by status and number",
            "admin",
            search,
            page + "&cursor=",
            {
                "search": [{"not": _condition("Status", "eq", "Done")}],
                "sort": [{"parameter": "Status"}, *old],
            },
        ),
        (
            "failed, by site and number",
            "admin",
            search,
            page + "&cursor=",
            {"search": [failed], "sort": [{"parameter": "Site"}, *old]},
        ),
        ("a user's failed jobs", "user", search, page, {"search": [failed], "sort": new}),
        ("summary by status and site", "admin", summary, "", {"grouping": ["Status", "Site"]}),
        ("summary by owner and status", "admin", summary, "", {"grouping": ["Owner", "Status"]}),
        (
            "minor statuses of what failed",
            "admin",
            summary,
            "",
            {"grouping": ["MinorStatus"], "search": [failed]},
        ),
        ("a user's summary by site", "user", summary, "", {"grouping": ["Site", "Status"]}),
    ]


async def measure(database: Database, count: int) -> None:
    app = application(database)
    print(f"{database.dialect}, {count} jobs, {ROUNDS} requests each\n")
    print(f"{'':44}{'CPU ms':>8}{'median ms':>11}{'p95 ms':>8}  answer")
    for title, caller, path, query, body in cases(count):
        send = request(app, caller, path, query, body)
        for _ in range(3):
            status, content = await send()
        walls, begun = [], time.process_time()
        for _ in range(ROUNDS):
            start = time.perf_counter()
            await send()
            walls.append((time.perf_counter() - start) * 1000)
        cpu = (time.process_time() - begun) / ROUNDS * 1000
        rows = msgspec.json.decode(content)
        said = f"{status}, {len(rows)} rows" if isinstance(rows, list) else f"{status}, {rows['detail']}"
        p95 = statistics.quantiles(walls, n=20)[-1]
        print(f"{title:44}{cpu:8.2f}{statistics.median(walls):11.2f}{p95:8.1f}  {said}")


@contextmanager
def place(arguments: argparse.Namespace) -> Iterator[str]:
    """Give the address of a database."""
    if arguments.url:
        yield arguments.url
    else:
        with (
            tempfile.TemporaryDirectory(prefix="dirac-bench-") as folder,
            databases(arguments.engine, Path(folder)) as made,
        ):
            yield made.create()


async def main() -> None:
    """Fill what is not full, and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=ENGINES, default="sqlite")
    parser.add_argument("--url", help="a database of one's own, which is filled and kept")
    arguments = parser.parse_args()
    with place(arguments) as url:
        database = Database(url)
        await migrate(database, LOCATIONS)
        async with database.read() as tx:
            count = (await tx.execute(select(func.count()).select_from(jobs))).scalar_one()
        if count < arguments.jobs:
            await fill(database, count, arguments.jobs)
            count = arguments.jobs
        await measure(database, count)
        await database.close()


if __name__ == "__main__":
    asyncio.run(main())
