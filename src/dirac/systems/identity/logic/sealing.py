"""What is kept in the database and can be read with the master key only."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dirac.core.entropy import Entropy

_NONCE = 12


def subkey(master: bytes, purpose: str) -> bytes:
    """Derive a key for one purpose from the master key (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"dirac {purpose}".encode()).derive(master)


class Seal:
    """Seals secrets for one purpose (AES-GCM, NIST SP 800-38D).

    Whoever can write to the database, but lacks the master key, can put nothing there that opens.

    Args:
        master: The master key.
        purpose: What they are; a seal of another purpose opens none of them.
        entropy: Where the nonces come from.
    """

    def __init__(self, master: bytes, purpose: str, entropy: Entropy) -> None:
        self._cipher = AESGCM(subkey(master, purpose))
        self._entropy = entropy

    def close(self, secret: bytes, about: str) -> bytes:
        """Return a secret sealed, good only for what it is about."""
        nonce = self._entropy.bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, secret, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes | None:
        """Return the secret; None if it was not sealed with this master key, or is about something else."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], about.encode())
        except (InvalidTag, ValueError):
            return None
