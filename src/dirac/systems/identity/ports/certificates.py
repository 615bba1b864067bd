"""Certificates: chains that were verified, and proxies that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec


class ProxyRecord(msgspec.Struct, frozen=True):
    """A proxy that somebody has delegated to this installation; its key is sealed."""

    proxy_id: str
    vo: str
    sub: str
    dirac_group: str
    subject: str
    limited: bool
    chain: bytes
    sealed: bytes
    created: datetime
    expires: datetime


class ProxyRequestRecord(msgspec.Struct, frozen=True):
    """A key that was made for a proxy, and waits for its owner to sign it."""

    proxy_id: str
    vo: str
    sub: str
    sealed: bytes
    created: datetime
    expires: datetime


class JudgedChain(Protocol):
    """What a verified chain of certificates says (`dirac.transport.authorities.Judged`)."""

    @property
    def subject(self) -> str:
        """Name of the certificate of the user or host."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate that was shown."""
        ...

    @property
    def is_proxy(self) -> bool:
        """Whether that is a proxy."""
        ...

    @property
    def limited(self) -> bool:
        """Whether that is a limited one."""
        ...

    @property
    def group(self) -> str | None:
        """DIRAC's group in it."""
        ...

    @property
    def vos(self) -> tuple[str, ...]:
        """VOs that VOMS says its bearer is in."""
        ...

    @property
    def keys(self) -> tuple[str, ...]:
        """Digests of the keys of its proxies."""
        ...

    @property
    def not_after(self) -> datetime:
        """When it ends."""
        ...


class ChainJudge(Protocol):
    """Verifies chains of certificates."""

    @property
    def version(self) -> int:
        """Changes when another judgement is possible."""
        ...

    def judge(self, certificates: Sequence[bytes]) -> JudgedChain:
        """Return what a chain (DER, its bearer's certificate first) says.

        Raises:
            UnauthenticatedError: It is not good here.
        """
        ...


class ProxyRepository(Protocol):
    """Proxies that were delegated to this installation."""

    async def ask(self, record: ProxyRequestRecord) -> None:
        """Keep a key that waits to be signed."""
        ...

    async def waiting(self, vo: str, sub: str, now: datetime) -> int:
        """Return how many keys of a user's wait."""
        ...

    async def asked(self, proxy_id: str) -> ProxyRequestRecord | None:
        """Return a key that waits to be signed."""
        ...

    async def put(self, record: ProxyRecord) -> None:
        """Keep a proxy in place of the one of the same VO, user and group; its key waits no longer."""
        ...

    async def find(self, proxy_id: str) -> ProxyRecord | None:
        """Return a proxy."""
        ...

    async def of(self, vo: str, sub: str | None, now: datetime) -> list[ProxyRecord]:
        """Return what is good of a user's, or of a whole VO's, in order of users and groups."""
        ...

    async def remove_of(self, vo: str, sub: str | None) -> list[ProxyRecord]:
        """Remove what is kept of a user's, or of a whole VO's, and what waits; return what was kept."""
        ...

    async def remove(self, proxy_id: str) -> bool:
        """Remove a proxy; False if it is not there."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
        ...
