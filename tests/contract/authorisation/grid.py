"""Certificates and proxies of the matrix's people and hosts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dirac.formats.x509 import names, proxy, voms
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
        self.vomsdir = directory.parent / "vomsdir"
        lsc = self.vomsdir / "astro" / "voms.example.org.lsc"
        lsc.parent.mkdir(parents=True)
        lsc.write_text(f"{self.dn('voms')}\n/CN=Test authority\n")
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
        self,
        name: str,
        *,
        limited: bool | None = None,
        hours: float = 12,
        age: float = 0,
        vo: str | None = None,
    ) -> tuple[bytes, ...]:
        """Return what a client shows: somebody's certificate, or with `limited` said a proxy of it.

        Args:
            name: Whose.
            limited: Which kind of proxy.
            hours: How long that is good.
            age: Hours since it was made.
            vo: The VO that VOMS says in it.
        """
        chain = proxy.chain([self.certificate(name)])
        if limited is not None:
            key = proxy.make_key().public_key()
            attributes = None if vo is None else self._attributes(name, vo)
            chain = self._sign(name, key, hours=hours, limited=limited, age=age, attributes=attributes)
        return tuple(one.public_bytes(Encoding.DER) for one in chain.certificates)

    def _attributes(self, name: str, vo: str) -> bytes:
        now, server = datetime.now(UTC), self.certificate("voms")
        return voms.make(
            self.certificate(name),
            [server],
            self._known["voms"][1],
            vo=vo,
            server="voms.example.org:15000",
            fqans=[f"/{vo}/Role=NULL/Capability=NULL"],
            serial=next(self._serials),
            not_before=now - timedelta(hours=1),
            not_after=now + timedelta(hours=12),
        )

    def signed(self, name: str, csr: str, group: str | None) -> str:
        """Return the proxy that answers a request for one."""
        chain = self._sign(name, proxy.read_request(csr.encode()), group=group)
        return names.to_pem(chain.certificates).decode()

    def _sign(
        self, name: str, key: Any, *, hours: float = 12, age: float = 0, limited: bool = False, **more: Any
    ) -> proxy.Chain:
        return proxy.sign(
            proxy.chain([self.certificate(name)]),
            self._known[name][1],
            key,
            serial=next(self._serials),
            now=datetime.now(UTC) - timedelta(hours=age),
            life=timedelta(hours=hours),
            limited=limited,
            **more,
        )
