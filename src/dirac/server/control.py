"""Starting and stopping the server's process without a supervisor: the embedded profile.

The process holds a lock on ``server.lock`` for as long as it lives, so that whether it runs is never a
guess; ``server.json`` beside it says which process it is and what it was started from.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import msgspec

from dirac.core.errors import ConflictError, InvalidInputError, UnavailableError
from dirac.server.settings import Settings

_PATIENCE = 20.0
_STOP_PATIENCE = 20.0
_LOOK = 0.02
_TAIL = 15


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
def hold(settings: Settings) -> Iterator[None]:
    """Be the one running server of a state directory.

    Raises:
        ConflictError: There is one already.
    """
    state = Path(settings.state)
    with (state / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"a server of {state} is running", hint="Stop it: dirac-server stop"
            ) from None
        note = state / "server.json"
        note.write_bytes(msgspec.json.encode(Running(pid=os.getpid(), origin=origin(settings))))
        yield


def running(settings: Settings) -> Running | None:
    """Return the running server of a state directory, None if there is none."""
    state = Path(settings.state)
    try:
        with (state / "server.lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        pass
    try:
        return msgspec.json.decode((state / "server.json").read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


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
    url = f"http://{settings.http.host}:{settings.http.port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start(settings: Settings, settings_file: Path) -> float:
    """Start the server and wait until it answers; returns the seconds that took.

    Raises:
        UnavailableError: It ended, or did not answer in time; the message has the end of its log.
    """
    log = settings.path("log")
    log.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (log / "server.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dirac.server.main", "run", "--settings", str(settings_file.resolve())],
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
            return time.monotonic() - began
        time.sleep(_LOOK)
    raise UnavailableError(f"the server did not answer within {_PATIENCE} s:\n{_log_tail(settings)}")


def stop(settings: Settings) -> bool:
    """Stop the server and wait for its end; returns whether there was one.

    Raises:
        UnavailableError: It does not end.
    """
    found = running(settings)
    if found is None:
        return False
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_PATIENCE
    while running(settings) is not None:
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
    write_secret(path, os.urandom(48).hex())
    return True


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can ever have read, all or nothing."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        fresh.rename(path)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from None


def _log_tail(settings: Settings) -> str:
    try:
        lines = (settings.path("log") / "server.log").read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-_TAIL:])
