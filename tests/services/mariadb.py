"""A private MariaDB."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncmy

from .packages import PackageSet, Programs, first_version
from .server import LOOPBACK, Administrator, Server, greeting


def _program(root: Path) -> Iterator[Path]:
    candidates = (root / "usr/sbin/mariadbd", root / "usr/libexec/mariadbd", root / "usr/bin/mariadbd")
    return (path for path in candidates if path.exists())


def _probe(programs: Programs) -> str | None:
    program = next(_program(programs.root), None)
    if program is None:
        return None
    return first_version([program, "--no-defaults", "--version"], programs.environment())


PACKAGES = PackageSet(
    name="mariadb",
    title="MariaDB",
    package="mariadb-server-core",
    minimum=(10, 11),
    probe=_probe,
)


class MariaDB(Server):
    """One MariaDB server and its databases.

    Args:
        programs: What to run.
        tls: Files of its certificate and of the key to it; without, it speaks no TLS.
        options: More options of the server's command line.
    """

    title = PACKAGES.title

    def __init__(
        self, programs: Programs, tls: tuple[Path, Path] | None = None, options: tuple[str, ...] = ()
    ) -> None:
        super().__init__(programs)
        self._options = (*options, *((f"--ssl-cert={tls[0]}", f"--ssl-key={tls[1]}") if tls else ()))
        self.data = self.directory / "data"
        self._administrator: Administrator | None = None
        self._connection: Any = None

    def create_database(self) -> str:
        """Make an empty database.

        Returns:
            Its URL for SQLAlchemy with the asyncmy driver.
        """
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        return f"mariadb+asyncmy://{self.user}:{self.password}@{LOOPBACK}:{self.port}/{name}?charset=utf8mb4"

    def create_user(self, url: str, rights: str = "SELECT, INSERT, UPDATE, DELETE") -> str:
        """Make a user with these rights on a database of `create_database`.

        Returns:
            The database's URL for that user.
        """
        name, password = f"user_{secrets.token_hex(6)}", secrets.token_hex(12)
        account = f"{name}@'{LOOPBACK}'"
        self.execute(f"CREATE USER {account} IDENTIFIED BY '{password}'")
        self.execute(f"GRANT {rights} ON {urlsplit(url).path.removeprefix('/')}.* TO {account}")
        return url.replace(f"{self.user}:{self.password}@", f"{name}:{password}@")

    def drop_database(self, url: str) -> None:
        """Remove a database that `create_database` made."""
        self.execute(f"DROP DATABASE {urlsplit(url).path.removeprefix('/')}")

    def execute(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """Run a statement as the server's administrator, outside any database; return its rows."""
        if self._administrator is None:
            self._administrator = Administrator()
        return self._administrator.run(self._execute(statement))

    async def _execute(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        if self._connection is None:
            self._connection = await asyncmy.connect(
                host=LOOPBACK,
                port=self.port,
                user=self.user,
                password=self.password,
                autocommit=True,
            )
        async with self._connection.cursor() as cursor:
            await cursor.execute(statement)
            rows: tuple[tuple[Any, ...], ...] = await cursor.fetchall() if cursor.description else ()
            return rows

    def _launch(self) -> None:
        self.data.mkdir(exist_ok=True)
        if not (self.data / "mysql").exists():
            self._run_to_end(
                "make its system tables",
                *self._command(),
                "--skip-log-bin",
                "--bootstrap",
                stdin=self._system_tables(),
            )
        self._run(
            *self._command(),
            f"--bind-address={LOOPBACK}",
            f"--port={self.port}",
            "--socket=socket",  # in the data directory; relative, as such a path may have 107 characters only
            f"--pid-file={self.directory / 'pid'}",
            f"--init-file={self._accounts()}",
            "--skip-name-resolve",
            "--performance-schema=OFF",
            "--max-connections=500",
            # As a site has it (role mariadb).
            "--log-bin=binary",
            "--binlog-format=ROW",
            "--log-bin-trust-function-creators=ON",
            "--sync-binlog=0",
            "--expire-logs-days=0.01",
            *self._options,
        )

    def _command(self) -> list[str]:
        usr = self.programs.root / "usr"
        share = next(path for path in (usr / "share/mysql", usr / "share/mariadb") if path.exists())
        command = [
            str(next(_program(self.programs.root))),
            "--no-defaults",
            f"--basedir={usr}",
            f"--datadir={self.data}",
            f"--tmpdir={self.directory}",
            f"--lc-messages-dir={share}",
            f"--character-sets-dir={share / 'charsets'}",
            f"--plugin-dir={usr / 'lib/mysql/plugin'}",
            # Never wait for a disk. At commit the log still goes to the kernel and pages through the
            # doublewrite buffer: nothing committed is lost, no page is torn when the *process* is killed.
            "--loose-debug-no-sync",
            "--innodb-flush-method=nosync",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-use-native-aio=OFF",
            "--innodb-log-file-size=32M",
            "--innodb-buffer-pool-size=64M",
        ]
        return [*command, "--user=root"] if os.geteuid() == 0 else command

    def _system_tables(self) -> Path:
        """Write the input of the bootstrap: the server's own scripts, and no account left but its own."""
        share = self.programs.root / "usr/share"
        text = ["CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"]
        for name in ("system_tables", "performance_tables", "system_tables_data", "add_gis_sp_bootstrap"):
            scripts = [*share.glob(f"mysql/mysql_{name}.sql"), *share.glob(f"*/maria*_{name}.sql")]
            text.append(scripts[0].read_text())
        text.append(
            "\nDELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys';\nDELETE FROM mysql.proxies_priv;\n"
        )
        path = self.directory / "bootstrap.sql"
        path.write_text("".join(text))
        return path

    def _accounts(self) -> Path:
        """Write what the server executes before it accepts clients."""
        account = f"{self.user}@'{LOOPBACK}'"
        path = self.directory / "accounts.sql"
        path.touch(0o600)
        path.write_text(
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n"
        )
        return path

    def _answers(self) -> bool:
        # The server speaks first, when it accepts clients.
        return bool(greeting(self.port, b"")) and self.execute("SELECT 1") == ((1,),)

    def _disconnect(self) -> None:
        if self._administrator is None:
            return
        if self._connection is not None:
            self._administrator.run(self._drop_connection())
        self._administrator.close()
        self._administrator = None

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        connection.close()
