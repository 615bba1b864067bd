"""Which server, which virtual organisation, and the credentials for it.

The server is the argument, else ``DIRAC_URL``, else ``server`` in the configuration file
``$XDG_CONFIG_HOME/dirac/config.toml`` (``~/.config``)::

    server = "https://dirac.example.org"
    vo = "astro"

Credentials are kept in ``$XDG_CACHE_HOME/dirac/credentials.json`` (``~/.cache``; ``DIRAC_CREDENTIALS``
names another file), readable by nobody else, one login per server and VO. The VO is the argument, else
``DIRAC_VO``, else the one of the last login, else the configuration file's. ``DIRAC_TOKEN_FILE`` names a file
that holds a ready access token, which then is used instead.

The server's certificate is believed if an authority of this machine signed it, or one of the PEM file
``DIRAC_CA_FILE``, else ``ca_file`` in the configuration file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.core.trust import CA_FILE

_FORMAT = 1


class Login(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One login.

    Attributes:
        expires: End of the access token's life.
        refresh_token: With it the access token is renewed.
    """

    access_token: str
    expires: datetime
    refresh_token: str | None = None

    def __repr__(self) -> str:
        """Show no token: this may end up in a log."""
        return f"Login(expires={self.expires.isoformat()})"


class _Server(msgspec.Struct, kw_only=True, omit_defaults=True):
    current_vo: str | None = None
    logins: dict[str, Login] = {}


class _Stored(msgspec.Struct, kw_only=True):
    format: int = _FORMAT
    servers: dict[str, _Server] = {}


class Session:
    """A server, a VO, and where their credentials are.

    Args:
        server: ``http[s]://host[:port]``.
        credentials: The file of credentials.
        vo: The VO that was asked for; None for that of the last login.
        default_vo: The VO to log in to when nothing else is known.
        token_file: A file that holds a ready access token.
        ca_file: Authorities of the server's certificate, beside those of the machine.
    """

    def __init__(
        self,
        server: str,
        credentials: Path,
        *,
        vo: str | None = None,
        default_vo: str | None = None,
        token_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.server = server.rstrip("/")
        self.credentials = credentials
        self.token_file = token_file
        self.ca_file = ca_file
        self._vo = vo
        self._default_vo = default_vo

    @property
    def vo(self) -> str | None:
        """The VO in use; None if none was asked for and there was no login."""
        return self._current(self._known())

    def logins(self) -> dict[str, Login]:
        """Return the logins on this server, by VO."""
        return self._known().logins

    def login(self) -> Login | None:
        """Return the login in use, None if there is none."""
        known = self._known()
        vo = self._current(known)
        return known.logins.get(vo) if vo else None

    def store(self, vo: str, login: Login) -> None:
        """Keep a login of this server, and make its VO the current one; call it while `locked`."""
        stored = self._load()
        server = stored.servers.setdefault(self.server, _Server())
        server.logins[vo] = login
        server.current_vo = vo
        self._save(stored)
        self._vo = self._vo and vo

    def renewed(self, vo: str, login: Login) -> None:
        """Keep a renewed login without a change of the current VO; call it while `locked`."""
        stored = self._load()
        stored.servers.setdefault(self.server, _Server()).logins[vo] = login
        self._save(stored)

    def forget(self, vo: str) -> None:
        """Drop a login of this server; call it while `locked`."""
        stored = self._load()
        server = stored.servers.get(self.server)
        if server is not None and server.logins.pop(vo, None) is not None:
            if server.current_vo == vo:
                server.current_vo = next(iter(server.logins), None)
            self._save(stored)

    def _known(self) -> _Server:
        return self._load().servers.get(self.server) or _Server()

    def _current(self, known: _Server) -> str | None:
        return self._vo or known.current_vo or self._default_vo

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Try to keep other processes and tasks from changing the credentials; gives whether it worked."""
        lock = self.credentials.with_name(self.credentials.name + ".lock")
        with _storage(lock):
            lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _load(self) -> _Stored:
        try:
            content = self.credentials.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return _Stored()
        except OSError as error:
            raise InvalidInputError(f"{self.credentials} cannot be read: {error.strerror}") from None
        try:
            stored = msgspec.json.decode(content, type=_Stored)
        except (msgspec.DecodeError, UnicodeDecodeError):
            stored = _Stored(format=0)
        if stored.format != _FORMAT:
            raise InvalidInputError(
                f"{self.credentials} holds no credentials of this version",
                hint="Remove the file and log in again",
            )
        return stored

    def _save(self, stored: _Stored) -> None:
        """Replace the file in one step, so that a reader or a crash never meets half of it."""
        import tempfile  # late: most commands do not log in

        with _storage(self.credentials):
            self.credentials.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Made by mkstemp: readable by its owner alone from the first moment on.
            descriptor, name = tempfile.mkstemp(dir=self.credentials.parent, prefix=".credentials-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(msgspec.json.encode(stored))
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self.credentials)
            except OSError:
                with suppress(OSError):
                    Path(name).unlink()
                raise


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{path} cannot be written: {error.strerror}",
            hint="DIRAC_CREDENTIALS names another file for credentials",
        ) from error


def find_session(
    server: str | None = None, *, vo: str | None = None, environ: Mapping[str, str] | None = None
) -> Session:
    """Find out which server and which VO are meant; see the module.

    Args:
        server: The server, if the caller knows.
        vo: The VO, if the caller knows.
        environ: The environment; that of the process if not given.

    Raises:
        InvalidInputError: No server is known, or the configuration file is wrong.
    """
    environ = os.environ if environ is None else environ
    file = _directory(environ, "XDG_CONFIG_HOME", ".config") / "config.toml"
    config = _read_config(file)
    server = server or environ.get("DIRAC_URL") or config.get("server")
    if not server:
        raise InvalidInputError(
            "no server is known", hint=f'Set DIRAC_URL, or write server = "https://..." into {file}'
        )
    named = environ.get("DIRAC_CREDENTIALS")
    cache = _directory(environ, "XDG_CACHE_HOME", ".cache")
    token_file = environ.get("DIRAC_TOKEN_FILE")
    ca_file = environ.get(CA_FILE) or config.get("ca_file")
    return Session(
        server,
        Path(named) if named else cache / "credentials.json",
        vo=vo or environ.get("DIRAC_VO") or None,
        default_vo=config.get("vo"),
        token_file=Path(token_file) if token_file else None,
        ca_file=Path(ca_file) if ca_file else None,
    )


def _directory(environ: Mapping[str, str], variable: str, default: str) -> Path:
    named = environ.get(variable, "")
    # Relative paths are to be ignored (XDG Base Directory Specification).
    base = Path(named) if named.startswith("/") else Path(environ.get("HOME") or Path.home()) / default
    return base / "dirac"


def _read_config(file: Path) -> dict[str, Any]:
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from None
    import tomllib  # late: it costs more than all of this module, and many have no such file

    try:
        config = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"no valid TOML: {error}", where=str(file)) from None
    for name in ("server", "vo", "ca_file"):
        if not isinstance(config.get(name, ""), str):
            raise InvalidInputError(f"{name} is no text", where=str(file))
    return config
