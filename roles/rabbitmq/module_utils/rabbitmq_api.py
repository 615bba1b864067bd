# SPDX-License-Identifier: GPL-3.0-or-later
"""The management interface of the broker on this host, with an account that is of use on this host only."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

SECRET = "host-account.secret"


class ApiError(Exception):
    """The broker did not answer, or refused; `status` is the HTTP status, 0 if it did not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def host_account() -> str:
    """Return the name of the account that roles use on this host; settings restrict it to the host."""
    return "host-" + socket.gethostname().split(".")[0]


def host_password(config: Path, *, make: bool = False) -> str:
    """Return the password of the host's account: in a file that only root can read; made if wanted."""
    file = config / SECRET
    if make and not file.exists():
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
            writer.write(secrets.token_urlsafe(32))
    return file.read_text().strip() if file.exists() else ""


def hashed(password: str, salt: bytes) -> str:
    """Return what the broker keeps of a password (`rabbit_password_hashing_sha256`)."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def quoted(text: str) -> str:
    """Return a part of a path."""
    return urllib.parse.quote(text, safe="")


class Api:
    """The management interface.

    Args:
        port: Its port on the loopback interface.
        user: Name of an account.
        password: Its password.
    """

    def __init__(self, port: int, user: str, password: str) -> None:
        self._base = f"http://127.0.0.1:{port}/api"
        proof = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {proof}", "Content-Type": "application/json"}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str, body: object = None) -> object:
        """Make a call and return the answer, None if it is empty.

        Raises:
            ApiError: The broker did not answer, or refused.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, self._headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=30) as answer:
                said = answer.read()
        except urllib.error.HTTPError as error:
            raise ApiError(f"{method} {path}: {error.code} {error.read(400).decode()}", error.code) from None
        except OSError as error:
            raise ApiError(f"the broker's management interface at {self._base} does not answer: {error}") from None
        return json.loads(said) if said else None

    def rows(self, path: str) -> list[dict[str, object]]:
        """Return a list.

        Raises:
            ApiError: The broker did not answer, or refused.
        """
        found = self.call("GET", path)
        return found if isinstance(found, list) else []

    def is_accepted(self, patience: float) -> bool:
        """Tell whether the account is accepted; waits for an answer for so many seconds.

        Raises:
            ApiError: There was none.
        """
        end = time.monotonic() + patience
        while True:
            try:
                self.call("GET", "/whoami")
                return True
            except ApiError as error:
                if error.status == 401:
                    return False
                if time.monotonic() > end:
                    raise
            time.sleep(0.3)
