"""Objects in a bucket of any service that speaks S3: AWS, Ceph, MinIO and others.

An upload is a POST policy (Signature Version 4) that fixes the key, the size and, by
``x-amz-checksum-sha256``, the content; the service checks them, and the bytes never pass through the server.
Ceph's gateway (18.2 was tried) checks all but the content, and keeps no checksum: `verify` reads them there.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial
from typing import Annotated, Any, Self, TypeVar

import msgspec

from dirac.core.errors import DiracError, InvalidInputError, NotFoundError, UnavailableError
from dirac.resources.settings import read_settings
from dirac.resources.storage.base import ObjectStore, Upload, check_key, check_object

log = logging.getLogger(__name__)

DELETE_LIMIT = 1000
"""Objects that one call of the S3 API removes at most."""

_PART = 1 << 20
_CONNECTIONS = 16
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_DENIED = frozenset({"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_OURS_ALREADY = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})

Result = TypeVar("Result")


class S3Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of an S3 store.

    Attributes:
        bucket: Name of the bucket; made if missing, unless `create_bucket` is false.
        endpoint_url: Where the service is, as clients and the server see it; AWS itself if not given.
        region: Region of the bucket.
        access_key_id: Who we are; if not given, what the usual files, variables or the machine's role say.
        secret_access_key: The proof.
        create_bucket: Whether a missing bucket is made.
        ca_file: Authorities of the service's certificate (PEM); those that boto3 brings if not given.
    """

    bucket: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$(?!\n)")]
    endpoint_url: Annotated[str, msgspec.Meta(pattern="^https?://")] | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = None
    create_bucket: bool = True
    ca_file: str | None = None

    def __repr__(self) -> str:
        # The secret must not end up in logs.
        return f"S3Settings(bucket={self.bucket!r}, endpoint_url={self.endpoint_url!r})"


def _keys(settings: S3Settings) -> tuple[str | None, str | None]:
    return settings.access_key_id, settings.secret_access_key


