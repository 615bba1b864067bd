"""What one server needs to know of itself: a TOML file, every option with its meaning.

What all servers of an installation share is the configuration (`dirac.systems.configuration`).
Secrets are not in the file: it says where each of them is (`dirac.core.secrets.SecretReference`).
"""

from __future__ import annotations

import ssl
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dirac.core.errors import InvalidInputError
from dirac.core.secrets import SecretReference, read_secret, reference_fault
from dirac.resources.secrets.resolving import ReferredSecret, Secrets, fill
from dirac.server.git_settings import GitSettings, git_branches
from dirac.server.secret_settings import SecretsSettings, either, own_references, secrets_of
from dirac.transport.tls import server_context

if TYPE_CHECKING:
    from dirac.transport.authorities import Authorities

SHORTEST_KEY = 32
MOST_INSTANCES = 10
_WORKERS = 10
_SCHEDULER = 20
_LAST_PORT = 65535


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all tables of the file share."""


class Http(_Table, frozen=True):
    """Where the server listens and how it is reached."""

    url: Annotated[str, Meta(description="Address that users and pilots know")] = "http://127.0.0.1:8912"
    host: Annotated[str, Meta(description="Address to listen on")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=1, le=65535, description="Port to listen on; instance N listens on `port` + N - 1")
    ] = 8912
    tls_certificate: Annotated[
        str | None,
        Meta(description="Certificate and its chain (PEM); without it plain HTTP"),
    ] = None
    tls_key: Annotated[str | None, Meta(description="Private key of the certificate (PEM)")] = None
    tls_client_ca: Annotated[
        str | None,
        Meta(
            description="Authorities of client certificates: a directory such as "
            "`/etc/grid-security/certificates`, with their lists of revoked ones, or a file (PEM). Clients "
            "may show a certificate or a proxy of RFC 3820 in place of a token"
        ),
    ] = None
    vomsdir: Annotated[
        str | None,
        Meta(
            description="Directory with `<vo>/<host>.lsc`: whose attributes of VOMS in proxies are believed; "
            "without it they are not looked at"
        ),
    ] = None
    drain_seconds: Annotated[
        int,
        Meta(ge=0, le=3600, description="Seconds to go on serving, no longer ready, when told to stop"),
    ] = 0


class Metrics(_Table, frozen=True):
    """Where each process tells Prometheus what it does."""

    host: Annotated[str, Meta(description="Address to listen on")] = "127.0.0.1"
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(
            description="Port of server 1; off if not given. Server N is at `port` + N - 1, worker N at "
            "`port` + 9 + N, the scheduler at `port` + 20",
        ),
    ] = None
    tls_certificate: Annotated[
        str | None, Meta(description="Certificate and its chain (PEM); without it plain HTTP")
    ] = None
    tls_key: Annotated[str | None, Meta(description="Private key of the certificate (PEM)")] = None
    tls_client_ca: Annotated[
        str | None, Meta(description="Authorities of the client certificates that are then demanded (PEM)")
    ] = None


class DatabaseSettings(_Table, frozen=True):
    """Where the database is: `url`, a reference to it if it holds a password."""

    url: Annotated[
        str | SecretReference | None,
        Meta(
            description="Address without a password, or a reference to one that has; SQLite in `state` if "
            "there is none"
        ),
    ] = None
    url_file: Annotated[
        str | None, Meta(description="File that holds the address: the same as `url = {file = FILE}`")
    ] = None
    migration_url: Annotated[
        SecretReference | None,
        Meta(
            description="Where the address for the user that changes tables is; if not given, the usual one"
        ),
    ] = None
    migration_url_file: Annotated[
        str | None, Meta(description="File that holds it: the same as `migration_url = {file = FILE}`")
    ] = None
    ca_file: Annotated[
        str | None,
        Meta(description="Certificates of the authority that signed the database server's; switches TLS on"),
    ] = None
    pool_size: Annotated[int, Meta(ge=1, le=1000, description="Connections kept open")] = 10


class Sandboxes(_Table, frozen=True):
    """Where sandboxes are kept."""

    type: Annotated[str, Meta(description="Plugin of kind dirac.storage")] = "directory"
    settings: Annotated[
        dict[str, Any],
        Meta(
            description="Settings of the plugin; for secrets references: `secret_access_key = {file = FILE}`"
        ),
    ] = {}
    settings_file: Annotated[
        str | None,
        Meta(description="JSON file of further ones, for secrets; readable by the server only"),
    ] = None


class Pilots(_Table, frozen=True):
    """How pilots are started."""

    program: Annotated[str, Meta(description="Path of the pilot's program")] = "dirac-pilot.py"
    python: Annotated[str, Meta(description="Python of the worker node that runs it")] = "python3"
    directory: Annotated[str, Meta(description="Where local computing elements keep their pilots")] = "pilots"


class Tokens(_Table, frozen=True):
    """How long access tokens live, in seconds; of pilots and jobs, the configuration's `pilot` says it."""

    user_seconds: Annotated[int, Meta(ge=60, le=86400, description="Of people, whose login renews them")] = (
        1200
    )
    service_seconds: Annotated[int, Meta(ge=60, le=86400, description="Of registered clients")] = 3600


