"""What one server needs to know of itself: a TOML file, every option with its meaning.

What all servers of an installation share is the configuration (`dirac.systems.configuration`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dirac.core.errors import InvalidInputError

SHORTEST_KEY = 32


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all tables of the file share."""


class Http(_Table, frozen=True):
    """Where the server listens and how it is reached."""

    url: Annotated[str, Meta(description="Address that users and pilots know")] = "http://127.0.0.1:8912"
    host: Annotated[str, Meta(description="Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="Port to listen on")] = 8912


class DatabaseSettings(_Table, frozen=True):
    """Where the database is: `url`, or `url_file` for one that holds a password."""

    url: Annotated[
        str | None, Meta(description="Address without a password; SQLite in `state` if there is none")
    ] = None
    url_file: Annotated[
        str | None, Meta(description="File that holds the address, readable by the server only")
    ] = None
    pool_size: Annotated[int, Meta(ge=1, le=1000, description="Connections kept open")] = 10


class Sandboxes(_Table, frozen=True):
    """Where sandboxes are kept."""

    type: Annotated[str, Meta(description="Plugin of kind dirac.storage")] = "directory"
    settings: Annotated[dict[str, Any], Meta(description="Settings of the plugin")] = {}


class Pilots(_Table, frozen=True):
    """How pilots are started."""

    program: Annotated[str, Meta(description="Path of the pilot's program")] = "dirac-pilot.py"
    python: Annotated[str, Meta(description="Python of the worker node that runs it")] = "python3"
    directory: Annotated[str, Meta(description="Where local computing elements keep their pilots")] = "pilots"


class Worker(_Table, frozen=True):
    """Who carries out background work."""

    runner: Annotated[
        Literal["in-process", "celery"], Meta(description="`celery` needs a broker and `dirac-server worker`")
    ] = "in-process"
    broker_url_file: Annotated[str | None, Meta(description="File with the broker's AMQP address")] = None
    concurrency: Annotated[int, Meta(ge=1, le=1000, description="Tasks carried out at a time")] = 8


class Settings(_Table, frozen=True):
    """Everything of one server. Relative paths start at `state`."""

    state: Annotated[
        str,
        Meta(
            description="Directory of everything the server writes; the file may leave it out if it is there"
        ),
    ]
    http: Http = Http()
    database: DatabaseSettings = DatabaseSettings()
    sandboxes: Sandboxes = Sandboxes()
    pilots: Pilots = Pilots()
    worker: Worker = Worker()
    master_key_file: Annotated[
        str, Meta(description="File of at least 32 random bytes, readable by the server only")
    ] = "master.key"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="How much is logged")
    ] = "INFO"

    def path(self, name: str) -> Path:
        """Return a path, counted from the state directory if it is relative."""
        return Path(self.state) / name

    def database_url(self) -> str:
        """Return the database's address; SQLite in the state directory by default.

        Raises:
            InvalidInputError: The file that should hold it cannot be read.
        """
        if self.database.url_file is not None:
            return _secret(self.path(self.database.url_file), "database.url_file")
        return self.database.url or f"sqlite:///{self.path('dirac.db')}"

    def broker_url(self) -> str:
        """Return the broker's address.

        Raises:
            InvalidInputError: It is not set, or cannot be read.
        """
        if self.worker.broker_url_file is None:
            raise InvalidInputError("worker.broker_url_file is not set", hint="The runner 'celery' needs it")
        return _secret(self.path(self.worker.broker_url_file), "worker.broker_url_file")

    def master_key(self) -> bytes:
        """Return the key from which all others are derived.

        Raises:
            InvalidInputError: The file cannot be read, is too short, or others may read it.
        """
        path = self.path(self.master_key_file)
        try:
            mode, key = path.stat().st_mode, path.read_bytes().strip()
        except OSError as error:
            raise InvalidInputError(
                f"the master key {path} cannot be read: {error.strerror}", hint="Make one: dirac-server up"
            ) from None
        if mode & 0o077:
            raise InvalidInputError(f"others may read the master key {path}", hint=f"chmod 600 {path}")
        if len(key) < SHORTEST_KEY:
            raise InvalidInputError(f"the master key {path} is shorter than {SHORTEST_KEY} bytes")
        return key


def _secret(path: Path, option: str) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise InvalidInputError(f"{option}: {path} cannot be read: {error.strerror}") from None


def load(file: Path) -> Settings:
    """Read the settings of a server.

    Raises:
        InvalidInputError: The file cannot be read, or an option is unknown or wrong.
    """
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise InvalidInputError(f"the settings {file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"no valid TOML: {error}", where=str(file)) from None
    content.setdefault("state", str(file.resolve().parent))
    try:
        return msgspec.convert(content, Settings)
    except msgspec.ValidationError as error:
        raise InvalidInputError(str(error), where=str(file)) from None
