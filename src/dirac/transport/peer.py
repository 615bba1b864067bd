"""The certificates that a client shows: taken from its connection once, at hand in each of its requests.

They are an extension of the scope. ASGI's own for TLS has them as PEM, which whoever judges them would have
to undo for each request.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dirac.transport.joining import Joining

PEER = "dirac.peer"


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
    found = extensions.get(PEER) if extensions else None
    return found if isinstance(found, Peer) else None


class TlsProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which says in each request whose connection it is, and answers in one piece."""

    _extensions: dict[str, Any] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look once at what the client has shown."""
        super().connection_made(Joining(transport))  # type: ignore[arg-type]  # is all of it that is used
        connection = transport.get_extra_info("ssl_object")
        chain = () if connection is None else shown(connection)
        if chain:
            self._extensions = {PEER: Peer(chain)}

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        if self._extensions is not None:
            self.scope["extensions"] = self._extensions
