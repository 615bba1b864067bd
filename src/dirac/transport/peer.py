"""The certificates that a client shows: taken from its connection once, at hand in each of its requests.

They are where ASGI's TLS extension wants them, `scope["extensions"]["tls"]`; beside them, under `PEER`, is
the chain as it came, for who has to judge it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)

PEER = "dirac.peer"
_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class Peer:
    """A client that has shown a certificate.

    Attributes:
        certificates: DER of its certificate and of those that lead to the authority, verified by OpenSSL.
    """

    __slots__ = ("certificates",)

    def __init__(self, certificates: tuple[bytes, ...]) -> None:
        self.certificates = certificates


def shown(connection: ssl.SSLObject | ssl.SSLSocket) -> tuple[bytes, ...]:
    """Return the chain that a client has shown, its own certificate first; empty if it has shown none.

    It is the one that OpenSSL has verified. A session of TLS 1.2 that is resumed has what the client sent
    when it began, which was verified then.
    """
    if connection.getpeercert(binary_form=True) is None:
        return ()
    new: Any = connection
    if hasattr(new, "get_verified_chain"):  # from Python 3.13 on
        return tuple(new.get_verified_chain() or new.get_unverified_chain())
    # Before, ssl had it and did not say so; an ssl.SSLObject is a thin dress of it.
    inner = new._sslobj
    chain = inner.get_verified_chain() or inner.get_unverified_chain() or ()
    return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain)


def peer_of(scope: Scope) -> Peer | None:
    """Return the client of a request if it has shown a certificate."""
    extensions = scope.get("extensions")
    found = extensions.get("tls", {}).get(PEER) if extensions else None
    return found if isinstance(found, Peer) else None


class TlsProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which says in each request whose connection it came by."""

    _extensions: dict[str, dict[str, Any]] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look once at what the client has shown."""
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        if connection is None:
            return
        chain = shown(connection)
        self._extensions = {
            "tls": {
                "server_cert": None,
                "client_cert_chain": [ssl.DER_cert_to_PEM_cert(one) for one in chain],
                "client_cert_name": None,
                "client_cert_error": None,
                "tls_version": _VERSIONS.get(connection.version() or ""),
                "cipher_suite": None,
                PEER: Peer(chain) if chain else None,
            }
        }

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        if self._extensions is not None:
            self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
