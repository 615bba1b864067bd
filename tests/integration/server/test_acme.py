"""The program of role `acme` at a real ACME authority, and a listener of ours that shows what it got."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from dirac.transport.tls import client_context, server_context
from tests.loading import ROOT
from tests.services.packages import obtain
from tests.services.pebble import LEGO, Pebble
from tests.services.server import LOOPBACK

PROGRAM = ROOT / "roles/acme/files/dirac-acme"


class Renewed:
    """A host with the program, and the authority."""

    def __init__(self, directory: Path, pebble: Pebble) -> None:
        self.certificate, self.key = directory / "public.pem", directory / "public.key"
        self.reloaded = directory / "reloaded"
        self.ca = directory / "root.pem"
        self.ca.write_text(pebble.root())
        lego = obtain(LEGO).root / "usr/bin"
        self.settings = {
            "PATH": f"{lego}:{os.environ['PATH']}",
            "LEGO_CA_CERTIFICATES": str(pebble.authority.ca),
            "ACME_URL": pebble.url,
            "ACME_MAIL": "operators@example.org",
            "ACME_NAMES": "localhost",
            "ACME_LISTEN": f"{LOOPBACK}:{pebble.ports['challenge']}",
            "ACME_STATE": str(directory / "state"),
            "ACME_CERTIFICATE": str(self.certificate),
            "ACME_KEY": str(self.key),
            "ACME_GROUP": str(os.getgid()),
            "ACME_RELOAD": f"echo x >>{self.reloaded}",
        }

    def run(self, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run the program, as its timer does."""
        return subprocess.run(
            [PROGRAM], env=self.settings | changes, capture_output=True, text=True, check=False
        )

    def have(self, **changes: str) -> x509.Certificate:
        """Run it, demand success, and return what there is now."""
        done = self.run(**changes)
        assert done.returncode == 0, done.stdout + done.stderr
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def shown(self, listener: ssl.SSLContext, name: str = "localhost") -> int:
        """Shake hands with a listener as a client that believes the authority; return the serial number."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = listener.wrap_bio(to_server, to_client, server_side=True)
        client = client_context(self.ca).wrap_bio(to_client, to_server, server_hostname=name)
        for side in (client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        found = client.getpeercert(binary_form=True)
        assert found is not None
        return x509.load_der_x509_certificate(found).serial_number


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    """An authority whose certificates are good for ten days."""
    with Pebble(seconds=10 * 86400) as authority:
        yield authority


@pytest.fixture
def host(tmp_path: Path, pebble: Pebble) -> Renewed:
    """A host that has nothing yet."""
    return Renewed(tmp_path, pebble)


def test_a_certificate_is_got_kept_and_renewed_and_nothing_is_restarted(host: Renewed) -> None:
    first = host.have(ACME_DAYS="3")
    assert host.key.stat().st_mode & 0o777 == 0o640
    assert host.reloaded.read_text() == "x\n"
    listener = server_context(host.certificate, host.key, None, demand=False)
    assert host.shown(listener) == first.serial_number
    assert host.have(ACME_DAYS="3") == first, "it is not due"
    assert host.reloaded.read_text() == "x\n"
    key = host.key.read_bytes()
    second = host.have(ACME_DAYS="30")
    assert second.serial_number != first.serial_number
    assert host.key.read_bytes() == key, "at no moment do they not belong together"
    assert host.reloaded.read_text() == "x\nx\n"
    assert host.shown(listener) == second.serial_number, "from the next connection on"


def test_other_names_are_another_certificate_at_once(host: Renewed) -> None:
    first = host.have(ACME_DAYS="3")
    (Path(host.settings["ACME_STATE"]) / "names").write_text("localhost old.example.org\n")
    second = host.have(ACME_DAYS="3")
    assert second.serial_number != first.serial_number, "though the first one lasts for long"
    names = second.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert host.have(ACME_DAYS="3") == second


def test_what_was_there_stays_if_the_authority_refuses(host: Renewed) -> None:
    first = host.have(ACME_DAYS="3")
    refused = host.run(ACME_NAMES="localhost not-here.invalid")
    assert refused.returncode != 0
    assert "not-here.invalid" in refused.stdout + refused.stderr
    assert x509.load_pem_x509_certificate(host.certificate.read_bytes()) == first
    away = host.run(ACME_URL="https://localhost:1/dir", ACME_DAYS="30")
    assert away.returncode != 0
    assert host.have(ACME_DAYS="3") == first, "and the next time it goes on"


@pytest.mark.parametrize("name", ["ACME_URL", "ACME_NAMES", "ACME_CERTIFICATE"])
def test_settings_that_are_missing_are_named(host: Renewed, name: str) -> None:
    refused = host.run(**{name: ""})
    assert refused.returncode != 0
    assert name in refused.stderr
    assert not host.certificate.exists()
