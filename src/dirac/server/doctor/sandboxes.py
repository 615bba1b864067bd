"""The store of sandboxes: an object goes in, comes out the same, and can be removed."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator

from dirac.core.errors import DiracError
from dirac.resources.storage.base import ObjectStore
from dirac.resources.storage.directory import DirectoryStore, Grant
from dirac.server.composition import make_store
from dirac.server.doctor.model import Ailment, Check, Patient
from dirac.transport.tls import client_context

_SECONDS = 60


def checks(_patient: Patient) -> list[Check]:
    """Return the check of the store."""
    return [Check("sandboxes.store", _store)]


async def _store(patient: Patient) -> str:
    content = secrets.token_bytes(1024)
    digest = hashlib.sha256(content).hexdigest()
    key = f"doctor/{digest}"
    store = make_store(patient.settings)
    try:
        step = "written"
        try:
            await _write(store, key, content, digest)
            step = "read"
            same = await store.read(key) == content
            step = "removed"
            await store.delete([key])
            gone = not await store.exists([key])
        except (DiracError, OSError) as error:
            raise _ailment(patient, f"an object could not be {step}: {error}") from error
        if not same or not gone:
            raise _ailment(patient, "an object came back changed" if not same else "an object stayed")
    finally:
        await store.close()
    return f"{patient.settings.sandboxes.type}: written, read, removed"


async def _write(store: ObjectStore, key: str, content: bytes, digest: str) -> None:
    """Send an object as clients do; to a directory as the server's route does."""
    if isinstance(store, DirectoryStore):
        await store.receive(Grant(key, len(content), digest), _whole(content))
        return
    import httpx

    upload = await store.presign_upload(key, size=len(content), sha256=digest, expires_in=_SECONDS)
    try:
        async with httpx.AsyncClient(verify=client_context()) as client:
            answer = await client.post(upload.url, data=upload.fields, files={"file": content})
    except httpx.HTTPError as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    if answer.status_code >= 300:
        raise OSError(f"status {answer.status_code}: {answer.text[:200]}")


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _ailment(patient: Patient, detail: str) -> Ailment:
    if patient.settings.sandboxes.type == "directory":
        place = patient.settings.path("sandboxes")
        return Ailment(
            detail,
            cause="The directory is not the server's, or its disk is full or broken",
            mend=f"df -h {place}; chown -R dirac: {place}",
        )
    return Ailment(
        detail,
        cause="The service does not run, the bucket or its rights are missing, or the keys are wrong",
        mend="Check endpoint, bucket and keys in `sandboxes.settings` and `sandboxes.settings_file`",
    )
