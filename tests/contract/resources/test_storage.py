"""Every object store keeps the promises of its interface."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from dirac.core.errors import (
    DiracError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from dirac.resources.storage.base import ObjectStore
from dirac.resources.storage.directory import (
    DOWNLOAD_PATH,
    UPLOAD_PATH,
    DirectoryStore,
    Grant,
)
from dirac.resources.storage.s3 import S3Store
from dirac.resources.storage.testing import (
    ObjectStoreContract,
    PermissionsContract,
    new_object,
    presign,
    put,
)
from tests.services.authority import Authority

CODES = {InvalidInputError: 422, TooLargeError: 413, NotAllowedError: 403, NotFoundError: 404}


def listening_socket() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


async def parts(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def routes(store: DirectoryStore) -> Starlette:
    """The two routes, as short as they can be."""

    async def upload(request: Request) -> Response:
        async with request.form() as form:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            await store.receive(store.verify_upload(fields), parts(await form["file"].read()))  # type: ignore[union-attr]
        return Response(status_code=204)

    async def download(request: Request) -> Response:
        return FileResponse(store.verify_download(request.query_params))

    async def failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, CODES[type(error)])  # type: ignore[index]

    return Starlette(
        routes=[Route(UPLOAD_PATH, upload, methods=["POST"]), Route(DOWNLOAD_PATH, download)],
        exception_handlers={DiracError: failed},
    )


class TestDirectory(PermissionsContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[DirectoryStore]:
        listener = listening_socket()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        store = DirectoryStore.from_settings(
            {"root": str(tmp_path / "objects"), "base_url": url, "signing_key_file": str(tmp_path / "key")}
        )
        server = uvicorn.Server(uvicorn.Config(routes(store), log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield store
        server.should_exit = True
        await serving

    @pytest.mark.parametrize(
        ("sent", "error"),
        [
            ([b"hell"], InvalidInputError),
            ([], InvalidInputError),
            ([b"hello!"], TooLargeError),
            ([b"hello", b"!"], TooLargeError),
            ([b"olleh"], InvalidInputError),
        ],
    )
    async def test_what_is_refused_leaves_nothing_behind(
        self, store: DirectoryStore, tmp_path: Path, sent: list[bytes], error: type[DiracError]
    ) -> None:
        grant = Grant("a/b", 5, hashlib.sha256(b"hello").hexdigest())
        with pytest.raises(error, match="a/b"):
            await store.receive(grant, parts(*sent))
        assert files(tmp_path / "objects") == []

    async def test_an_upload_that_breaks_off_leaves_nothing_behind(
        self, store: DirectoryStore, tmp_path: Path
    ) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"hel"
            raise ConnectionResetError("gone")

        with pytest.raises(UnavailableError):
            await store.receive(Grant("a/b", 5, "0" * 64), broken())
        assert files(tmp_path / "objects") == []

    async def test_a_cancelled_upload_leaves_nothing_behind(
        self, store: DirectoryStore, tmp_path: Path
    ) -> None:
        waiting = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"hel"
            waiting.set()
            await asyncio.Event().wait()

        upload = asyncio.create_task(store.receive(Grant("a/b", 5, "0" * 64), endless()))
        await waiting.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert files(tmp_path / "objects") == []

    async def test_a_body_that_is_too_long_is_not_read_to_its_end(self, store: DirectoryStore) -> None:
        taken = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield bytes(1000)

        with pytest.raises(TooLargeError):
            await store.receive(Grant("a/b", 5000, "0" * 64), endless())
        assert taken == 6

    async def test_simultaneous_uploads_of_an_object_leave_one(
        self, store: DirectoryStore, tmp_path: Path
    ) -> None:
        key, content = new_object(2_000_000)
        await asyncio.gather(*(put(store, key, content) for _ in range(4)))
        assert await store.read(key) == content
        assert len(files(tmp_path / "objects")) == 1

    async def test_only_old_remains_of_uploads_are_swept(self, store: DirectoryStore, tmp_path: Path) -> None:
        key, content = new_object()
        await put(store, key, content)
        incoming = tmp_path / "objects" / ".incoming"
        for name in ("old", "new"):
            (incoming / name).write_bytes(b"remains")
        os.utime(incoming / "old", (0, 0))
        assert await store.sweep() == 1
        assert await store.sweep() == 0
        assert [path.name for path in incoming.iterdir()] == ["new"]
        assert await store.read(key) == content

    async def test_a_root_that_cannot_be_used_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        store = DirectoryStore(tmp_path / "file", "http://x", bytes(32))
        with pytest.raises(UnavailableError, match="a/b"):
            await store.receive(Grant("a/b", 0, hashlib.sha256().hexdigest()), parts())

    async def test_servers_share_the_key_file_and_nobody_else_may_read_it(self, tmp_path: Path) -> None:
        settings = {
            "root": str(tmp_path / "objects"),
            "base_url": "http://x",
            "signing_key_file": str(tmp_path / "secrets" / "key"),
        }
        stores = [DirectoryStore.from_settings(settings) for _ in range(2)]
        upload = await presign(stores[0], "a/b", b"hello")
        assert stores[1].verify_upload(upload.fields).size == 5
        assert (tmp_path / "secrets" / "key").stat().st_mode & 0o777 == 0o600


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_service(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@contextmanager
def s3_service(log: Path, *options: str) -> Iterator[str]:
    with listening_socket() as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    url, deadline = f"{'https' if options else 'http'}://127.0.0.1:{port}", time.monotonic() + 60
    while not answers(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    yield url
    process.terminate()
    process.wait()


class TestS3(ObjectStoreContract):
    """The server here looks at no signature and no policy, so the tests look at what was signed."""

    @pytest.fixture
    async def store(self, endpoint: str) -> AsyncIterator[S3Store]:
        store = S3Store.from_settings(settings(endpoint))
        yield store
        await store.close()

    async def test_the_policy_of_an_upload_fixes_everything(self, store: ObjectStore) -> None:
        key, content = new_object()
        upload = await presign(store, key, content)
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        conditions = json.loads(base64.b64decode(upload.fields["policy"]))["conditions"]
        assert ["content-length-range", len(content), len(content)] in conditions
        assert {"x-amz-checksum-sha256": checksum} in conditions
        assert {"key": key} in conditions
        assert upload.fields["x-amz-checksum-sha256"] == checksum
        assert upload.fields["x-amz-signature"] == signature_of(upload.fields["policy"], upload.fields)

    async def test_the_policy_of_an_upload_and_the_url_of_a_download_expire(self, store: ObjectStore) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        key, content = new_object()
        upload = await presign(store, key, content, expires_in=300)
        url = await store.presign_download(key, expires_in=300)
        after = datetime.now(UTC)
        expiration = json.loads(base64.b64decode(upload.fields["policy"]))["expiration"]
        minutes = timedelta(seconds=300)
        assert before + minutes <= datetime.fromisoformat(expiration) <= after + minutes
        assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["300"]

    async def test_a_site_may_have_an_authority_of_its_own(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        certificate, private = authority.certificate()
        with s3_service(tmp_path / "log", "-c", str(certificate), "-k", str(private)) as url:
            stranger = S3Store.from_settings(settings(url))
            with pytest.raises(UnavailableError, match=r"(?i)certificate.verify.failed"):
                await stranger.size("a")
            store = S3Store.from_settings(settings(url, ca_file=str(authority.ca)))
            assert await store.exists(["a"]) == set()
            await store.close()

    async def test_a_missing_bucket_is_made_in_its_region(self, endpoint: str) -> None:
        store = S3Store.from_settings(settings(endpoint, bucket="elsewhere", region="eu-west-1"))
        key, content = new_object()
        await put(store, key, content)
        assert await store.exists([key]) == {key}
        await store.close()

    async def test_a_missing_bucket_is_not_made_when_it_must_not(self, endpoint: str) -> None:
        store = S3Store.from_settings(settings(endpoint, bucket="nowhere", create_bucket=False))
        with pytest.raises(UnavailableError, match="nowhere"):
            await store.delete(["a"])
        await store.close()

    async def test_a_service_that_is_not_there_is_unavailable(self) -> None:
        with listening_socket() as listener:
            store = S3Store.from_settings(settings(f"http://127.0.0.1:{listener.getsockname()[1]}"))
            with pytest.raises(UnavailableError, match="sandboxes"):
                await store.size("a")

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"bucket": "No"}, "bucket"),
            ({"endpoint_url": "ftp://x"}, "endpoint_url"),
            ({"secret_access_key": None}, "secret_access_key"),
            ({"create_bucket": "maybe"}, "create_bucket"),
        ],
    )
    def test_wrong_settings_are_named(self, wrong: dict[str, Any], expected: str) -> None:
        with pytest.raises(InvalidInputError, match=expected):
            S3Store.from_settings({**settings("http://x"), **wrong})

    def test_the_secret_is_not_in_the_representation(self) -> None:
        assert "proof" not in repr(S3Store.from_settings(settings("http://x"))._settings)


def settings(endpoint: str, **changes: Any) -> dict[str, Any]:
    fields = {"access_key_id": "tester", "secret_access_key": "proof", "endpoint_url": endpoint}
    return {"bucket": "sandboxes", **fields, **changes}


def signature_of(policy: str, fields: dict[str, str]) -> str:
    """Sign a policy as the S3 documentation says (Signature Version 4, POST policy)."""
    key = b"AWS4proof"
    for part in fields["x-amz-credential"].split("/")[1:]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, policy.encode(), hashlib.sha256).hexdigest()


def answers(url: str) -> bool:
    try:
        # Whose certificate it is, is not the question here.
        return httpx.get(url, verify=False).status_code < 500
    except httpx.TransportError:
        return False
