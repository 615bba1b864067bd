"""A key-value store of version 2 as Vault and OpenBao have it: of their documented HTTP API what is used.

Neither can be built from a module as it is; docs/decisions/0035 says what was tried with a real one.
Endpoints: read a secret's newest version, and the login as an AppRole, with their statuses and bodies
(https://developer.hashicorp.com/vault/api-docs: secret/kv/kv-v2, auth/approle).
"""

from __future__ import annotations

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from .server import LOOPBACK


class KeyValueStore(ThreadingHTTPServer):
    """One store; what it knows may be changed at any time.

    Args:
        tls: How it shows who it is.

    Attributes:
        secrets: By mount and path, the data of the newest version; None for a deleted one.
        tokens: Tokens that may read.
        roles: Secret identifiers by role identifier.
        asked: Methods and paths of all requests.
        sealed: Whether it answers nothing, as after a restart.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.secrets: dict[tuple[str, str], dict[str, Any] | None] = {}
        self.tokens: set[str] = set()
        self.roles: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.sealed = False
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._scheme}://localhost:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that do not believe the certificate."""


class _Handler(BaseHTTPRequestHandler):
    server: KeyValueStore
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(("GET", self.path))
        parts = self.path.removeprefix("/v1/").split("/", 2)
        if self.server.sealed:
            self._answer(503, {"errors": ["Vault is sealed"]})
        elif self.headers.get("X-Vault-Token") not in self.server.tokens:
            self._answer(403, {"errors": ["permission denied"]})
        elif len(parts) != 3 or parts[1] != "data" or (parts[0], parts[2]) not in self.server.secrets:
            self._answer(404, {"errors": []})
        else:
            found = self.server.secrets[parts[0], parts[2]]
            metadata = {
                "version": 1,
                "destroyed": False,
                "deletion_time": "" if found else "2026-01-01T00:00:00Z",
            }
            body = {"request_id": "1", "lease_id": "", "data": {"data": found, "metadata": metadata}}
            self._answer(404 if found is None else 200, body)

    def do_POST(self) -> None:
        self.server.asked.append(("POST", self.path))
        said = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"{}")
        secret = self.server.roles.get(said.get("role_id"))
        if self.path != "/v1/auth/approle/login":
            self._answer(404, {"errors": ["no handler for route"]})
        elif secret is None or secret != said.get("secret_id"):
            self._answer(400, {"errors": ["invalid role or secret ID"]})
        else:
            token = f"hvs.of-{secret}-{len(self.server.asked)}"
            self.server.tokens.add(token)
            self._answer(200, {"auth": {"client_token": token, "lease_duration": 1200, "renewable": True}})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