class S3Store(ObjectStore):
    """Keeps each object in a bucket, under its key."""

    def __init__(self, settings: S3Settings) -> None:
        if (settings.access_key_id is None) != (settings.secret_access_key is None):
            raise InvalidInputError(
                "only one of 'access_key_id' and 'secret_access_key' is set",
                where="object store 's3'",
                hint="Set both or neither",
            )
        self._settings = settings
        self._bucket = settings.bucket
        self._lock = threading.Lock()
        self._client: Any = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make a store; the first call connects and looks for the bucket."""
        return cls(read_settings(S3Settings, settings, "object store 's3'"))

    async def presign_upload(self, key: str, *, size: int, sha256: str, expires_in: int) -> Upload:
        """Sign a POST policy."""
        check_object(key, size, sha256)
        fields = {
            "x-amz-checksum-algorithm": "SHA256",
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode(),
        }
        conditions = [
            *({name: value} for name, value in fields.items()),
            ["content-length-range", size, size],
        ]
        signed = await self._call(
            lambda client: client.generate_presigned_post(
                self._bucket, key, Fields=fields, Conditions=conditions, ExpiresIn=expires_in
            )
        )
        return Upload(signed["url"], signed["fields"])

    async def presign_download(self, key: str, *, expires_in: int) -> str:
        """Sign a GET."""
        parameters = {"Bucket": self._bucket, "Key": check_key(key)}
        url: str = await self._call(
            lambda client: client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=expires_in
            )
        )
        return url

    async def exists(self, keys: Collection[str]) -> set[str]:
        """Ask for each; the API has no call for many."""
        wanted = [check_key(key) for key in dict.fromkeys(keys)]
        found = await asyncio.gather(*(self._has(key) for key in wanted))
        return {key for key, there in zip(wanted, found, strict=True) if there}

    async def _has(self, key: str) -> bool:
        try:
            await self.size(key)
        except NotFoundError:
            return False
        return True

    async def size(self, key: str) -> int:
        """Ask for the object's head."""
        check_key(key)
        head = await self._call(lambda client: client.head_object(Bucket=self._bucket, Key=key), key)
        return int(head["ContentLength"])

    async def verify(self, key: str, *, sha256: str) -> bool:
        """Believe a service that keeps the checksum which it has compared; read the object of any other."""
        check_key(key)
        try:
            head = await self._call(
                lambda client: client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED"), key
            )
        except NotFoundError:
            return False
        if head.get("ChecksumSHA256") == base64.b64encode(bytes.fromhex(sha256)).decode():
            return True
        return await super().verify(key, sha256=sha256)

    async def open(self, key: str) -> AsyncIterator[bytes]:
        """Stream the object in parts of 1 MiB."""
        check_key(key)
        answer = await self._call(lambda client: client.get_object(Bucket=self._bucket, Key=key), key)
        body = answer["Body"]
        try:
            while part := await self._call(lambda _: body.read(_PART), key):
                yield part
        finally:
            body.close()

    async def delete(self, keys: Collection[str]) -> None:
        """Remove up to `DELETE_LIMIT` objects a call."""
        names = [check_key(key) for key in keys]
        for start in range(0, len(names), DELETE_LIMIT):
            batch = [{"Key": key} for key in names[start : start + DELETE_LIMIT]]
            await self._call(partial(self._delete, batch))

    def _delete(self, batch: list[dict[str, str]], client: Any) -> None:
        answer = client.delete_objects(Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True})
        faults = [fault for fault in answer.get("Errors", []) if fault.get("Code") not in _MISSING]
        if faults:
            raise UnavailableError(
                f"{len(faults)} of {len(batch)} objects could not be removed, the first is "
                f"{faults[0].get('Key')!r}: {faults[0].get('Message')}"
            )

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.close)

    async def _call(self, work: Callable[[Any], Result], key: str | None = None) -> Result:
        return await asyncio.to_thread(self._call_blocking, work, key)

    def _call_blocking(self, work: Callable[[Any], Result], key: str | None) -> Result:
        # Loading boto3 takes a third of a second: only who has an S3 store pays for it.
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            return work(self._connected())
        except ClientError as error:
            raise self._translated(error, key) from error
        except (BotoCoreError, HTTPClientError, OSError) as error:
            raise UnavailableError(f"the object store of bucket {self._bucket!r} fails: {error}") from error

    def _translated(self, error: Any, key: str | None) -> DiracError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if key is not None and code in _MISSING:
            return NotFoundError(f"there is no object {key!r}")
        hint = "Check its credentials and the rights on the bucket" if code in _DENIED else None
        return UnavailableError(f"the object store of bucket {self._bucket!r} refuses: {error}", hint=hint)

    def _connected(self) -> Any:
        with self._lock:
            self._renew()
            if self._client is None:
                client = self._connect()
                if self._settings.create_bucket:
                    self._ensure_bucket(client)
                self._client = client
            return self._client

    def _renew(self) -> None:
        """Show other keys from now on, if they were replaced; what is under way ends with the old ones."""
        if self.renewed is None:
            return
        try:
            fresh = read_settings(S3Settings, self.renewed(), "object store 's3'")
        except DiracError as error:  # half of a new file, perhaps
            log.warning("the settings of bucket %r cannot be read anew: %s", self._bucket, error)
            return
        if _keys(fresh) != _keys(self._settings):
            log.info("bucket %r is used with other keys from now on", self._bucket)
            self._settings, self._client = fresh, None

    def _connect(self) -> Any:
        import boto3
        from botocore.config import Config

        settings = self._settings
        config = Config(
            signature_version="s3v4",
            # Own services seldom have a name in the DNS for each bucket.
            s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
            retries={"max_attempts": 3, "mode": "standard"},
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=_CONNECTIONS,
            # Services other than AWS do not all know the checksums that newer clients add by themselves.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        session = boto3.session.Session(settings.access_key_id, settings.secret_access_key)
        return session.client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint_url,
            verify=settings.ca_file,
            config=config,
        )

    def _ensure_bucket(self, client: Any) -> None:
        from botocore.exceptions import ClientError

        try:
            client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if str(error.response["Error"]["Code"]) not in _MISSING | {"NoSuchBucket"}:
                raise
        else:
            return
        # The one region that must not be named is the first one.
        region = self._settings.region
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            client.create_bucket(Bucket=self._bucket, **place)
        except ClientError as error:  # another server was faster
            if str(error.response["Error"]["Code"]) not in _OURS_ALREADY:
                raise
