"""The private servers answer real queries, keep their promises through a crash, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import kombu
import pytest
from sqlalchemy import inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from dirac.core.errors import UnavailableError
from dirac.db.connections import parse_url
from tests.services import mariadb, packages, postgresql, rabbitmq
from tests.services.server import Server, free_ports, poll

CHECKOUT = Path(__file__).parents[2]
PATIENCE = 60.0
TCP, TCP6 = Path("/proc/net/tcp"), Path("/proc/net/tcp6")
LISTEN = "0A"
LOOPBACK_IPV4 = socket.inet_aton("127.0.0.1")[::-1].hex().upper()  # as a little-endian machine prints it
LOOPBACK_IPV6 = "00000000000000000000000001000000"
DatabaseServer = mariadb.MariaDB | postgresql.PostgreSQL


@pytest.fixture(params=["mariadb", "postgresql"])
def database_server(request: pytest.FixtureRequest) -> DatabaseServer:
    return request.getfixturevalue(f"{request.param}_server")


async def scalar(url: str, *statements: str, isolation: str | None = None) -> object:
    """Run statements in one transaction; return the first value of the last."""
    engine = create_async_engine(url, **({"isolation_level": isolation} if isolation else {}))
    try:
        async with engine.begin() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


async def test_a_database_is_fresh_and_takes_any_text(database_url: str) -> None:
    engine = create_async_engine(parse_url(database_url))
    try:
        async with engine.begin() as connection:
            assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == []
            await connection.execute(text("CREATE TABLE word (word VARCHAR(20) NOT NULL PRIMARY KEY)"))
            for word in ("job", "JOB", "jøb", "⚛️🚀"):
                await connection.execute(text("INSERT INTO word VALUES (:word)"), {"word": word})
        async with engine.begin() as connection:
            words = set((await connection.execute(text("SELECT word FROM word"))).scalars())
            found = (
                (await connection.execute(text("SELECT word FROM word WHERE word = 'job'"))).scalars().all()
            )
    finally:
        await engine.dispose()
    assert words == {"job", "JOB", "jøb", "⚛️🚀"}
    assert found == ["job"]


async def test_read_committed_sees_what_others_commit(database_server: DatabaseServer) -> None:
    url = database_server.create_database()
    await scalar(url, "CREATE TABLE t (n INTEGER)")
    engine = create_async_engine(url, isolation_level="READ COMMITTED")
    try:
        async with engine.begin() as reader:
            assert await reader.scalar(text("SELECT count(*) FROM t")) == 0
            await scalar(url, "INSERT INTO t VALUES (1)")
            assert await reader.scalar(text("SELECT count(*) FROM t")) == 1
            assert (await reader.get_isolation_level()) == "READ COMMITTED"
    finally:
        await engine.dispose()
    database_server.drop_database(url)


async def test_versions_are_those_we_support(
    mariadb_server: mariadb.MariaDB, postgresql_server: postgresql.PostgreSQL
) -> None:
    assert str(mariadb_server.execute("SELECT VERSION()")[0][0]).startswith(mariadb_server.programs.version)
    assert int(postgresql_server.execute("SHOW server_version_num")[0][0]) >= 150000
    assert "MariaDB" in str(mariadb_server.execute("SELECT VERSION()")[0][0])


async def test_a_database_url_needs_its_password(database_server: DatabaseServer) -> None:
    url = database_server.create_database()
    wrong = make_url(url).set(password="guess").render_as_string(hide_password=False)
    with pytest.raises((DBAPIError, OSError, Exception), match=r"(?i)denied|password"):
        await scalar(wrong, "SELECT 1")
    assert await scalar(url, "SELECT 1") == 1
    database_server.drop_database(url)


async def test_a_dropped_database_is_gone(database_server: DatabaseServer) -> None:
    url = database_server.create_database()
    assert await scalar(url, "SELECT 1") == 1
    database_server.drop_database(url)
    with pytest.raises(Exception, match=r"(?i)unknown database|does not exist"):
        await scalar(url, "SELECT 1")


async def test_what_is_committed_survives_a_crash(database_server: DatabaseServer) -> None:
    url = database_server.create_database()
    await scalar(url, "CREATE TABLE t (n INTEGER)")
    for number in range(20):
        await scalar(url, f"INSERT INTO t VALUES ({number})")
    database_server.kill()
    with pytest.raises((DBAPIError, OSError)):
        await scalar(url, "SELECT 1")
    database_server.restart()
    assert await scalar(url, "SELECT sum(n) FROM t") == 190
    database_server.restart()  # an orderly one
    assert await scalar(url, "SELECT count(*) FROM t") == 20
    database_server.drop_database(url)


def test_the_broker_keeps_persistent_messages_through_restart_and_crash(
    rabbitmq_server: rabbitmq.RabbitMQ,
) -> None:
    def exchange_with(work: Callable[[kombu.simple.SimpleQueue], object]) -> object:
        with (
            kombu.Connection(
                rabbitmq_server.url, connect_timeout=10, transport_options={"confirm_publish": True}
            ) as connection,
            connection.SimpleQueue("test_services") as queue,
        ):
            return work(queue)

    def take(queue: kombu.simple.SimpleQueue) -> object:
        message = queue.get(timeout=PATIENCE)
        message.ack()
        return message.payload

    for again in (rabbitmq_server.restart, rabbitmq_server.kill):
        exchange_with(lambda queue: queue.put({"job": 42}))
        again()
        if not rabbitmq_server.pids:
            rabbitmq_server.restart()
        assert exchange_with(take) == {"job": 42}
        assert exchange_with(lambda queue: queue.qsize()) == 0


@pytest.mark.parametrize("name", ["mariadb", "postgresql", "rabbitmq"])
def test_servers_listen_on_loopback_only(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    found = listeners()
    assert (LOOPBACK_IPV4, server.port) in found
    for port in server.ports.values():  # that of TLS has a listener only with TLS
        addresses = {address for address, listening in found if listening == port}
        assert addresses <= {LOOPBACK_IPV4, LOOPBACK_IPV6}


def listeners() -> set[tuple[str, int]]:
    """Addresses and ports on which anybody on this machine listens; see proc(5), net/tcp."""
    lines = [*TCP.read_text().splitlines()[1:], *(TCP6.read_text().splitlines()[1:] if TCP6.exists() else ())]
    fields = [line.split() for line in lines]
    places = [field[1].rsplit(":", 1) for field in fields if field[3] == LISTEN]
    return {(address, int(port, 16)) for address, port in places}


SESSION = """
import os, sys
from tests.services import {name} as module
from tests.services.packages import obtain
server = module.{cls}(obtain(module.PACKAGES))
server.start()
print(server.directory, server.port, *server.pids, flush=True)
sys.stdin.read()
server.close()
"""
CLASSES = {"mariadb": "MariaDB", "postgresql": "PostgreSQL", "rabbitmq": "RabbitMQ"}


@pytest.mark.parametrize("end", ["orderly", "SIGKILL"])
@pytest.mark.parametrize("name", sorted(CLASSES))
def test_nothing_is_left_however_the_session_ends(name: str, end: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = SESSION.format(name=name, cls=CLASSES[name])
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as session:
        assert session.stdout
        directory, port, *pids = session.stdout.readline().split()
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        socket.create_connection(("127.0.0.1", int(port)), timeout=10).close()
        if end == "SIGKILL":
            session.send_signal(signal.SIGKILL)
        else:
            assert session.stdin
            session.stdin.close()
    left = [Path(directory), *(Path(f"/proc/{pid}") for pid in pids)]
    for _ in poll(PATIENCE):
        if not any(path.exists() for path in left):
            break
    assert [path for path in left if path.exists()] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=10)


def test_a_failing_start_shows_the_log(tmp_path: Path) -> None:
    server = mariadb.MariaDB(packages.obtain(mariadb.PACKAGES))
    try:
        server.data.mkdir()
        (server.data / "mysql").mkdir()
        (server.data / "ibdata1").write_bytes(b"not a tablespace" * 65536)
        with pytest.raises(UnavailableError, match=r"(?s)MariaDB 1.*ended while starting.*InnoDB") as raised:
            server.start()
        assert raised.value.hint
    finally:
        server.close()
    assert not server.directory.exists()


@pytest.mark.parametrize("module", [mariadb, postgresql])
def test_a_port_that_is_taken_meanwhile_is_replaced(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        offers = iter([[taken], free_ports(1)])
        monkeypatch.setattr("tests.services.server.free_ports", lambda count: next(offers))
        with getattr(module, CLASSES[module.__name__.rpartition(".")[2]])(
            packages.obtain(module.PACKAGES)
        ) as server:
            assert server.port != taken
            assert server.execute("SELECT 1")


def test_an_abandoned_directory_is_cleared_by_the_next_server() -> None:
    programs = packages.obtain(mariadb.PACKAGES)
    first = mariadb.MariaDB(programs)
    abandoned = first.directory.with_name("dirac-test-abandoned")
    abandoned.mkdir()
    (abandoned / "lock").touch()
    second = mariadb.MariaDB(programs)
    try:
        assert first.directory.exists()
        assert not abandoned.exists()
    finally:
        second.close()
        first.close()


def test_what_cannot_be_had_is_said_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIRAC_TEST_SERVICES_DIR", str(tmp_path))
    monkeypatch.setenv("DIRAC_TEST_SERVICES", "private")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"MariaDB 10\.11 or newer: .*no apt-get") as raised:
        packages.obtain(mariadb.PACKAGES)
    assert "mariadb-server-core" in str(raised.value.hint)
    monkeypatch.setenv("DIRAC_TEST_MARIADB_ROOT", "/nowhere")
    with pytest.raises(UnavailableError, match="DIRAC_TEST_MARIADB_ROOT: no MariaDB"):
        packages.obtain(mariadb.PACKAGES)


def test_a_failed_fetch_says_why_and_leaves_nothing_half_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIRAC_TEST_SERVICES_DIR", str(tmp_path))
    monkeypatch.setenv("DIRAC_TEST_SERVICES", "private")
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{free_ports(1)[0]}")  # no network
    interrupted = packages.store() / ".new-interrupted"
    (interrupted / "root").mkdir(parents=True)
    with pytest.raises(UnavailableError, match=r"MariaDB 10\.11 or newer: ") as raised:
        packages.obtain(mariadb.PACKAGES)
    assert "DIRAC_TEST_MARIADB_ROOT" in str(raised.value.hint)
    assert not [path.name for path in packages.store().iterdir() if path.name not in ("apt", "lock")]
