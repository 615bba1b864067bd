"""The exchange of the secret with servers in every mood."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def test_a_refusal_is_final_and_says_why(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(401, {"detail": f"the secret {tools.secret} was used before"})]
    assert pilot.run() == 12
    assert "answered 401: the secret [hidden] was used before" in pilot.last["reason"]
    assert "the secret [hidden] was used before" in pilot.out
    assert len(server.requests) == 1


def test_a_redirection_is_not_followed(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(307, None, {"Location": "/elsewhere"})]
    assert pilot.run() == 12
    assert len(server.requests) == 1


def test_an_answer_without_a_token_is_final(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(200, ["welcome"])]
    assert pilot.run() == 12
    assert "not with a bearer token" in pilot.last["reason"]


def test_a_busy_server_is_asked_again(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(503, {"detail": "starting"}), tools.reply(429, None), tools.good]
    assert pilot.run() == 0
    assert "answered 503: starting; trying again in" in pilot.out
    assert pilot.report["steps"][2]["facts"]["tries"] == 3
    assert len({request["headers"]["Idempotency-Key"] for request in server.requests}) == 1


def test_retry_after_is_honoured_and_the_time_limit_too(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(429, None, {"Retry-After": "3600"})]
    assert pilot.run() == 12
    assert "no token within 10 s, 1 tries; last:" in pilot.last["reason"]


def test_an_answer_that_breaks_off_is_asked_for_again(pilot: Any, server: Any, tools: Any) -> None:
    broken = tools.reply(200, tools.good.body, broken=True)
    server.script = [broken, tools.good]
    assert pilot.run() == 0
    assert "broke off" in pilot.out


def test_a_server_that_comes_up_late(pilot: Any, silent_server: Any) -> None:
    pilot.settings["url"] = silent_server.url
    pilot.start()
    pilot.wait_for("does not answer")
    silent_server.listen()
    assert pilot.wait() == 0
    assert len(silent_server.requests) == 1


def test_a_slow_server(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(200, tools.good.body, after=0.2)]
    assert pilot.run() == 0


def test_a_server_that_never_answers(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(200, tools.good.body, after=60)]
    pilot.settings["exchange_seconds"] = 0.3
    assert pilot.run() == 12
    assert "no token within 0.3 s" in pilot.last["reason"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, and its directory in the form of `X509_CERT_DIR`."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "server.pem").write_bytes(pem)
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(folder / "server.pem")]
    name_hash = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (folder / "ca").mkdir()
    (folder / "ca" / f"{name_hash}.0").write_bytes(pem)
    return folder


@pytest.fixture
def tls_pilot(pilot: Any, silent_server: Any, certificates: Path) -> Any:
    """A pilot whose server speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    silent_server.socket = context.wrap_socket(
        silent_server.socket, server_side=True, do_handshake_on_connect=False
    )
    silent_server.scheme = "https"
    silent_server.listen()
    pilot.settings["url"] = silent_server.url
    return pilot


@pytest.mark.parametrize(
    ("variable", "name"),
    [("SSL_CERT_FILE", "server.pem"), ("X509_CERT_DIR", "ca"), ("DIRAC_CA_FILE", "server.pem")],
)
def test_the_authorities_of_the_node_are_trusted(
    tls_pilot: Any, certificates: Path, silent_server: Any, variable: str, name: str
) -> None:
    tls_pilot.environ[variable] = str(certificates / name)
    assert tls_pilot.run() == 0, tls_pilot.out
    assert len(silent_server.requests) == 1


def test_a_file_of_authorities_is_trusted_and_handed_on(
    tls_pilot: Any, certificates: Path, silent_server: Any
) -> None:
    tls_pilot.settings["ca_file"] = "site.pem"
    (tls_pilot.workdir / "site.pem").write_bytes((certificates / "server.pem").read_bytes())
    assert tls_pilot.run() == 0, tls_pilot.out
    assert len(silent_server.requests) == 1
    handed_on = tls_pilot.seen["environ"].split("\0")
    assert f"DIRAC_CA_FILE={tls_pilot.workdir / 'site.pem'}" in handed_on


def test_a_file_without_authorities_is_named(tls_pilot: Any, tmp_path: Path) -> None:
    tls_pilot.settings["ca_file"] = str(tmp_path / "nothing.pem")
    assert tls_pilot.run() == 12
    assert "nothing.pem" in tls_pilot.last["reason"]


def test_nobody_else_is_trusted_and_that_is_final(tls_pilot: Any, silent_server: Any) -> None:
    assert tls_pilot.run() == 12
    assert "is not trusted" in tls_pilot.last["reason"]
    assert "trying again" not in tls_pilot.out
    assert not silent_server.requests


@pytest.fixture
def proxy() -> Iterator[tuple[int, list[str]]]:
    """A proxy for one CONNECT; gives its port and the lines it was sent."""
    listener = socket.create_server(("127.0.0.1", 0))
    lines: list[str] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        lines.extend(head.decode().split("\r\n"))
        host, _, port = lines[0].split()[1].partition(":")
        with client, socket.create_connection((host, int(port))) as upstream:
            client.sendall(b"HTTP/1.1 200 Go ahead\r\n\r\n")
            back = threading.Thread(target=pump, args=(upstream, client))
            back.start()
            pump(client, upstream)
            back.join()

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1], lines
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_through_a_proxy(
    tls_pilot: Any, certificates: Path, silent_server: Any, proxy: tuple[int, list[str]]
) -> None:
    port, lines = proxy
    tls_pilot.environ |= {
        "SSL_CERT_FILE": str(certificates / "server.pem"),
        "https_proxy": f"http://me:p%40ss@127.0.0.1:{port}",
    }
    assert tls_pilot.run() == 0, tls_pilot.out
    assert lines[0].startswith(f"CONNECT localhost:{silent_server.server_port} ")
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in lines
    assert len(silent_server.requests) == 1


def test_past_the_proxy_where_no_proxy_says_so(
    tls_pilot: Any, certificates: Path, silent_server: Any
) -> None:
    tls_pilot.environ |= {
        "SSL_CERT_FILE": str(certificates / "server.pem"),
        "https_proxy": "http://127.0.0.1:1",
        "no_proxy": "example.org,localhost",
    }
    assert tls_pilot.run() == 0, tls_pilot.out
