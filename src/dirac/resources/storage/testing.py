"""The conformance suite of object stores: what `ObjectStore` promises, as tests to inherit.

::

    class TestMine(PermissionsContract):
        @pytest.fixture
        def store(self): return MyStore.from_settings({...})

Uploads and downloads are real HTTP requests, made as any client makes them.
"""
# ruff: noqa: D102, S101 - a test suite that ships with the package

from __future__ import annotations

import hashlib
import secrets

import httpx
import pytest

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.resources.storage.base import ObjectStore, Upload


def new_object(size: int = 1000) -> tuple[str, bytes]:
    """Return a key like that of a sandbox, and content."""
    content = secrets.token_bytes(size)
    return f"vo/group/user/sha256:{hashlib.sha256(content).hexdigest()}.tar.zst", content


async def send(upload: Upload, content: bytes) -> httpx.Response:
    """Upload as clients do."""
    async with httpx.AsyncClient() as client:
        return await client.post(upload.url, data=upload.fields, files={"file": content})


async def fetch(url: str) -> httpx.Response:
    """Download as clients do."""
    async with httpx.AsyncClient() as client:
        return await client.get(url)


def _another(character: str) -> str:
    return "1" if character == "0" else "0"


async def presign(store: ObjectStore, key: str, content: bytes, expires_in: int = 60) -> Upload:
    """Allow the upload of that content."""
    sha256 = hashlib.sha256(content).hexdigest()
    return await store.presign_upload(key, size=len(content), sha256=sha256, expires_in=expires_in)


async def put(store: ObjectStore, key: str, content: bytes) -> None:
    """Upload an object that has to be taken."""
    response = await send(await presign(store, key, content), content)
    assert response.status_code in range(200, 205), response.text


class ObjectStoreContract:
    """Promises that hold for every store; the fixture `store` gives one, and may keep it between tests."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give the store under test."""
        raise NotImplementedError

    @pytest.mark.parametrize("size", [0, 1, 3_000_000])
    async def test_what_is_uploaded_can_be_fetched(self, store: ObjectStore, size: int) -> None:
        key, content = new_object(size)
        await put(store, key, content)
        assert await store.exists([key]) == {key}
        assert await store.size(key) == size
        assert await store.read(key) == content
        response = await fetch(await store.presign_download(key, expires_in=60))
        assert (response.status_code, response.content) == (200, content)

    async def test_a_large_object_comes_in_parts(self, store: ObjectStore) -> None:
        key, content = new_object(3_000_000)
        await put(store, key, content)
        parts = [part async for part in store.open(key)]
        assert len(parts) > 1
        assert b"".join(parts) == content

    async def test_uploading_again_is_fine(self, store: ObjectStore) -> None:
        key, content = new_object()
        await put(store, key, content)
        await put(store, key, content)
        assert await store.read(key) == content

    async def test_what_has_another_content_than_its_name_says_is_not_believed_and_removed(
        self, store: ObjectStore
    ) -> None:
        key, content = new_object()
        right, other = hashlib.sha256(content).hexdigest(), hashlib.sha256(content[::-1]).hexdigest()
        assert not await store.verify(key, sha256=right)
        await put(store, key, content)
        assert await store.verify(key, sha256=right)
        assert await store.exists([key]) == {key}
        assert not await store.verify(key, sha256=other)
        assert await store.exists([key]) == set()

    async def test_what_is_not_there_is_not_found(self, store: ObjectStore) -> None:
        key, _ = new_object()
        assert await store.exists([]) == set()
        assert await store.exists([key]) == set()
        with pytest.raises(NotFoundError, match=key):
            await store.size(key)
        with pytest.raises(NotFoundError, match=key):
            await store.read(key)
        assert (await fetch(await store.presign_download(key, expires_in=60))).status_code == 404

    async def test_many_are_removed_at_once_and_missing_ones_do_not_matter(self, store: ObjectStore) -> None:
        objects = [new_object(10) for _ in range(5)]
        for key, content in objects:
            await put(store, key, content)
        keys = [key for key, _ in objects]
        missing = [new_object()[0] for _ in range(1200)]
        await store.delete([])
        await store.delete(keys[:3] + missing)
        await store.delete(keys[:3])
        assert await store.exists(keys) == set(keys[3:])

    @pytest.mark.parametrize(
        "key", ["", "/absolute", "a//b", "a/", "../a", "a/../b", "./a", "a\0", "a\n", "ä", "a b", "a" * 201]
    )
    async def test_an_impossible_key_is_refused_by_every_call(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(InvalidInputError, match="key"):
            await presign(store, key, b"")
        with pytest.raises(InvalidInputError, match="key"):
            await store.presign_download(key, expires_in=60)
        with pytest.raises(InvalidInputError, match="key"):
            await store.exists([key])
        with pytest.raises(InvalidInputError, match="key"):
            await store.size(key)
        with pytest.raises(InvalidInputError, match="key"):
            await store.read(key)
        with pytest.raises(InvalidInputError, match="key"):
            await store.delete([key])

    async def test_an_impossible_size_or_checksum_is_refused(self, store: ObjectStore) -> None:
        with pytest.raises(InvalidInputError, match="-1"):
            await store.presign_upload("a", size=-1, sha256="0" * 64, expires_in=60)
        with pytest.raises(InvalidInputError, match="SHA-256"):
            await store.presign_upload("a", size=1, sha256="0" * 63, expires_in=60)

    def test_a_wrong_setting_is_named(self, store: ObjectStore) -> None:
        with pytest.raises(InvalidInputError, match="no_such_setting"):
            type(store).from_settings({"no_such_setting": 1})


class PermissionsContract(ObjectStoreContract):
    """Promises about what a signed URL does not allow.

    They are kept by the service behind the store, so they are apart from the rest: some services made for
    tests accept everything, and not all real ones check the content of an upload.
    """

    @pytest.mark.parametrize("change", ["content", "longer", "shorter"])
    async def test_other_bytes_than_announced_are_refused(self, store: ObjectStore, change: str) -> None:
        key, content = new_object()
        other = {"content": content[::-1], "longer": content + b"x", "shorter": content[:-1]}[change]
        response = await send(await presign(store, key, content), other)
        assert 400 <= response.status_code < 500
        assert await store.exists([key]) == set()

    @pytest.mark.parametrize("field", ["key", "signature"])
    async def test_an_upload_with_another_key_or_signature_is_refused(
        self, store: ObjectStore, field: str
    ) -> None:
        key, content = new_object()
        upload = await presign(store, key, content)
        names = [name for name in upload.fields if name.lower().endswith(field)]
        assert names
        forged = {name: upload.fields[name][:-1] + _another(upload.fields[name][-1]) for name in names}
        response = await send(Upload(upload.url, {**upload.fields, **forged}), content)
        assert response.status_code in (400, 403)
        assert await store.exists([key, forged.get("key", key)]) == set()

    async def test_a_download_of_another_key_is_refused(self, store: ObjectStore) -> None:
        (key, content), (other, more) = new_object(), new_object()
        await put(store, key, content)
        await put(store, other, more)
        url = await store.presign_download(key, expires_in=60)
        forged = url.replace(key.split(":")[1], other.split(":")[1])
        assert forged != url
        assert (await fetch(forged)).status_code in (400, 403)

    async def test_permissions_expire(self, store: ObjectStore) -> None:
        key, content = new_object()
        response = await send(await presign(store, key, content, expires_in=-10), content)
        assert response.status_code in (400, 403)
        assert await store.exists([key]) == set()
