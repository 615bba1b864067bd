"""Proving to a provider who we are with a private key, not with a secret that it knows as well (RFC 7523)."""

from __future__ import annotations

import uuid

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwk, jwt

from dirac.core.errors import InvalidInputError

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SECONDS = 120


def assertion(pem: str, key_id: str | None, *, client_id: str, audience: str, now: float) -> dict[str, str]:
    """Return the parameters that prove to one endpoint, for some minutes and once, that we are a client.

    Args:
        pem: The private key: RSA or P-256.
        key_id: Its name at the provider.
        client_id: Our name there.
        audience: The endpoint.
        now: The time.

    Raises:
        InvalidInputError: The key is of no use.
    """
    algorithm, key = _loaded(pem)
    header = {"alg": algorithm} | ({"kid": key_id} if key_id else {})
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": str(uuid.uuid4()),
        "iat": int(now),
        "exp": int(now) + _SECONDS,
    }
    token = jwt.encode(header, claims, key, algorithms=[algorithm])
    return {"client_id": client_id, "client_assertion_type": ASSERTION, "client_assertion": token}


def _loaded(pem: str) -> tuple[str, jwk.Key]:
    try:
        private = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        raise InvalidInputError("client_key: this is no private key in PEM without a password") from None
    if isinstance(private, RSAPrivateKey):
        return "RS256", jwk.RSAKey.import_key(pem)
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        return "ES256", jwk.ECKey.import_key(pem)
    raise InvalidInputError("client_key: this key is of a kind that is not used", hint="Use RSA or P-256")
