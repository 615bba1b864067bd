"""Starting and stopping the server's process without a supervisor: the embedded profile.

The process holds a lock on ``server.lock`` for as long as it lives, and the kernel tells who holds it, so
that whether it runs, and which process it is, is never a guess; ``server.json`` beside it says what it was
started from.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import MappingProxyType

import msgspec

from dirac.core.errors import ConflictError, InvalidInputError, UnavailableError
from dirac.server.settings import Settings

_PATIENCE = 20.0
_STOP_PATIENCE = 20.0
_LOOK = 0.02
_ANSWER = 2
_TAIL = 15
_BACKLOG = 2048
_PROGRAM = (sys.executable, "-m", "dirac.server.main")
_FLOCK = struct.Struct("@hhqqi0q")  # type, whence, start, length, process (fcntl.h, 64-bit offsets)


class Running(msgspec.Struct, frozen=True):
    """A running server.

    Attributes:
        pid: Its process.
        origin: Digest of the settings and the environment it was started from.
    """

    pid: int
    origin: str


def origin(settings: Settings) -> str:
    """Return a digest of what a server is made of: another one means that a restart is due."""
    made_of = msgspec.json.encode(settings, order="deterministic") + str(Path(sys.prefix).resolve()).encode()
    return hashlib.sha256(made_of).hexdigest()


@contextmanager
def hold(settings: Settings, instance: int = 1) -> Iterator[None]:
    """Be the one running server of a state directory and of a number.

    Raises:
        ConflictError: There is one already.
    """
    state = Path(settings.state)
    state.mkdir(parents=True, exist_ok=True)
    with (state / f"{_file(instance)}.lock").open("a") as lock:  # closing it anywhere here drops it
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX leaves the choice
            number = "" if instance == 1 else f" --instance {instance}"
            raise ConflictError(
                f"a server of {state} is running", hint=f"Stop it: dirac-server stop{number}"
            ) from None
        note = msgspec.json.encode(Running(pid=os.getpid(), origin=origin(settings)))
        write_secret(state / f"{_file(instance)}.json", note.decode())
        yield


def _file(instance: int) -> str:
    return "server" if instance == 1 else f"server-{instance}"


def running(settings: Settings, instance: int = 1) -> Running | None:
    """Return the running server of a state directory and of a number, None if there is none."""
    state = Path(settings.state)
    try:
        with (state / f"{_file(instance)}.lock").open("rb") as lock:
            answer = fcntl.fcntl(lock, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except FileNotFoundError:
        return None
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    if kind == fcntl.F_UNLCK:
        return None
    with suppress(OSError, msgspec.DecodeError):
        note = msgspec.json.decode((state / f"{_file(instance)}.json").read_bytes(), type=Running)
        if note.pid == pid:
            return note
    return Running(pid=pid, origin="")  # it has just begun


def bind(settings: Settings) -> socket.socket:
    """Take the address that the server listens on.

    Raises:
        ConflictError: Another program has it.
        InvalidInputError: It is none of this machine's, or not for this user.
    """
    host, port = settings.http.host, settings.http.port
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"port {port} of {host} is in use by another program",
                hint="Choose another port, or find the program: ss -ltnp",
            ) from None
        raise InvalidInputError(f"cannot listen on port {port} of {host}: {error.strerror}") from None
    return listener


def ready(settings: Settings) -> bool:
    """Tell whether the server answers."""
    return _answers(settings, "/api/health/ready")


def accepts(settings: Settings, token: str, *, seconds: float) -> bool:
    """Tell whether the running server accepts a token and will for some time; False if it does not run."""
    try:
        payload = token.split(".")[1]
        expires = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        lasts = float(expires) - time.time() > seconds
    except (IndexError, KeyError, TypeError, ValueError):
        return False
    return lasts and _answers(settings, "/api/auth/userinfo", {"Authorization": f"Bearer {token}"})


def _answers(settings: Settings, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> bool:
    connection = _connection(settings)
    try:
        connection.connect()
        if headers and not _is_ours(settings, connection):
            return False  # no stranger on our port gets a token
        connection.request("GET", path, headers=dict(headers))
        return connection.getresponse().status == 200
    except (OSError, ValueError, HTTPException):  # ValueError: no certificate in the file
        return False
    finally:
        connection.close()


def _connection(settings: Settings) -> HTTPConnection:
    host, port = settings.http.host, settings.http.port
    if settings.http.tls_certificate is None:
        return HTTPConnection(host, port, timeout=_ANSWER)
    # Addresses to listen on are in no certificate; who gets to see a secret is compared in full.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=_ANSWER, context=context)


def _is_ours(settings: Settings, connection: HTTPConnection) -> bool:
    if settings.http.tls_certificate is None:
        return True
    text = settings.path(settings.http.tls_certificate).read_text("ascii")
    first = text[text.index(ssl.PEM_HEADER) : text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
    connected = connection.sock
    shown = connected.getpeercert(binary_form=True) if isinstance(connected, ssl.SSLSocket) else None
    return bool(shown == ssl.PEM_cert_to_DER_cert(first))


def start(settings: Settings, settings_file: Path, program: Sequence[str] = _PROGRAM) -> float:
    """Start the server and wait until it answers; returns the seconds that took.

    Args:
        settings: What it is started with.
        settings_file: Where it reads that.
        program: The command that understands ``run --settings FILE``.

    Raises:
        UnavailableError: It ended, or did not answer in time and was ended; the message has the end of
            its log.
    """
    log = settings.path("log")
    log.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (log / "server.log").open("ab") as output:
        process = subprocess.Popen(
            [*program, "run", "--settings", str(settings_file.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=settings.state,
        )
    while time.monotonic() - began < _PATIENCE:
        if process.poll() is not None:
            raise UnavailableError(f"the server ended with code {process.returncode}:\n{_log_tail(settings)}")
        # The port may be somebody else's: only our process' own answer counts.
        if (found := running(settings)) and found.pid == process.pid and ready(settings):
            process.returncode = 0  # it lives on without us, and Popen need not complain
            return time.monotonic() - began
        time.sleep(_LOOK)
    process.kill()
    process.wait()
    raise UnavailableError(f"the server did not answer within {_PATIENCE} s:\n{_log_tail(settings)}")


def stop(settings: Settings, instance: int = 1) -> bool:
    """Stop the server and wait for its end; returns whether there was one.

    Raises:
        UnavailableError: It does not end.
    """
    found = running(settings, instance)
    if found is None:
        return False
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + settings.http.drain_seconds + _STOP_PATIENCE
    while running(settings, instance) is not None:
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"the server (process {found.pid}) does not end", hint=f"kill -9 {found.pid}"
            )
        time.sleep(_LOOK)
    return True


def make_master_key(settings: Settings) -> bool:
    """Make the master key if there is none; returns whether there was none."""
    path = settings.path(settings.master_key_file)
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return write_secret(path, os.urandom(48).hex(), replace=False)


def write_secret(path: Path, text: str, *, replace: bool = True) -> bool:
    """Write a file that only its owner can ever have read, all or nothing, safe from a loss of power.

    Args:
        path: Where.
        text: What.
        replace: Whether to replace what is there.

    Returns:
        Whether it was written.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        fresh = Path(name)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            if replace:
                fresh.rename(path)
            else:
                path.hardlink_to(fresh)
        finally:
            fresh.unlink(missing_ok=True)
        _sync(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from None
    return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _log_tail(settings: Settings) -> str:
    try:
        lines = (settings.path("log") / "server.log").read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-_TAIL:])
