"""TLS: whom a client believes, and what is wrong with a listener's files."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from dirac.core.errors import InvalidInputError
from dirac.transport._httpx import client_options
from dirac.transport.tls import client_context, not_after, server_context
from tests.services.authority import Authority


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    for variable in ("DIRAC_CA_FILE", "X509_CERT_DIR", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    return Authority(tmp_path / "pki")


def believed(**options: Path) -> list[str]:
    found = client_context(**options).get_ca_certs()
    return [name for entry in found for ((kind, name),) in entry["subject"] if kind == "commonName"]


def test_a_file_of_authorities_is_believed(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    assert believed() == []
    assert believed(ca_file=authority.ca) == ["Test authority"]
    monkeypatch.setenv("DIRAC_CA_FILE", str(authority.ca))
    assert believed() == ["Test authority"]


def test_the_machines_authorities_are_believed_and_no_bundle(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client_options("https")["verify"].get_ca_certs() == []
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    assert believed() == ["Test authority"]
    assert client_options("http")["verify"] is False


def test_what_holds_no_authorities_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"DIRAC_CA_FILE: .*none\.pem cannot be read"):
        client_context(tmp_path / "none.pem")
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(InvalidInputError, match=r"DIRAC_CA_FILE: .*text\.pem holds no certificate"):
        client_context(tmp_path / "text.pem")


def test_files_of_a_listener_have_to_fit_together(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.certificate()
    server_context(certificate, key, authority.ca, demand=True)
    _, other = authority.certificate(stem="other")
    with pytest.raises(InvalidInputError, match="is not the key of the certificate"):
        server_context(certificate, other, None, demand=False)
    key.chmod(0o644)
    with pytest.raises(InvalidInputError, match="others may use") as caught:
        server_context(certificate, key, None, demand=False)
    assert caught.value.hint == f"chmod o= {key}"
    key.chmod(0o600)
    with pytest.raises(InvalidInputError, match=r"tls_client_ca: .* cannot be read"):
        server_context(certificate, key, tmp_path / "none", demand=True)
    certificate.write_text("hello")
    with pytest.raises(InvalidInputError, match="no certificate with its key"):
        server_context(certificate, key, None, demand=False)


def test_an_encrypted_key_is_refused_and_nobody_asked(authority: Authority) -> None:
    certificate, key = authority.certificate()
    command = ["openssl", "pkey", "-in", str(key), "-aes128", "-passout", "pass:x", "-out", f"{key}.enc"]
    subprocess.run(command, check=True, capture_output=True)
    Path(f"{key}.enc").chmod(0o600)
    with pytest.raises(InvalidInputError, match="it is encrypted"):
        server_context(certificate, Path(f"{key}.enc"), None, demand=False)


def test_the_end_of_a_certificate_is_known(authority: Authority) -> None:
    certificate, key = authority.certificate(days=3)
    assert not_after(certificate).timestamp() == pytest.approx(time.time() + 3 * 86400, abs=60)
    with pytest.raises(InvalidInputError, match="holds no certificate"):
        not_after(key)