class Expiry(_Table, frozen=True):
    """When `dirac-server doctor` and the alerts complain of what ends, in days before that."""

    days: Annotated[int, Meta(ge=1, le=365, description="Of certificates and authorities")] = 14
    proxy_days: Annotated[int, Meta(ge=1, le=365, description="Of proxies that users left here")] = 7


class Worker(_Table, frozen=True):
    """Who carries out background work."""

    runner: Annotated[
        Literal["in-process", "celery"], Meta(description="`celery` needs a broker and `dirac-server worker`")
    ] = "in-process"
    broker_url: Annotated[SecretReference | None, Meta(description="Where the broker's AMQP address is")] = (
        None
    )
    broker_url_file: Annotated[
        str | None, Meta(description="File that holds it: the same as `broker_url = {file = FILE}`")
    ] = None
    broker_ca_file: Annotated[
        str | None,
        Meta(description="Authorities of the broker's certificate (PEM) for `amqps`; else the machine's"),
    ] = None
    queue_type: Annotated[
        Literal["classic", "quorum"],
        Meta(description="`quorum` survives the loss of one of a broker's nodes; each type has its queue"),
    ] = "classic"
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
    tokens: Tokens = Tokens()
    expiry: Expiry = Expiry()
    worker: Worker = Worker()
    metrics: Metrics = Metrics()
    secrets: SecretsSettings = SecretsSettings()
    git: GitSettings = GitSettings()
    master_key: Annotated[
        SecretReference | None, Meta(description="Where the master key is, if not in `master_key_file`")
    ] = None
    master_key_file: Annotated[
        str, Meta(description="File of at least 32 random bytes, readable by the server only")
    ] = "master.key"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="How much is logged")
    ] = "INFO"

    def path(self, name: str) -> Path:
        """Return a path, counted from the state directory if it is relative."""
        return Path(self.state) / name

    def server(self, instance: int) -> Settings:
        """Return the settings of one of several servers on this host, counted from 1.

        Raises:
            InvalidInputError: There is no room for so many.
        """
        return self._shifted(instance, ports=instance - 1, metrics=instance - 1)

    def background(self, instance: int | None) -> Settings:
        """Return the settings of a worker, counted from 1, or of the scheduler (None).

        Raises:
            InvalidInputError: There is no room for so many.
        """
        return self._shifted(instance or 1, 0, _SCHEDULER if instance is None else _WORKERS + instance - 1)

    def _shifted(self, instance: int, ports: int, metrics: int) -> Settings:
        if not 1 <= instance <= MOST_INSTANCES:
            raise InvalidInputError(
                f"there is no instance {instance}", hint=f"They are 1 to {MOST_INSTANCES}"
            )
        if max(self.http.port + ports, (self.metrics.port or 0) + metrics) > _LAST_PORT:
            raise InvalidInputError(f"instance {instance} would have a port beyond {_LAST_PORT}")
        own = msgspec.structs.replace
        at = None if self.metrics.port is None else self.metrics.port + metrics
        return own(
            self,
            http=own(self.http, port=self.http.port + ports),
            metrics=own(self.metrics, port=at),
        )

    def client_authorities(self) -> Authorities | None:
        """Return whose certificates clients may show, None if they are not asked for any.

        Raises:
            InvalidInputError: They cannot be read.
        """
        if self.http.tls_client_ca is None:
            return None
        from dirac.transport.authorities import Authorities

        try:
            return Authorities(self.path(self.http.tls_client_ca))
        except InvalidInputError as error:
            raise InvalidInputError(f"http.tls_client_ca: {error.message}", hint=error.hint) from None

    def vomsdir(self) -> Path | None:
        """Return the directory that says which VOMS servers are believed."""
        return None if self.http.vomsdir is None else self.path(self.http.vomsdir)

    def http_tls(self, authorities: Authorities | None = None) -> ssl.SSLContext | None:
        """Return how the server speaks TLS, None if it does not.

        Args:
            authorities: Whose certificates clients may show; read anew if not given.

        Raises:
            InvalidInputError: A file cannot be read, or they do not fit together.
        """
        return self._tls(self.http, demand=False, authorities=authorities or self.client_authorities())

    def metrics_tls(self) -> ssl.SSLContext | None:
        """Return how the metrics are told over TLS, None if they are not.

        Raises:
            InvalidInputError: A file cannot be read, or they do not fit together.
        """
        return self._tls(self.metrics, demand=True)

    def _tls(
        self, table: Http | Metrics, *, demand: bool, authorities: Authorities | None = None
    ) -> ssl.SSLContext | None:
        if table.tls_certificate is None or table.tls_key is None:
            return None
        own = table.tls_client_ca if authorities is None else None
        try:
            return server_context(
                self.path(table.tls_certificate),
                self.path(table.tls_key),
                None if own is None else self.path(own),
                demand=demand,
                authorities=authorities,
            )
        except InvalidInputError as error:
            raise InvalidInputError(f"{_name(table)}.{error.message}", hint=error.hint) from None

    def make_secrets(self) -> Secrets:
        """Return what follows references to secrets, of these settings and of the configuration."""
        return secrets_of(self.secrets, self.path)

    def sandbox_settings(self, secrets: Secrets | None = None) -> dict[str, Any]:
        """Return the settings of the sandboxes' plugin, with secrets, those of the file over the table's.

        Args:
            secrets: Follows references; made anew if not given.

        Raises:
            InvalidInputError: The file cannot be read, others may read it, or it holds no JSON object; or
                another secret cannot be had.
            UnavailableError: Whoever holds a secret does not answer.
        """
        chosen, secrets = self.sandboxes, secrets or self.make_secrets()
        given = fill(chosen.settings, "sandboxes.settings", secrets)
        if chosen.settings_file is None:
            return given
        option = "sandboxes.settings_file"
        text = ReferredSecret(SecretReference(file=chosen.settings_file), option, secrets).read()
        try:
            return given | msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:  # what it says might quote a secret
            raise InvalidInputError(
                f"{option}: {self.path(chosen.settings_file)} holds no JSON object"
            ) from None

    def database_secret(self, secrets: Secrets, *, migrating: bool = False) -> ReferredSecret | None:
        """Return where the database's address is kept, None if it is no secret.

        Args:
            secrets: Follows the reference.
            migrating: That of the user that may change tables, if there is one.

        Raises:
            InvalidInputError: It is given twice.
        """
        given = self.database
        if migrating:
            found = either("database.migration_url", given.migration_url, given.migration_url_file, secrets)
            if found is not None:
                return found
        return either("database.url", given.url, given.url_file, secrets)

    def database_url(self, secrets: Secrets | None = None) -> str:
        """Return the database's address; SQLite in the state directory by default.

        Raises:
            InvalidInputError: It is given twice, or cannot be had.
            UnavailableError: Whoever holds it does not answer.
        """
        secret = self.database_secret(secrets or self.make_secrets())
        if secret is not None:
            return secret.read()
        url = self.database.url
        return url if isinstance(url, str) and url else f"sqlite:///{self.path('dirac.db')}"

    def migration_url(self, secrets: Secrets | None = None) -> str:
        """Return the database's address for the user that may change tables; that of the server by default.

        Raises:
            InvalidInputError: It is given twice, or cannot be had.
            UnavailableError: Whoever holds it does not answer.
        """
        secrets = secrets or self.make_secrets()
        secret = self.database_secret(secrets, migrating=True)
        return self.database_url(secrets) if secret is None else secret.read()

    def broker_url(self, secrets: Secrets | None = None) -> str:
        """Return the broker's address.

        Raises:
            InvalidInputError: It is not set, set twice, or cannot be had.
            UnavailableError: Whoever holds it does not answer.
        """
        worker = self.worker
        secrets = secrets or self.make_secrets()
        secret = either("worker.broker_url", worker.broker_url, worker.broker_url_file, secrets)
        if secret is None:
            raise InvalidInputError(
                "worker.broker_url_file is not set", hint="The runner 'celery' needs it, or worker.broker_url"
            )
        return secret.read()

    def master_key_bytes(self, secrets: Secrets | None = None) -> bytes:
        """Return the key from which all others are derived.

        Raises:
            InvalidInputError: It cannot be had, is too short, or others may read it.
            UnavailableError: Whoever holds it does not answer.
        """
        path = self.path(self.master_key_file)
        if self.master_key is None:
            key = read_secret(path, "master_key_file", forbidden=0o077, hint="Make one: dirac-server up")
        else:
            key = ReferredSecret(self.master_key, "master_key", secrets or self.make_secrets()).read_bytes()
        if len(key) < SHORTEST_KEY:
            raise InvalidInputError(
                f"the master key {self.master_key or path} is shorter than {SHORTEST_KEY} bytes"
            )
        return key


