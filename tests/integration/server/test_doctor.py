"""What the doctor says of real databases and brokers that are not as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.server.celery import make_celery
from dirac.server.control import make_master_key
from dirac.server.doctor.main import diagnose
from dirac.server.doctor.model import Finding
from dirac.server.schema import LOCATIONS
from dirac.server.settings import Settings, load
from tests.services import mariadb
from tests.services.mariadb import MariaDB
from tests.services.packages import obtain
from tests.services.postgresql import PostgreSQL
from tests.services.rabbitmq import RabbitMQ


class Host:
    """A host of an installation, with what it is told.

    Args:
        directory: Its state.
    """

    def __init__(self, directory: Path) -> None:
        self.file = directory / "dirac.toml"
        self.tables: dict[str, dict[str, str]] = {"http": {"url": "http://127.0.0.1:1"}}
        self.write()
        make_master_key(self.settings)

    @property
    def settings(self) -> Settings:
        return load(self.file)

    def write(self) -> None:
        lines = []
        for table, options in self.tables.items():
            lines += [f"[{table}]", *(f'{name} = "{value}"' for name, value in options.items())]
        self.file.write_text("\n".join(lines) + "\n")

    def secret(self, table: str, option: str, text: str) -> None:
        path = self.file.parent / f"{table}.{option}"
        path.touch(0o600)
        path.write_text(text)
        self.tables.setdefault(table, {})[option] = path.name
        self.write()

    async def findings(self, concern: str) -> dict[str, Finding]:
        found = await diagnose(self.file)
        return {one.check.partition(".")[2]: one for one in found if one.check.startswith(f"{concern}.")}

    async def bad(self, check: str, detail: str, mend: str) -> None:
        concern, _, name = check.partition(".")
        found = (await self.findings(concern))[name]
        assert not found.ok, found
        assert detail in found.detail
        assert found.cause
        assert mend in (found.mend or "")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def bring(url: str) -> None:
    database = Database(url)
    await migrate(database, LOCATIONS)
    await database.close()


@pytest.fixture(scope="module")
def careless() -> Iterator[MariaDB]:
    """A server with bad settings."""
    options = ("--sql-mode=", "--max-allowed-packet=1M")
    with MariaDB(obtain(mariadb.PACKAGES), options=options) as server:
        yield server


class TestMariaDB:
    """A MariaDB that somebody else set up."""

    @pytest.fixture
    async def url(self, mariadb_server: MariaDB) -> str:
        """A migrated database."""
        url = mariadb_server.create_database()
        await bring(url)
        return url

    async def test_as_it_should_be(self, host: Host, mariadb_server: MariaDB, url: str) -> None:
        host.secret("database", "url_file", mariadb_server.create_user(url))
        host.secret("database", "migration_url_file", url)
        found = await host.findings("database")
        assert {name: one.cause for name, one in found.items()} == dict.fromkeys(found)
        assert {"connection", "revision", "clock", "isolation", "rights", "migration_user"} < set(found)
        assert found["rights"].detail.endswith(": DELETE, INSERT, SELECT, UPDATE")

    async def test_rights(self, host: Host, mariadb_server: MariaDB, url: str) -> None:
        host.secret("database", "url_file", mariadb_server.create_user(url, "SELECT, INSERT, UPDATE"))
        await host.bad("database.rights", "lacks DELETE", "GRANT SELECT, INSERT, UPDATE, DELETE ON")
        host.secret("database", "url_file", mariadb_server.create_user(url, "ALL PRIVILEGES"))
        assert (await host.findings("database"))["rights"].cause is None, "one user does it all"
        host.secret("database", "migration_url_file", url)
        found = (await host.findings("database"))["rights"]
        assert found.ok
        assert "more than it needs: ALL PRIVILEGES" in found.detail
        assert "REVOKE" in (found.mend or "")

    async def test_collation(self, host: Host, mariadb_server: MariaDB, url: str) -> None:
        host.secret("database", "url_file", url)
        name = urlsplit(url).path[1:]
        mariadb_server.execute(
            f"ALTER TABLE {name}.task CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
        )
        await host.bad("database.collation", "tables with another collation: task", "CONVERT TO")
        mariadb_server.execute(f"ALTER DATABASE {name} COLLATE utf8mb4_general_ci")
        await host.bad("database.collation", "utf8mb4_general_ci", "COLLATE utf8mb4_bin")

    async def test_without_tables(self, host: Host, mariadb_server: MariaDB) -> None:
        host.secret("database", "url_file", mariadb_server.create_database())
        await host.bad("database.revision", "no revision", "dirac-server migrate")

    async def test_nobody_there(self, host: Host, url: str) -> None:
        host.secret("database", "url_file", url.replace(f":{urlsplit(url).port}/", ":1/"))
        for check in ("database.connection", "tasks.parked", "identity.providers"):
            await host.bad(check, "no connection to the database at 127.0.0.1:1", "server running")

    async def test_a_wrong_password(self, host: Host, url: str) -> None:
        host.secret("database", "url_file", url.replace(str(urlsplit(url).password), "wrong"))
        await host.bad("database.connection", "refuses the user 'dirac'", "password")

    async def test_settings_of_the_server(self, host: Host, careless: MariaDB) -> None:
        host.secret("database", "url_file", careless.create_database())
        await host.bad("database.mode", "sql_mode is", "STRICT_TRANS_TABLES")
        await host.bad("database.packet", "1 MB", "max_allowed_packet")

    async def test_another_clock(self, host: Host, careless: MariaDB) -> None:
        careless.execute("SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP() - 3600'")
        url = careless.create_database()
        host.secret("database", "url_file", careless.create_user(url))  # administrators are spared
        await host.bad("database.clock", "360", "chrony")


class TestPostgreSQL:
    """A PostgreSQL that somebody else set up."""

    async def test_as_it_should_be(self, host: Host, postgresql_server: PostgreSQL) -> None:
        url = postgresql_server.create_database()
        owner = postgresql_server.create_owner(url)
        user = postgresql_server.create_user(url, owner=owner)
        await bring(owner)
        host.secret("database", "url_file", user)
        host.secret("database", "migration_url_file", owner)
        found = await host.findings("database")
        assert {name: one.cause for name, one in found.items()} == dict.fromkeys(found)
        assert {"encoding", "version", "clock", "isolation", "rights", "migration_user"} < set(found)

    async def test_rights(self, host: Host, postgresql_server: PostgreSQL) -> None:
        url = postgresql_server.create_database()
        await bring(url)
        host.secret("database", "url_file", postgresql_server.create_user(url))  # after the tables
        await host.bad("database.rights", "lacks DELETE, INSERT, SELECT, UPDATE", "GRANT SELECT")
        host.secret("database", "url_file", url)
        host.secret("database", "migration_url_file", url)
        found = (await host.findings("database"))["rights"]
        assert found.ok
        assert "more than it needs: CREATE, SUPERUSER, TRUNCATE" in found.detail

    async def test_encoding(self, host: Host, postgresql_server: PostgreSQL) -> None:
        postgresql_server.execute("CREATE DATABASE test_ascii TEMPLATE template0 ENCODING 'SQL_ASCII'")
        url = postgresql_server.create_database().rpartition("/")[0] + "/test_ascii"
        host.secret("database", "url_file", url)
        await host.bad("database.encoding", "SQL_ASCII", "createdb --encoding=UTF8")


class TestRabbitMQ:
    """A broker that is not ready for us."""

    @pytest.fixture
    def celery(self, host: Host, rabbitmq_server: RabbitMQ) -> Host:
        """A host whose background work goes through the broker."""
        host.tables["worker"] = {"runner": "celery"}
        host.secret("worker", "broker_url_file", rabbitmq_server.url)
        return host

    async def test_nobody_listens(self, celery: Host) -> None:
        found = await celery.findings("broker")
        assert found["connection"].ok
        assert "RabbitMQ" in found["connection"].detail
        assert found["queue"].ok, found["queue"]
        await celery.bad("broker.consumers", "nobody listens", "dirac-worker")

    async def test_somebody_listens(self, celery: Host) -> None:
        app = make_celery(celery.settings)

        def listen() -> Finding:
            queue = app.amqp.queues[app.conf.task_default_queue]
            with (
                app.connection() as connection,
                app.amqp.Consumer(connection.default_channel, [queue]) as consumer,
            ):
                consumer.consume()
                return asyncio.run(celery.findings("broker"))["consumers"]

        found = await asyncio.to_thread(listen)
        assert found.ok, found
        assert found.detail.startswith("1 listen")

    async def test_a_wrong_password(self, celery: Host, rabbitmq_server: RabbitMQ) -> None:
        wrong = rabbitmq_server.url.replace(rabbitmq_server.password, "wrong")
        celery.secret("worker", "broker_url_file", wrong)
        await celery.bad("broker.connection", "refuses the user dirac", "change_password dirac")

    async def test_a_virtual_host_that_does_not_exist(self, celery: Host, rabbitmq_server: RabbitMQ) -> None:
        celery.secret("worker", "broker_url_file", rabbitmq_server.url.removesuffix("/") + "nowhere")
        await celery.bad("broker.connection", "dirac may not use 'nowhere'", "add_vhost 'nowhere'")

    async def test_nobody_there(self, celery: Host) -> None:
        celery.secret("worker", "broker_url_file", "amqp://dirac:secret@127.0.0.1:1//")
        await celery.bad("broker.connection", "127.0.0.1:1 does not answer", "rabbitmq-server")
        assert "secret" not in str(await celery.findings("broker"))

    async def test_a_queue_of_another_kind(self, celery: Host) -> None:
        app = make_celery(celery.settings)
        name = app.conf.task_default_queue

        def make() -> None:
            with app.connection() as connection:
                channel = connection.default_channel
                channel.queue_delete(name)
                channel.queue_declare(name, durable=False, auto_delete=False)

        def remove() -> None:
            with app.connection() as connection:
                connection.default_channel.queue_delete(name)

        await asyncio.to_thread(make)
        try:
            await celery.bad("broker.queue", "of another kind", f"delete_queue -p '/' {name}")
        finally:
            await asyncio.to_thread(remove)
