"""Servers in processes of their own, for benchmarks: started, given a configuration, asked, and watched.

What is measured is the CPU time of the server's process, user and system of all its threads, without what it
uses when nobody asks: it says what an operation costs, though a machine that is busy with other things makes
that more, too. The CPU time of a database that is a process of its own, and what a clock says, are beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.server.control import make_master_key
from dirac.server.schema import LOCATIONS
from dirac.server.settings import DatabaseSettings, Http, Settings
from tests.acceptance.installation import eventually, free_port
from tests.acceptance.served import TREE
from tests.acceptance.tokens import mint_all
from tests.services import mariadb, postgresql
from tests.services.packages import obtain

ENGINES = ("sqlite", "postgresql", "mariadb")
INTERPRETER = [sys.executable]
_PAUSE = 3.0  # seconds
_REST = 10.0  # seconds
_MOST_RESTS = 12
_BUSY = 0.02  # of a processor
_KEPT = 60.0  # seconds, fewer than servers keep a connection
_CHILDREN = slice(13, 15)  # in /proc/PID/stat: user and system time of children that have ended
_TICK = os.sysconf("SC_CLK_TCK")
_LOG_TAIL = 2000  # characters


@dataclass(frozen=True)
class Cost:
    """What an operation took, in seconds.

    Attributes:
        cpu: Of the server's process.
        wall: By the clock.
        database: Of CPU of the database's processes; 0 if the database is in the server's.
    """

    cpu: float
    wall: float
    database: float = 0.0

    def per(self, number: float) -> Cost:
        """Return the share of one of so many."""
        return Cost(self.cpu / number, self.wall / number, self.database / number)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall, self.database + other.database)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used, user and system, without its children's."""
    # The clock of a process, numbered as clock_getcpuclockid(3) does: exact, where /proc counts ticks.
    return time.clock_gettime((~pid << 3) | 2)


