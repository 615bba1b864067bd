"""A repository behind git's own HTTP server, with a password, over TLS."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.core.secrets import SecretReference
from dirac.resources.repositories.git import Draft, GitBranch, Place, check_place
from dirac.resources.secrets.resolving import ReferredSecret, machine_secrets
from dirac.resources.secrets.vault import VaultSettings
from dirac.testing.time import FakeClock
from tests.services.authority import Authority

TIME = datetime(2026, 1, 1, tzinfo=UTC)


class Hub(ThreadingHTTPServer):
    """`git http-backend` (CGI) for the repositories of a directory; asks for a password."""

    daemon_threads = True

    def __init__(self, root: Path, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Backend)
        self.root, self.password = root, "hunter-first"
        self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that end."""


class _Backend(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(content)

    def _answer(self, content: bytes) -> None:
        expected = base64.b64encode(f"dirac:{self.server.password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self._send(401, {"WWW-Authenticate": 'Basic realm="hub"'}, b"")
            return
        parts = urlsplit(self.path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "REMOTE_USER": "dirac",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(content)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=content, capture_output=True, check=True
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        given = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._send(int(given.pop("Status", "200").split()[0]), given, body)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    authority = Authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.certificate("localhost"))
    far = tmp_path / "hub" / "conf.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(far)], check=True)
    with Hub(far.parent, context) as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


def _branch(hub: Hub, tmp_path: Path, password: str) -> GitBranch:
    file = tmp_path / "password"
    file.write_text(password)
    file.chmod(0o600)
    secrets = machine_secrets(lambda name: tmp_path / name, None, VaultSettings(), FakeClock(), 60)
    place = Place(
        url=f"https://localhost:{hub.server_address[1]}/conf.git",
        user="dirac",
        password=ReferredSecret(SecretReference(file="password"), "git.source.password", secrets),
        ca_file=tmp_path / "ca" / "ca.pem",
    )
    check_place(place, "git.source")
    return GitBranch(place, tmp_path / "copies")


def _draft(*parents: str, text: str) -> Draft:
    return Draft(
        parents=parents, changed={"a.yml": text}, removed=[], author="Ada <a@b>", time=TIME, message="x"
    )


async def test_it_is_read_and_written_with_the_password(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch = _branch(hub, tmp_path, "hunter-first")
    seen: list[str] = []
    real = __import__("asyncio").create_subprocess_exec

    async def recorded(*words: str, **options: object) -> object:
        seen.extend(words)
        return await real(*words, **options)

    monkeypatch.setattr("asyncio.create_subprocess_exec", recorded)
    assert await branch.fetch() is None
    commit = await branch.make(_draft(text="x: 1\n"))
    await branch.send(commit)
    assert await branch.fetch() == commit
    hub.password = "hunter-second"  # rotated there, and here
    (tmp_path / "password").write_text("hunter-second")
    await branch.send(await branch.make(_draft(commit, text="x: 2\n")))
    encoded = base64.b64encode(b"dirac:hunter-first").decode()
    assert not any("hunter-first" in word or encoded in word or "hunter-second" in word for word in seen)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "copies").rglob("*") if path.is_file())
    assert b"hunter-first" not in kept
    assert encoded.encode() not in kept


async def test_a_wrong_password_is_told_without_it(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="git ls-remote of https://localhost") as caught:
        await _branch(hub, tmp_path, "hunter2").fetch()
    assert "hunter2" not in str(caught.value)


async def test_a_stranger_is_not_shown_the_password(hub: Hub, tmp_path: Path) -> None:
    branch = _branch(hub, tmp_path, "hunter-first")
    Authority(tmp_path / "ca")  # another one from now on
    with pytest.raises(UnavailableError, match="certificate"):
        await branch.fetch()


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch /tmp/x",
        "ext::sh -c touch% /tmp/x",
        "https://dirac:hunter2@localhost/x.git",
        "https://hunter2@localhost/x.git",
        "relative/path",
        "http://git.example.org/x.git",
        "ftp://localhost/x",
        "https://localhost/x y",
    ],
)
def test_addresses_that_are_not_safe_are_refused(url: str, hub: Hub, tmp_path: Path) -> None:
    place = _branch(hub, tmp_path, "hunter-first").place
    with pytest.raises(InvalidInputError, match=r"git\.source\.url") as caught:
        check_place(Place(url=url, password=place.password), "git.source")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("branch", ["", "-x", "../x", "a b", "x.lock", "/x"])
def test_branches_that_are_not_safe_are_refused(branch: str) -> None:
    with pytest.raises(InvalidInputError, match=r"git\.source\.branch"):
        check_place(Place(url="/x", branch=branch), "git.source")
