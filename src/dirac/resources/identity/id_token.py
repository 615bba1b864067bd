"""Verifying what an OpenID provider signs: its keys as they change, and ID tokens.

The checks are those of OpenID Connect Core 3.1.3.7.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from dirac.core.errors import UnauthenticatedError
from dirac.core.time import Clock

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only signatures that the provider alone can make: not ``none``, and none that our own secret verifies."""

_KINDS = {"R": "RSA", "P": "RSA", "E": "EC"}
_LONGEST = 65536
_SKEW = 60.0
_KEEP = 3600.0  # seconds that keys are believed
_SMALLEST_RSA = 2048

Claims = dict[str, Any]


class _Registry(jws.JWSRegistry):
    """joserfc's algorithms without its warnings about their names (RFC 9864): providers choose them."""


def _quiet(name: str) -> Any:
    algorithm = copy.copy(jws.JWSRegistry.algorithms[name])
    algorithm.security_warning = None
    return algorithm


_Registry.algorithms = {name: _quiet(name) for name in ALGORITHMS}
_registry = _Registry(algorithms=list(ALGORITHMS))


class ProviderKeys:
    """The keys of a provider, read again when one is missing or they are old.

    Args:
        fetch: Gets the key set (RFC 7517) from the provider.
        clock: When they are old.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Mapping[str, Any]]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: list[Key] = []
        self._loaded = float("-inf")

    async def find(self, kid: str | None, alg: str) -> list[Key]:
        """Return the keys that may have signed with that algorithm under that name."""
        await self._load(_KEEP)
        if not (found := self._fitting(kid, alg)):
            # It has new keys. Tokens come from the provider itself, so nobody else can make us ask in vain.
            await self._load(0.0)
            found = self._fitting(kid, alg)
        return found

    def _fitting(self, kid: str | None, alg: str) -> list[Key]:
        kind = _KINDS.get(alg[0], "OKP") if alg != "EdDSA" else "OKP"
        return [
            key
            for key in self._keys
            if key.key_type == kind
            and (kid is None or key.kid in (None, kid))
            and key.get("alg") in (None, alg)
            and key.get("use") in (None, "sig")
        ]

    async def _load(self, age: float) -> None:
        if self._clock.monotonic() - self._loaded < age:
            return
        listed = (await self._fetch()).get("keys")
        self._loaded = self._clock.monotonic()
        keys = [_imported(entry) for entry in listed] if isinstance(listed, list) else []
        self._keys = [key for key in keys if key is not None]


def _imported(entry: Any) -> Key | None:
    """Return a public key, None for what is none or is too weak."""
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about keys that are refused below
            key = JWKRegistry.import_key(entry)
            size = getattr(key.raw_value, "key_size", _SMALLEST_RSA)
            weak = key.key_type == "RSA" and size < _SMALLEST_RSA
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return None if weak or key.is_private else key


def usable_keys(listed: Sequence[Any]) -> int:
    """Return how many of these are public keys that are accepted."""
    return sum(_imported(entry) is not None for entry in listed)


async def verified(token: Any, keys: ProviderKeys) -> Claims:
    """Return the claims of a token that one of the keys has signed.

    Raises:
        UnauthenticatedError: None has, or it is no token.
        UnavailableError: The keys cannot be had.
    """
    if not isinstance(token, str) or len(token) > _LONGEST or not token.isascii():
        raise _wrong("it is no token")
    try:
        found = jws.extract_compact(token.encode(), registry=_registry)
        header = found.headers()
        alg, kid = header.get("alg"), header.get("kid")
        if alg not in ALGORITHMS:
            raise _wrong(f"it is signed with {str(alg)[:20]!r}, which is not accepted")
        fitting = await keys.find(kid if isinstance(kid, str) else None, alg)
        if not any(jws.validate_compact(found, key, registry=_registry) for key in fitting):
            raise _wrong("no key of the provider has signed it")
        claims = msgspec.json.decode(found.payload)
    except (JoseError, ValueError, TypeError):
        raise _wrong("it cannot be read") from None
    if not isinstance(claims, dict):
        raise _wrong("it has no claims")
    return claims


async def identified(
    token: Any, keys: ProviderKeys, *, issuer: str, client_id: str, nonce: str | None, now: float
) -> Claims:
    """Return the claims of an ID token that is meant for us, now, and for this login.

    Args:
        token: The ID token.
        keys: The provider's.
        issuer: The provider.
        client_id: Who we are there.
        nonce: That of the login; None for a token that continues one, which may have none.
        now: Unix time.

    Raises:
        UnauthenticatedError: It is not.
        UnavailableError: The keys cannot be had.
    """
    claims = await verified(token, keys)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != issuer:
        raise _wrong("another issuer has made it")
    if client_id not in audiences:
        raise _wrong("it is for somebody else")
    if claims.get("azp", client_id) != client_id or (len(audiences) > 1 and "azp" not in claims):
        raise _wrong("it was issued to somebody else")
    if _moment(claims, "exp") <= now - _SKEW:
        raise _wrong("it has expired")
    if max(_moment(claims, "iat"), _moment(claims, "nbf", 0.0)) > now + _SKEW:
        raise _wrong("it is not valid yet; compare the clocks of the servers")
    if nonce is not None and claims.get("nonce") != nonce:
        raise _wrong("it is of another login")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise _wrong("it names nobody")
    return claims


def _moment(claims: Claims, name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(f"it has no {name!r}")
    return float(value)


def _wrong(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"the identity provider's ID token is not accepted: {why}", hint="Start the login again"
    )
