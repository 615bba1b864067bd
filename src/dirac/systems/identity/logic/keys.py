"""The keys that sign tokens: made here, kept sealed in the database, replaced without a restart.

A new key is published some minutes before it signs, so that every server knows it when it meets it. The
old one stays published until the last token that it can have signed is over.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dirac.core.entropy import Entropy, uuid7
from dirac.core.errors import UnavailableError
from dirac.core.time import Clock
from dirac.core.unit import Event, Units
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.sealing import Seal
from dirac.systems.identity.models import PublicKey
from dirac.systems.identity.ports.tokens import KeyRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

log = logging.getLogger(__name__)

_SEED = 32
_CURVE = SECP256R1()
_ORDER = (
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of its points: FIPS 186-4, D.1.2.3
)
# Clocks of servers differ, and one signs with the old key until it looks for new ones.
_MARGIN = 600.0
_SHORTEST_PAUSE = 1.0


class Key:
    """One key, ready for use."""

    def __init__(self, record: KeyRecord, seed: bytes) -> None:
        private = Ed25519PrivateKey.from_private_bytes(seed)
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.kid = record.kid
        self.signs_from = record.signs_from
        self.expires = record.expires
        self.private = private
        self.public = private.public_key()
        self.element_kid = f"{record.kid}-{_CURVE.name}"
        self._seed = seed
        self.published = PublicKey(record.kid, encoded(raw).decode())

    @cached_property
    def for_elements(self) -> EllipticCurvePrivateKey:
        """What signs tokens for storage and computing elements, whose libraries do not know Ed25519.

        It comes from the same seed, and so has the same life. More bits than the order has are taken, so that
        no key is likelier than another (FIPS 186-5, A.2.1).
        """
        extra = HKDF(SHA256(), 48, salt=None, info=b"dirac tokens for elements").derive(self._seed)
        return derive_private_key(int.from_bytes(extra, "big") % (_ORDER - 1) + 1, _CURVE)

    @cached_property
    def published_for_elements(self) -> dict[str, str]:
        """Its public half (RFC 7518, section 6.2)."""
        numbers = self.for_elements.public_key().public_numbers()
        x, y = (encoded(number.to_bytes(32, "big")).decode() for number in (numbers.x, numbers.y))
        names = {"kid": self.element_kid, "alg": "ES256", "use": "sig"}
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **names}

    def lives(self, now: datetime) -> bool:
        """Tell whether tokens of this key are accepted."""
        return self.expires is None or now < self.expires


class KeyRing:
    """All keys that are in use, from the database and fresh.

    Args:
        units: Where the keys are kept.
        clock: When keys begin and end.
        entropy: Where keys come from.
        settings: How long keys are used; the master key that seals them.
    """

    def __init__(
        self, units: Units[Unit], clock: Clock, entropy: Entropy, settings: IdentitySettings
    ) -> None:
        self._units = units
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._seal = Seal(settings.master_key, "signing keys", entropy)
        self._keys: dict[str, Key] = {}
        self._loaded = float("-inf")
        self._loading = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the first key, if there is none that this master key opens; called once at the start."""
        async with self._units.write() as unit:
            known = self._open(await unit.keys.keys())
            if not any(key.lives(unit.now) and key.signs_from <= unit.now for key in known.values()):
                await self._add(unit, unit.now)
        await self._load()

    async def rotate(self, *, entry: str | None = None, at_once: bool = False) -> bool:
        """Replace the newest key if it is old enough, and drop those that are over.

        Args:
            entry: Background task that this is, completed together with the effect.
            at_once: Replace it whatever its age, and sign with the new one from now on.

        Returns:
            Whether there is a new key.
        """
        async with self._units.write() as unit:
            if entry is not None:
                unit.complete(entry)
            await unit.keys.drop(unit.now)
            known = self._open(await unit.keys.keys())
            newest = max((key.signs_from for key in known.values()), default=None)
            age = timedelta(seconds=self._settings.key_seconds)
            due = at_once or newest is None or unit.now - newest >= age
            if due:
                lead = 0 if at_once else self._settings.key_lead_seconds
                starts = unit.now + timedelta(seconds=lead)
                longest = timedelta(seconds=self._settings.longest_token_seconds + _MARGIN)
                await unit.keys.retire(starts, starts + longest)
                await self._add(unit, starts)
        await self._load()
        return due

    async def signing(self) -> Key:
        """Return the key to sign with now.

        Raises:
            UnavailableError: There is none.
        """
        await self._refresh(self._settings.key_refresh_seconds)
        now = self._clock.now()
        for key in reversed(self._keys.values()):
            if key.signs_from <= now and key.lives(now):
                return key
        raise UnavailableError("there is no key to sign tokens with", hint="Was the server prepared?")

    async def find(self, kid: str) -> Key | None:
        """Return the key of that name, None if tokens of it are not accepted."""
        await self._refresh(self._settings.key_refresh_seconds)
        if kid not in self._keys:
            # Another server may have made it just now; garbage must not cost a query each time.
            await self._refresh(_SHORTEST_PAUSE)
        key = self._keys.get(kid)
        return key if key is not None and key.lives(self._clock.now()) else None

    async def published(self) -> list[PublicKey]:
        """Return the public keys of all that are accepted, also of the one that will sign next."""
        await self._refresh(self._settings.key_refresh_seconds)
        now = self._clock.now()
        return [key.published for key in self._keys.values() if key.lives(now)]

    async def published_for_elements(self) -> list[dict[str, str]]:
        """Return the public keys of tokens for storage and computing elements."""
        await self._refresh(self._settings.key_refresh_seconds)
        now = self._clock.now()
        return [key.published_for_elements for key in self._keys.values() if key.lives(now)]

    async def _refresh(self, age: float) -> None:
        if self._clock.monotonic() - self._loaded < age:
            return
        async with self._loading:
            if self._clock.monotonic() - self._loaded < age:
                return
            try:
                await self._load()
            except UnavailableError:
                if not self._keys:
                    raise
                log.warning("signing keys cannot be read; going on with those that are known")

    async def _load(self) -> None:
        async with self._units.read() as unit:
            records = await unit.keys.keys()
        self._keys = self._open(records)
        self._loaded = self._clock.monotonic()

    def _open(self, records: list[KeyRecord]) -> dict[str, Key]:
        keys = {}
        for record in records:
            if (known := self._keys.get(record.kid)) is not None and known.expires == record.expires:
                keys[record.kid] = known
                continue
            seed = self._seal.open(record.sealed, record.kid)
            if seed is None:
                log.error("the signing key %s was not sealed with this master key", record.kid)
                continue
            keys[record.kid] = Key(record, seed)
        return keys

    async def _add(self, unit: Unit, signs_from: datetime) -> None:
        kid = str(uuid7(self._entropy, unit.now.timestamp()))
        sealed = self._seal.close(self._entropy.bytes(_SEED), kid)
        await unit.keys.add(KeyRecord(kid, sealed, unit.now, signs_from))
        unit.record(
            Event(
                kind="identity.key.added",
                vo="",
                subject_kind="key",
                subject_id=kid,
                time=unit.now,
                actor="installation",
                data={"signs_from": signs_from.isoformat()},
            )
        )
