"""The letters of JSON Web Signatures: base64url without padding (RFC 7515, section 2)."""

from __future__ import annotations

import base64
import binascii


def encoded(data: bytes) -> bytes:
    """Return bytes in those letters."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def decoded(text: bytes) -> bytes:
    """Return the bytes that a text stands for.

    Raises:
        ValueError: There is something else in it.
    """
    if b"+" in text or b"/" in text:
        raise binascii.Error("not base64url")
    padded = text.translate(_PLAIN) + b"=" * (-len(text) % 4)
    return binascii.a2b_base64(padded, strict_mode=True)


_PLAIN = bytes.maketrans(b"-_", b"+/")
