"""The built-in identity provider: a password, kept as its scrypt digest (RFC 7914)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata

_COST, _BLOCK, _LANES = 2**14, 8, 1  # 16 MB and some 50 ms
_SALT, _DIGEST = 16, 32
_MOST_MEMORY = 128 * 2**20


class PasswordProvider:
    """Implements `dirac.resources.identity.base.IdentityProvider`.

    What is kept is ``scrypt$cost$block$lanes$salt$digest``, so that costs can grow without breaking old ones.

    Args:
        cost: Factor of time and memory of new digests, a power of 2.
    """

    def __init__(self, cost: int = _COST) -> None:
        self._cost = cost
        self._nobody = f"scrypt${cost}${_BLOCK}${_LANES}${_encoded(bytes(_SALT))}${_encoded(bytes(_DIGEST))}"

    def keep(self, secret: str) -> str:
        """Return the digest of a password, with a new salt."""
        salt = secrets.token_bytes(_SALT)
        made = _derive(secret, salt, self._cost, _BLOCK, _LANES, _DIGEST)
        return f"scrypt${self._cost}${_BLOCK}${_LANES}${_encoded(salt)}${_encoded(made)}"

    def matches(self, kept: str | None, secret: str) -> bool:
        """Tell whether this is the password of that digest, in constant time."""
        try:
            scheme, cost, block, lanes, salt, digest = (kept or self._nobody).split("$")
            wanted = base64.b64decode(digest, validate=True)
            made = _derive(
                secret, base64.b64decode(salt, validate=True), int(cost), int(block), int(lanes), len(wanted)
            )
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(made, wanted) and scheme == "scrypt" and kept is not None


def _derive(secret: str, salt: bytes, cost: int, block: int, lanes: int, length: int) -> bytes:
    # The same password typed on another system may come as other code points (RFC 8265).
    password = unicodedata.normalize("NFC", secret).encode()
    return hashlib.scrypt(password, salt=salt, n=cost, r=block, p=lanes, maxmem=_MOST_MEMORY, dklen=length)


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