def _name(table: Http | Metrics) -> str:
    return type(table).__name__.lower()


def _check_tls(table: Http | Metrics) -> None:
    """Refuse half of a certificate and its key.

    Raises:
        InvalidInputError: One is missing.
    """
    name = _name(table)
    if (table.tls_certificate is None) != (table.tls_key is None):
        raise InvalidInputError(
            f"{name}: only one of tls_certificate and tls_key is set", hint="Set both or neither"
        )
    if table.tls_client_ca is not None and table.tls_certificate is None:
        raise InvalidInputError(
            f"{name}.tls_client_ca is set, and TLS is off", hint="Set tls_certificate and tls_key as well"
        )


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
    for table in (settings.http, settings.metrics):
        _check_tls(table)
    for option, reference in own_references(settings).items():
        if (fault := reference_fault(msgspec.to_builtins(reference))) is not None:
            raise InvalidInputError(f"{option}: {fault}", where=str(file))
    git_branches(settings, settings.make_secrets())
    return msgspec.structs.replace(settings, state=str(here / settings.state))


def _readable(fault: str) -> str:
    """Name the option first, as it is written in the file: ``http.port: expected `int`, got `str```."""
    what, _, where = fault.partition(" - at `$.")
    what = what.replace("Object contains unknown field", "there is no option").replace("`object`", "a table")
    return f"{where.rstrip('`')}: {what[0].lower()}{what[1:]}" if where else what
