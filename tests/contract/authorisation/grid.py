"""Certificates and proxies of the matrix's people and hosts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dirac.formats.x509 import names, proxy
from tests.services.authority import Authority


class Grid:
    """An authority, and those whom it has certified.

    Args:
        directory: Of the authority, and of its list of revoked certificates.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self._known: dict[str, tuple[x509.Certificate, Any]] = {}
        self._serials = count(1)
        self.authority.revoke(self.certificate("gone"))
        self.csr = proxy.make_request(proxy.make_key()).decode()

    def dn(self, name: str) -> str:
        """Return the name of somebody's certificate."""
        return f"/C=ch/O=DIRAC/CN={name}"

    def certificate(self, name: str, *, days: float = 365) -> x509.Certificate:
        """Return somebody's certificate; it is made with its first use."""
        if name not in self._known:
            self._known[name] = self.authority.person(name, days=days)
        return self._known[name][0]

    def shown(
        self, name: str, *, limited: bool | None = None, hours: float = 12, age: float = 0
    ) -> tuple[bytes, ...]:
        """Return what a client shows: somebody's certificate, or with `limited` said a proxy of it."""
        chain = proxy.chain([self.certificate(name)])
        if limited is not None:
            key = proxy.make_key()
            chain = self._sign(name, key.public_key(), None, hours=hours, limited=limited, age=age)
        return tuple(one.public_bytes(Encoding.DER) for one in chain.certificates)

    def signed(self, name: str, csr: str, group: str | None) -> str:
        """Return the proxy that answers a request for one."""
        chain = self._sign(name, proxy.read_request(csr.encode()), group, hours=12, limited=False)
        return names.to_pem(chain.certificates).decode()

    def _sign(
        self, name: str, key: Any, group: str | None, *, hours: float, limited: bool, age: float = 0
    ) -> proxy.Chain:
        chain = proxy.chain([self.certificate(name)])
        return proxy.sign(
            chain,
            self._known[name][1],
            key,
            serial=next(self._serials),
            now=datetime.now(UTC) - timedelta(hours=age),
            life=timedelta(hours=hours),
            limited=limited,
            group=group,
        )
