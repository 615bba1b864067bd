"""The built-in identity provider: a password, kept as its Argon2id digest (RFC 9106)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError

_MEMORY, _PASSES, _LANES = 19 * 1024, 2, 1  # 19 MiB, on one processor
_MOST_MEMORY = 128 * 2**20
_OLD = "scrypt$"


class PasswordProvider:
    """Implements `dirac.resources.identity.base.IdentityProvider`.

    What is kept is the usual ``$argon2id$v=19$m=...,t=...,p=...$salt$digest``, so that costs can grow without
    breaking old ones. Digests of scrypt (RFC 7914, ``scrypt$cost$block$lanes$salt$digest``), which this
    provider made at first, stay good and count as outdated.

    Args:
        memory: Memory of new digests, in KiB.
    """

    def __init__(self, memory: int = _MEMORY) -> None:
        self._hasher = PasswordHasher(_PASSES, memory, _LANES, type=Type.ID)
        self._nobody = self._hasher.hash("")

    def keep(self, secret: str) -> str:
        """Return the digest of a password, with a new salt."""
        return self._hasher.hash(_normal(secret))

    def matches(self, kept: str | None, secret: str) -> bool:
        """Tell whether this is the password of that digest, in constant time."""
        if kept is not None and kept.startswith(_OLD):
            return _matches_scrypt(kept, secret)
        try:
            return self._hasher.verify(self._nobody if kept is None else kept, _normal(secret)) and (
                kept is not None
            )
        except (Argon2Error, InvalidHashError):
            return False

    def outdated(self, kept: str) -> bool:
        """Tell whether a digest is of another scheme or other costs than new ones."""
        try:
            return self._hasher.check_needs_rehash(kept)
        except InvalidHashError:
            return True


def _normal(secret: str) -> bytes:
    # The same password typed on another system may come as other code points (RFC 8265).
    return unicodedata.normalize("NFC", secret).encode()


def _matches_scrypt(kept: str, secret: str) -> bool:
    try:
        _, cost, block, lanes, salt, digest = kept.split("$")
        wanted = base64.b64decode(digest, validate=True)
        made = hashlib.scrypt(
            _normal(secret),
            salt=base64.b64decode(salt, validate=True),
            n=int(cost),
            r=int(block),
            p=int(lanes),
            maxmem=_MOST_MEMORY,
            dklen=len(wanted),
        )
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(made, wanted)
