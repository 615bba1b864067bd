"""A private PostgreSQL."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import signal
import struct
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]

from .packages import PackageSet, Programs, first_version
from .server import LOOPBACK, Administrator, Server, copy_for_all, greeting, reachable_by_all

_UNPRIVILEGED = "nobody"
# Frontend/backend protocol 3.0, "SSLRequest": any server answers it, ours with "no".
_SSL_REQUEST, _NO_SSL, _WITH_SSL = struct.pack("!ii", 8, 80877103), b"N", b"S"


def _binaries(root: Path) -> Path | None:
    """Find the directory of the newest server program."""
    candidates = [*root.glob("usr/lib/postgresql/*/bin"), *root.glob("usr/pgsql-*/bin"), root / "usr/bin"]
    complete = [path for path in candidates if (path / "postgres").exists() and (path / "initdb").exists()]
    return max(complete, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], default=None)


def _probe(programs: Programs) -> str | None:
    binaries = _binaries(programs.root)
    if binaries is None:
        return None
    return first_version([binaries / "postgres", "--version"], programs.environment())


PACKAGES = PackageSet(
    name="postgresql",
    title="PostgreSQL",
    package="postgresql",
    through_meta=r"postgresql-\d+",
    minimum=(15,),
    probe=_probe,
)

_SETTINGS = {
    "fsync": "off",  # never wait for a disk; the log still reaches the kernel at commit, so that nothing
    "full_page_writes": "on",  # committed is lost and no page is torn when the *process* is killed
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "1h",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, so that it is removed with it
    "jit": "off",
    "ssl": "off",
    "timezone": "GMT",
    "log_timezone": "GMT",
    "listen_addresses": LOOPBACK,
}


class PostgreSQL(Server):
    """One PostgreSQL server and its databases.

    Args:
        programs: What to run.
        tls: Files of its certificate and of the key to it; without, it speaks no TLS.
    """

    title = PACKAGES.title
    end_signal = signal.SIGQUIT  # at once, but gives System V memory back, which would outlive a SIGKILL

    def __init__(self, programs: Programs, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__(programs)
        self._tls = tls
        self._administrator: Administrator | None = None
        self._connection: asyncpg.Connection[Any] | None = None
        # PostgreSQL refuses to run as root.
        self._uid = pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None
        self.data = self.directory / "data"

    def create_database(self) -> str:
        """Make an empty database.

        Returns:
            Its URL for SQLAlchemy with the asyncpg driver.
        """
        name = f"test_{secrets.token_hex(6)}"
        # Where no disk is waited for, copying files is a third cheaper than logging every page.
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY FILE_COPY")
        return f"postgresql+asyncpg://{self.user}:{self.password}@{LOOPBACK}:{self.port}/{name}"

    def create_user(self, url: str, *, owner: str | None = None) -> str:
        """Make a user that may read and write rows of the tables that another one makes.

        Args:
            url: A database of `create_database`.
            owner: URL of the user that makes the tables; the administrator if not given.

        Returns:
            The database's URL for the new user.
        """
        made, name = self._user(url)
        role = f"FOR ROLE {urlsplit(owner).username}" if owner else ""
        defaults = f"ALTER DEFAULT PRIVILEGES {role} IN SCHEMA public GRANT"
        self._administer(url, f"{defaults} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {name}")
        self._administer(url, f"{defaults} USAGE ON SEQUENCES TO {name}")
        return made

    def create_owner(self, url: str) -> str:
        """Make a user that may make tables, and owns no more than those; return the URL for it."""
        made, name = self._user(url)
        self._administer(url, f"GRANT CREATE ON SCHEMA public TO {name}")
        return made

    def _user(self, url: str) -> tuple[str, str]:
        name, password = f"user_{secrets.token_hex(6)}", secrets.token_hex(12)
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        return url.replace(f"{self.user}:{self.password}@", f"{name}:{password}@"), name

    def _administer(self, url: str, statement: str) -> None:
        """Run a statement as the administrator in a database of `create_database`."""

        async def run() -> None:
            connection = await asyncpg.connect(url.replace("+asyncpg", ""))
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        self.execute("SELECT 1")  # makes the administrator
        assert self._administrator is not None
        self._administrator.run(run())

    def drop_database(self, url: str) -> None:
        """Remove a database that `create_database` made, even from under its clients."""
        self.execute(f"DROP DATABASE {urlsplit(url).path.removeprefix('/')} WITH (FORCE)")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the server's administrator, in the database ``postgres``; return its rows."""
        if self._administrator is None:
            self._administrator = Administrator()
        return self._administrator.run(self._execute(statement))

    async def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                host=LOOPBACK,
                port=self.port,
                user=self.user,
                password=self.password,
                database="postgres",
            )
        return [tuple(row) for row in await self._connection.fetch(statement)]

    def _launch(self) -> None:
        if not self.data.exists():
            self._make_data()
        options = [f"--{name}={value}" for name, value in {**_SETTINGS, **self._tls_settings()}.items()]
        self._run(
            self._program("postgres"),
            "-D",
            self.data,
            f"--port={self.port}",
            "--unix_socket_directories=",
            *options,
            uid=self._uid,
        )

    def _tls_settings(self) -> dict[str, str]:
        """Copy certificate and key to where the server can read them, and nobody else the key."""
        if self._tls is None:
            return {}
        copies = self.directory / "server.pem", self.directory / "server.key"
        for source, copy in zip(self._tls, copies, strict=True):
            copy.touch(0o600)
            copy.write_bytes(source.read_bytes())
            if self._uid is not None:
                os.chown(copy, self._uid, -1)
        return {"ssl": "on", "ssl_cert_file": str(copies[0]), "ssl_key_file": str(copies[1])}

    def _make_data(self) -> None:
        password = self.directory / "password"
        password.touch(0o600)
        password.write_text(self.password)
        if self._uid is not None:
            if not reachable_by_all(self.programs.root):
                self.programs = copy_for_all(self.programs, self.directory)
            self.directory.chmod(0o711)
            os.chown(password, self._uid, -1)
            self.data.mkdir(0o700)
            os.chown(self.data, self._uid, -1)
        self._run_to_end(
            "make its data directory",
            self._program("initdb"),
            "-D",
            self.data,
            f"--username={self.user}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            uid=self._uid,
        )

    def _program(self, name: str) -> Path:
        binaries = _binaries(self.programs.root)
        assert binaries is not None
        return binaries / name

    def _answers(self) -> bool:
        if greeting(self.port, _SSL_REQUEST) != (_NO_SSL if self._tls is None else _WITH_SSL):
            return False
        try:
            return self.execute("SELECT 1") == [(1,)]
        except asyncpg.CannotConnectNowError:  # it recovers from a crash
            return False

    def _disconnect(self) -> None:
        if self._administrator is None:
            return
        if self._connection is not None:
            self._administrator.run(self._drop_connection())
        self._administrator.close()
        self._administrator = None

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
