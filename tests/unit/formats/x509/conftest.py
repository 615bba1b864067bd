"""A user, and the user's proxies; made once, because keys take their time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from dirac.formats.x509 import names, proxy
from tests.services.authority import Authority

HOUR = timedelta(hours=1)


class Grid:
    """An authority, and Alice who makes proxies."""

    def __init__(self, directory: Path) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.authority = Authority(directory)
        self.ca = names.certificates(self.authority.ca.read_bytes())[0]
        self.certificate, self.key = self.authority.person("alice")
        self.keys = [proxy.make_key() for _ in range(3)]
        self._serials = count(4711)

    @property
    def alice(self) -> proxy.Chain:
        return proxy.chain([self.certificate])

    def sign(self, of: proxy.Chain, signer: Any, key: Any, **options: Any) -> proxy.Chain:
        given = {"serial": next(self._serials), "now": self.now, "life": HOUR, **options}
        return proxy.sign(of, signer, key.public_key(), **given)

    def proxy(self, **options: Any) -> proxy.Chain:
        """Alice's proxy; its key is the first one."""
        return self.sign(self.alice, self.key, self.keys[0], **options)

    def hand_made(self, *cn: str, key: Any = None, extensions: tuple[x509.Extension[Any], ...] = ()) -> Any:
        """A certificate with Alice's name and further CNs, signed by Alice."""
        above = self.certificate.subject
        added = [x509.NameAttribute(x509.NameOID.COMMON_NAME, each) for each in cn]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([*above, *added]))
            .issuer_name(above)
            .public_key((key or self.keys[0]).public_key())
            .serial_number(next(self._serials))
            .not_valid_before(self.now - HOUR)
            .not_valid_after(self.now + HOUR)
        )
        for one in extensions:
            builder = builder.add_extension(one.value, critical=one.critical)
        return builder.sign(self.key, proxy.hashes.SHA256())


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    return Grid(tmp_path_factory.mktemp("pki"))
