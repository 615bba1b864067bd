"""Keys of S3 that are replaced while a store is in use."""

from __future__ import annotations

from typing import Any

from dirac.core.errors import InvalidInputError
from dirac.resources.storage.s3 import S3Store

SETTINGS = {"bucket": "sandboxes", "endpoint_url": "http://127.0.0.1:1", "create_bucket": False}


async def _signed_with(store: S3Store) -> str:
    """Return the key that an upload is signed with; signing asks nobody."""
    upload = await store.presign_upload("a", size=1, sha256="0" * 64, expires_in=60)
    return upload.fields["x-amz-credential"].partition("/")[0]


async def test_calls_are_signed_with_what_the_keys_are_now() -> None:
    keys: dict[str, Any] = {"access_key_id": "FIRST", "secret_access_key": "a"}
    store = S3Store.from_settings(SETTINGS | keys)
    store.renewed = lambda: SETTINGS | keys
    assert await _signed_with(store) == "FIRST"
    keys |= {"access_key_id": "SECOND", "secret_access_key": "b"}
    assert await _signed_with(store) == "SECOND"


async def test_keys_that_cannot_be_read_anew_leave_the_old_ones() -> None:
    def broken() -> dict[str, Any]:
        raise InvalidInputError("half of a file")

    store = S3Store.from_settings(SETTINGS | {"access_key_id": "FIRST", "secret_access_key": "a"})
    store.renewed = broken
    assert await _signed_with(store) == "FIRST"
    store.renewed = lambda: {"nonsense": 1}
    assert await _signed_with(store) == "FIRST"