def cpu_below(pid: int) -> float:
    """Return the CPU seconds of a process and of all that descend from it, also of those that have ended."""
    total, found = 0.0, [pid]
    for each in found:
        with contextlib.suppress(OSError):  # it has just ended, and its parent counts it
            found += _children(each)
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += cpu_of(each) + sum(int(field) for field in fields[_CHILDREN]) / _TICK
    return total


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def peak_of(pid: int) -> int:
    """Return the most memory that a process has held at once, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Served:
    """A server that runs.

    Args:
        pid: Its process.
        url: Where it answers.
        log_in: Returns access tokens by who has them.
        database: The process that serves its database, if that is another one.

    Attributes:
        client: Keeps connections to it.
        tokens: What `log_in` has returned.
    """

    def __init__(
        self, pid: int, url: str, log_in: Callable[[], dict[str, str]], database: int | None = None
    ) -> None:
        self.pid = pid
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=600, limits=httpx.Limits(keepalive_expiry=_KEPT))
        self._log_in = log_in
        self.tokens = log_in()
        self._database = database
        self._idle = Cost(0.0, 0.0)

    def renew(self) -> None:
        """Get new tokens: they last for twenty minutes, filling a database may take longer."""
        self.tokens = self._log_in()

    def rest(self) -> None:
        """Find out what the server uses while nobody asks it anything; it is not counted from then on.

        A database that was just filled is busy for a while, which would be taken for its rest.
        """
        time.sleep(_PAUSE)
        for _ in range(_MOST_RESTS):
            before = self._spent()
            time.sleep(_REST)
            after = self._spent()
            self._idle = Cost(after.cpu - before.cpu, 0.0, after.database - before.database).per(_REST)
            if self._idle.database < _BUSY:
                break

    def _spent(self) -> Cost:
        database = cpu_below(self._database) if self._database else 0.0
        return Cost(cpu_of(self.pid), time.perf_counter(), database)

    def headers(self, who: str = "user") -> dict[str, str]:
        """Return the headers of somebody's requests."""
        return {"Authorization": f"Bearer {self.tokens[who]}", "Content-Type": "application/json"}

    def cost(self, operation: Callable[[], object], times: int, *, warm: int = 0) -> Cost:
        """Return what one operation takes on the average."""
        for _ in range(warm):
            operation()
        before = self._spent()
        for _ in range(times):
            operation()
        after = self._spent()
        taken, idle = after.wall - before.wall, self._idle
        cpu = after.cpu - before.cpu - taken * idle.cpu
        return Cost(cpu, taken, after.database - before.database - taken * idle.database).per(times)

    def post(self, path: str, content: bytes, who: str = "user", status: int = 200) -> httpx.Response:
        """Send JSON and demand an answer."""
        return self.send("POST", path, content, who, status)

    def send(self, method: str, path: str, content: bytes, who: str, status: int) -> httpx.Response:
        """Send JSON and demand an answer."""
        answer = self.client.request(method, path, content=content, headers=self.headers(who))
        if answer.status_code != status:
            sys.exit(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer


class Ours(Served):
    """An installation of ours that runs.

    Attributes:
        settings: Its settings.
    """

    def __init__(self, pid: int, settings: Settings, database: int | None) -> None:
        super().__init__(pid, settings.http.url, lambda: mint_all(settings), database)
        self.settings = settings


@dataclass(frozen=True)
class Databases:
    """Where databases are made.

    Attributes:
        create: Makes an empty one, returns its URL.
        pid: The process that serves them, if they are not files.
    """

    create: Callable[[], str]
    pid: int | None = None


@contextlib.contextmanager
def databases(engine: str, directory: Path) -> Iterator[Databases]:
    """Yield a place for databases of a kind, on a private server if it needs one.

    Args:
        engine: One of `ENGINES`.
        directory: For files.
    """
    if engine == "sqlite":
        files = iter(range(100))
        yield Databases(lambda: f"sqlite:///{directory / f'bench{next(files)}.db'}")
        return
    module, kind = {
        "postgresql": (postgresql, postgresql.PostgreSQL),
        "mariadb": (mariadb, mariadb.MariaDB),
    }[engine]
    with kind(obtain(module.PACKAGES)) as server:
        yield Databases(server.create_database, server.pids[0])


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Open one of our databases."""
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


@contextlib.contextmanager
def process(
    command: Sequence[str | Path], url: str, directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a server in a directory until the end; yield its process when it answers, whatever that is.

    What it prints goes to the file ``log`` there, whose end is shown if it does not answer.
    """
    log = directory / "log"
    with log.open("ab") as output:
        running = subprocess.Popen(command, stdout=output, stderr=output, cwd=directory, env=environment)
    try:
        eventually(lambda: running.poll() is not None or _answers(url), f"{command} answers")
        if running.poll() is not None:
            sys.exit(f"{command} ended with {running.returncode}:\n{log.read_text()[-_LOG_TAIL:]}")
        yield running.pid
    finally:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(5)
        running.terminate()  # ours drains until it is told a second time
        running.wait(30)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url).status_code < 500
    return False


@contextlib.contextmanager
def served(engine: str, fill: Callable[[Database], Awaitable[None]] | None = None) -> Iterator[Ours]:
    """Run a new installation of ours on an engine.

    Args:
        engine: One of `ENGINES`.
        fill: Puts something into its database before it starts.
    """
    with (
        tempfile.TemporaryDirectory(prefix="dirac-bench-") as place,
        databases(engine, Path(place)) as made,
    ):
        url, port = made.create(), free_port()
        settings = Settings(
            state=place,
            http=Http(url=f"http://127.0.0.1:{port}", port=port),
            database=DatabaseSettings(url=url),
        )
        make_master_key(settings)
        asyncio.run(_prepare(url, fill))
        file = Path(place) / "dirac.toml"
        file.write_text(
            f'state = "{place}"\n[http]\nurl = "{settings.http.url}"\nport = {port}\n'
            f'[database]\nurl = "{url}"\n'
        )
        command = [*INTERPRETER, "-m", "dirac.server.main", "run", "--settings", str(file)]
        with process(command, f"{settings.http.url}/api/health/live", Path(place)) as pid:
            running = Ours(pid, settings, made.pid)
            with running.client as client:
                tree, operator = {"text": TREE}, running.headers("operator")
                client.post("/api/config/apply", json=tree, headers=operator).raise_for_status()
                running.rest()
                yield running


async def _prepare(url: str, fill: Callable[[Database], Awaitable[None]] | None) -> None:
    async with opened(url) as database:
        await migrate(database, LOCATIONS)
        if fill is not None:
            await fill(database)
