"""The listener of a process for those who watch over it: `/metrics` and `/health`, in a thread of its own.

A thread, so that it is the same in a server, a worker and the scheduler, and says so when the event loop is
stuck. Few ask, and rarely.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from dirac.core.errors import ConflictError, DiracError, InvalidInputError
from dirac.server.metrics import Metrics
from dirac.server.settings import Settings
from dirac.transport.tls import not_after

log = logging.getLogger(__name__)

Health = Callable[[], Awaitable[dict[str, str]]]
"""Says how the process is, as words about its parts; raises `DiracError` if it is not well."""

_PATIENCE = 5.0  # seconds for a client to ask, and for the event loop to answer


class Listener(ThreadingHTTPServer):
    """Answers at an address until it is shut down.

    Args:
        address: Host and port.
        metrics: What there is to tell.
        health: Asked in the event loop.
        loop: That loop.
        tls: How to speak TLS; None for plain HTTP.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        address: tuple[str, int],
        metrics: Metrics,
        health: Health,
        loop: asyncio.AbstractEventLoop,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        super().__init__(address, _Handler)
        self.metrics = metrics
        self._health = health
        self._loop = loop
        if tls is not None:
            # The handshake is left to the connection's own thread: who dawdles keeps nobody else waiting.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def health(self) -> tuple[int, dict[str, str]]:
        """Return a status of HTTP and what is to be said about the process."""
        asked = asyncio.run_coroutine_threadsafe(_ask(self._health), self._loop)
        try:
            return 200, {"status": "ok"} | asked.result(_PATIENCE)
        except DiracError as error:
            return 503, {"status": "failing", "detail": str(error)}
        except TimeoutError:
            asked.cancel()
            return 503, {"status": "failing", "detail": f"no answer within {_PATIENCE} s"}
        except Exception:
            log.exception("the health of this process is not known")
            return 503, {"status": "failing", "detail": "a defect; it was logged"}

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - inherited
        """Say in one line what a client did wrong: no certificate, no TLS, no patience."""
        log.info("a client of the metrics was refused", exc_info=log.isEnabledFor(logging.DEBUG))


class _Handler(BaseHTTPRequestHandler):
    server: Listener
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self.server.metrics.registry))
        elif path == "/health":
            status, said = self.server.health()
            self._answer(status, "application/json", json.dumps(said).encode())
        else:
            self._answer(404, "text/plain", b"There are /metrics and /health\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Keep the versions of Python and of its server to ourselves."""
        return "dirac"

    def log_message(self, *_: Any) -> None:
        """Say nothing about answers."""


async def _ask(health: Health) -> dict[str, str]:
    return await health()


@contextmanager
def listening(
    settings: Settings, metrics: Metrics, health: Health, loop: asyncio.AbstractEventLoop
) -> Iterator[None]:
    """Answer those who watch, if the settings say where.

    Args:
        settings: Those of this process, with its own port.
        metrics: What there is to tell.
        health: Asked in the event loop.
        loop: That loop.

    Raises:
        ConflictError: The port is in use.
        InvalidInputError: The address is none of this host's, or the certificate cannot be used.
    """
    host, port = settings.metrics.host, settings.metrics.port
    if port is None:
        yield
        return
    tell_expiry(settings, metrics, "metrics")
    listener = _bound((host, port), metrics, health, loop, settings.metrics_tls())
    thread = threading.Thread(target=listener.serve_forever, name="dirac-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def tell_expiry(settings: Settings, metrics: Metrics, listener: Literal["http", "metrics"]) -> None:
    """Tell when the certificate of a listener expires, of that which is there when somebody asks."""
    name = getattr(settings, listener).tls_certificate
    if name is not None:
        path = settings.path(name)
        metrics.follow(
            "dirac_certificate_expiry_timestamp_seconds", lambda: not_after(path).timestamp(), listener
        )


def _bound(address: tuple[str, int], *others: Any) -> Listener:
    host, port = address
    try:
        return Listener(address, *others)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"port {port} of {host} is in use by another program, so there is none for the metrics",
                hint="Choose another metrics.port, or find the program: ss -ltnp",
            ) from None
        raise InvalidInputError(
            f"metrics.host: cannot listen on port {port} of {host}: {error.strerror}"
        ) from None
