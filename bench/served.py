"""A server in a process of its own, for benchmarks: started, given a configuration, asked, and watched.

What is measured is the CPU time of the server's process, user and system of all its threads, without what it
uses when nobody asks: it says what an operation costs, though a machine that is busy with other things makes
that more, too. What a clock says is printed beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
_PAUSE = 3.0  # seconds
INTERPRETER = [sys.executable]
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What an operation took.

    Attributes:
        cpu: Seconds of the server's process.
        wall: Seconds by the clock.
    """

    cpu: float
    wall: float

    def per(self, number: float) -> Cost:
        """Return the share of one of so many."""
        return Cost(self.cpu / number, self.wall / number)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def peak_of(pid: int) -> int:
    """Return the most memory that a process has held at once, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Served:
    """A server that runs.

    Attributes:
        pid: Its process.
        tokens: Access tokens by who has them.
        client: A kept connection to it.
    """

    def __init__(self, pid: int, url: str, tokens: dict[str, str]) -> None:
        self.pid = pid
        self.url = url
        self.tokens = tokens
        self.client = httpx.Client(base_url=url, timeout=600)
        self._idle = 0.0

    def rest(self) -> None:
        """Find out what the server uses while nobody asks it anything; it is not counted from then on."""
        time.sleep(_PAUSE)
        begun = cpu_of(self.pid)
        time.sleep(_PAUSE)
        self._idle = (cpu_of(self.pid) - begun) / _PAUSE

    def headers(self, who: str = "user") -> dict[str, str]:
        """Return the headers of somebody's requests."""
        return {"Authorization": f"Bearer {self.tokens[who]}", "Content-Type": "application/json"}

    def cost(self, operation: Callable[[], object], times: int, *, warm: int = 0) -> Cost:
        """Return what one operation takes on the average."""
        for _ in range(warm):
            operation()
        cpu, wall = cpu_of(self.pid), time.perf_counter()
        for _ in range(times):
            operation()
        taken = time.perf_counter() - wall
        return Cost(cpu_of(self.pid) - cpu - taken * self._idle, taken).per(times)

    def post(self, path: str, content: bytes, who: str = "user", status: int = 200) -> httpx.Response:
        """Send JSON and demand an answer."""
        return self.send("POST", path, content, who, status)

    def send(self, method: str, path: str, content: bytes, who: str, status: int) -> httpx.Response:
        """Send JSON and demand an answer."""
        answer = self.client.request(method, path, content=content, headers=self.headers(who))
        if answer.status_code != status:
            sys.exit(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer


@contextlib.contextmanager
def database(engine: str, directory: Path) -> Iterator[str]:
    """Yield the URL of an empty database of a kind, on a private server if it needs one."""
    if engine == "sqlite":
        yield f"sqlite:///{directory / 'bench.db'}"
        return
    module = {"postgresql": postgresql, "mariadb": mariadb}[engine]
    kind = {"postgresql": postgresql.PostgreSQL, "mariadb": mariadb.MariaDB}[engine]
    with kind(obtain(module.PACKAGES)) as server:
        yield server.create_database()


@contextlib.contextmanager
def served(engine: str) -> Iterator[Served]:
    """Run a new installation on an engine.

    Args:
        engine: One of `ENGINES`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="dirac-bench-") as place,
        database(engine, Path(place)) as url,
    ):
        port = free_port()
        settings = Settings(
            state=place,
            http=Http(url=f"http://127.0.0.1:{port}", port=port),
            database=DatabaseSettings(url=url),
        )
        make_master_key(settings)
        asyncio.run(_migrate(url))
        file = Path(place) / "dirac.toml"
        file.write_text(
            f'state = "{place}"\n[http]\nurl = "{settings.http.url}"\nport = {port}\n'
            f'[database]\nurl = "{url}"\n'
        )
        process = subprocess.Popen(
            [*INTERPRETER, "-m", "dirac.server.main", "run", "--settings", str(file)],
            stderr=subprocess.DEVNULL,
        )
        try:
            eventually(lambda: _answers(settings.http.url), "the server answers")
            running = Served(process.pid, settings.http.url, mint_all(settings))
            tree = {"text": TREE}
            running.client.post(
                "/api/config/apply", json=tree, headers=running.headers("operator")
            ).raise_for_status()
            running.rest()
            yield running
            running.client.close()
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/api/health/live").status_code < 500
    return False


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate(database, LOCATIONS)
    await database.close()
