# SPDX-License-Identifier: GPL-3.0-or-later
"""Uses an object store as DIRAC does: ``python objects.py SETTINGS put|get|delete KEY [TEXT]``."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from typing import Any

import httpx

from dirac.resources.storage.s3 import S3Store


async def upload(settings: dict[str, Any], key: str, announced: bytes, content: bytes) -> int:
    """Upload with a policy for what was announced; returns the status."""
    store = S3Store.from_settings({"create_bucket": False, **settings})
    try:
        signed = await store.presign_upload(
            key, size=len(announced), sha256=hashlib.sha256(announced).hexdigest(), expires_in=60
        )
        async with httpx.AsyncClient(verify=False) as client:
            return (await client.post(signed.url, data=signed.fields, files={"file": content})).status_code
    finally:
        await store.close()


async def read(settings: dict[str, Any], key: str) -> bytes:
    """Read an object."""
    store = S3Store.from_settings({"create_bucket": False, **settings})
    try:
        return await store.read(key)
    finally:
        await store.close()


async def delete(settings: dict[str, Any], key: str) -> None:
    """Remove an object."""
    store = S3Store.from_settings({"create_bucket": False, **settings})
    try:
        await store.delete([key])
    finally:
        await store.close()


def main() -> None:
    """Run a command."""
    settings, command, key, *text = sys.argv[1:]
    given = json.loads(settings)
    if command == "put":
        content = text[0].encode()
        status = asyncio.run(upload(given, key, content, content))
        sys.exit(status not in range(200, 300))
    elif command == "delete":
        asyncio.run(delete(given, key))
    else:
        sys.stdout.write(asyncio.run(read(given, key)).decode())


if __name__ == "__main__":
    main()
