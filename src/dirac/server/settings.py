"""What one server needs to know of itself: a TOML file, every option with its meaning.

What all servers of an installation share is the configuration (`dirac.systems.configuration`).
"""

from __future__ import annotations

import os
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
    migration_url_file: Annotated[
        str | None,
        Meta(
            description="File with the address for the user that changes tables; if not given, the usual one"
        ),
    ] = None
    ca_file: Annotated[
        str | None,
        Meta(description="Certificates of the authority that signed the database server's; switches TLS on"),
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
    """Everything of one server. Relative paths start at `state`, which itself starts at the settings file."""

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
            InvalidInputError: It is given twice, or the file that should hold it cannot be read.
        """
        if self.database.url is not None and self.database.url_file is not None:
            raise InvalidInputError("database.url and database.url_file are both set", hint="Remove one")
        if self.database.url_file is not None:
            return _secret(self.path(self.database.url_file), "database.url_file")
        return self.database.url or f"sqlite:///{self.path('dirac.db')}"

    def migration_url(self) -> str:
        """Return the database's address for the user that may change tables; that of the server by default.

        Raises:
            InvalidInputError: The file that should hold it cannot be read.
        """
        if self.database.migration_url_file is None:
            return self.database_url()
        return _secret(self.path(self.database.migration_url_file), "database.migration_url_file")

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
        key = _read_secret(path, "master_key_file", forbidden=0o077, hint="Make one: dirac-server up")
        if len(key) < SHORTEST_KEY:
            raise InvalidInputError(f"the master key {path} is shorter than {SHORTEST_KEY} bytes")
        return key


def _secret(path: Path, option: str) -> str:
    try:
        return _read_secret(path, option, forbidden=0o007).decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{option}: {path} holds no text") from None


def _read_secret(path: Path, option: str, *, forbidden: int, hint: str | None = None) -> bytes:
    """Return the content of a file that is not for everybody.

    Args:
        path: Where it is.
        option: What names it, for messages.
        forbidden: Bits of its mode that must not be set.
        hint: What to do if there is none.

    Raises:
        InvalidInputError: It cannot be read, is empty, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read().strip()
    except OSError as error:
        raise InvalidInputError(f"{option}: {path} cannot be read: {error.strerror}", hint=hint) from None
    if mode & forbidden:
        raise InvalidInputError(f"{option}: others may read {path}", hint=f"chmod 600 {path}")
    if not content:
        raise InvalidInputError(f"{option}: {path} is empty", hint=hint)
    return content


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
    here = file.resolve().parent
    content.setdefault("state", ".")
    try:
        settings = msgspec.convert(content, Settings)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_readable(str(error)), where=str(file)) from None
    return msgspec.structs.replace(settings, state=str(here / settings.state))


def _readable(fault: str) -> str:
    """Name the option first, as it is written in the file: ``http.port: expected `int`, got `str```."""
    what, _, where = fault.partition(" - at `$.")
    what = what.replace("Object contains unknown field", "there is no option").replace("`object`", "a table")
    return f"{where.rstrip('`')}: {what[0].lower()}{what[1:]}" if where else what
