"""Refresh tokens: JSON Web Tokens for this installation's own eyes, so that a MAC will do (RFC 7515, HS256).

A signature costs as much as the rest of a refresh that is not the database; nobody but us has to verify it.
What a token is good for, and for how long, the database says.
"""

from __future__ import annotations

import hmac

import msgspec

from dirac.systems.identity.logic.claims import RefreshClaims
from dirac.systems.identity.logic.compact import decoded, encoded
from dirac.systems.identity.logic.sealing import subkey
from dirac.systems.identity.ports.sessions import RefreshRecord
from dirac.systems.identity.settings import IdentitySettings

_HEADER = encoded(b'{"alg":"HS256","kid":"refresh","typ":"JWT"}') + b"."
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RefreshClaims).decode


class RefreshTokens:
    """Makes refresh tokens, and knows them again.

    Args:
        settings: The issuer; the master key, from which theirs comes.
    """

    def __init__(self, settings: IdentitySettings) -> None:
        self._issuer = settings.issuer
        self._audience = f"{settings.audience}:refresh"
        self._key = subkey(settings.master_key, "refresh tokens")

    def make(self, record: RefreshRecord) -> str:
        """Make the token that a record is about."""
        claims = RefreshClaims(
            iss=self._issuer,
            aud=self._audience,
            jti=record.jti,
            iat=int(record.created.timestamp()),
            exp=int(record.expires.timestamp()),
            sub=f"{record.vo}:{record.sub}",
            sid=record.family,
        )
        signed = _HEADER + encoded(_encode(claims))
        return (signed + b"." + encoded(self._mac(signed))).decode()

    def claims(self, token: str) -> RefreshClaims | None:
        """Return what a token of ours says, None if it is something else."""
        if not token.isascii():
            return None
        signed, _, mac = token.encode().rpartition(b".")
        if not signed.startswith(_HEADER) or not hmac.compare_digest(mac, encoded(self._mac(signed))):
            return None
        payload = signed.removeprefix(_HEADER)
        try:
            return self.read(decoded(payload))
        except ValueError:
            return None

    def read(self, payload: bytes) -> RefreshClaims | None:
        """Return the claims in what is known to be signed by us, None if it is no refresh token."""
        try:
            claims = _decode(payload)
        except msgspec.MsgspecError:
            return None
        return claims if (claims.iss, claims.aud) == (self._issuer, self._audience) else None

    def _mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._key, signed, "sha256")
