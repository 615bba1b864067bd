"""How a client proves who it is without a secret: an assertion that it has signed (RFC 7523, section 3)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from dirac.core.errors import InvalidInputError, UnauthenticatedError
from dirac.core.time import Clock
from dirac.resources.identity.id_token import ProviderKeys, usable_keys, verified
from dirac.systems.identity.logic.compact import decoded
from dirac.systems.identity.logic.oauth import ClientError
from dirac.systems.identity.ports.tokens import ClientRecord
from dirac.systems.identity.settings import IdentitySettings

METHOD = "private_key_jwt"

_LONGEST = 8192
_LONGEST_LIFE = 600  # seconds: so long it is remembered that one was shown
_SKEW = 30
_MOST_KEYS = 10
_LONGEST_SET = 32768
_HINT = "private_key_jwt needs `iss` and `sub` (the client), `aud`, `exp` within 10 minutes, and a new `jti`"


class Assertion(msgspec.Struct, frozen=True):
    """What a client has signed, as far as it matters here."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    jti: str
    iat: float = 0.0
    nbf: float = 0.0

    @property
    def expires(self) -> datetime:
        """Its end."""
        return datetime.fromtimestamp(self.exp, UTC)


def who_claims(assertion: str) -> str:
    """Return the client that an assertion says it is of; nothing of it is verified.

    Raises:
        ClientError: It is none.
    """
    try:
        if len(assertion) > _LONGEST:
            raise ValueError
        payload = decoded(assertion.encode().split(b".")[1])
        return msgspec.json.decode(payload, type=Assertion).iss
    except (ValueError, IndexError):  # msgspec's errors are among them
        raise ClientError(f"the client_assertion is none; {_HINT}") from None


async def proved(assertion: str, record: ClientRecord, settings: IdentitySettings, clock: Clock) -> Assertion:
    """Return an assertion that a client has signed for us, and that is good now, if it is new.

    Raises:
        ClientError: It is not good.
    """

    async def keys() -> dict[str, Any]:
        return record.jwks or {}

    try:
        claims = await verified(assertion, ProviderKeys(keys, clock))
        said = msgspec.convert(claims, Assertion)
    except (UnauthenticatedError, msgspec.ValidationError):
        raise ClientError(f"the client_assertion is not signed by a key of the client; {_HINT}") from None
    now = clock.now().timestamp()
    # Of several audiences another one could show it to us.
    aud = said.aud if isinstance(said.aud, list) else [said.aud]
    if len(aud) != 1 or aud[0] not in (settings.issuer, f"{settings.issuer}/api/auth/token"):
        raise ClientError(f"the client_assertion is not for us: `aud` has to be {settings.issuer}")
    if said.iss != record.client_id or said.sub != record.client_id:
        raise ClientError("the client_assertion is of another client: `iss` and `sub` have to be its name")
    if not now < said.exp <= now + _LONGEST_LIFE or max(said.iat, said.nbf) > now + _SKEW:
        raise ClientError(f"the client_assertion is over, or lives too long; {_HINT}")
    if not 0 < len(said.jti) <= 255:
        raise ClientError(f"the client_assertion has no usable jti; {_HINT}")
    return said


def check_keys(jwks: dict[str, Any]) -> None:
    """Refuse keys with which nobody could prove anything, and such that are secret.

    Raises:
        InvalidInputError: They are of no use.
    """
    listed = jwks.get("keys")
    if len(msgspec.json.encode(jwks)) > _LONGEST_SET:
        raise InvalidInputError(f"the keys are longer than {_LONGEST_SET} bytes", where="jwks")
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_KEYS:
        raise InvalidInputError(
            f"there have to be 1 to {_MOST_KEYS} keys", where="jwks", hint='Send {"keys": [...]} (RFC 7517)'
        )
    if usable_keys(listed) < len(listed):
        raise InvalidInputError(
            "not all of the keys are public ones that are strong enough",
            where="jwks",
            hint="Use RSA of 2048 bits, EC or Ed25519, and keep the private half to yourself",
        )
