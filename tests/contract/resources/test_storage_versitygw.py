"""A real S3 store, the one that the role `object_store` runs, keeps all promises to uploads and downloads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dirac.resources.storage.s3 import S3Store
from dirac.resources.storage.testing import PermissionsContract
from tests.services.object_store import ObjectStore, programs


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with ObjectStore(programs()) as server:
        yield server


class TestVersityGW(PermissionsContract):
    @pytest.fixture
    async def store(self, server: ObjectStore) -> AsyncIterator[S3Store]:
        store = S3Store.from_settings(
            {
                "bucket": "sandboxes",
                "endpoint_url": server.url,
                "access_key_id": server.user,
                "secret_access_key": server.password,
            }
        )
        yield store
        await store.close()
