"""Tokens: JSON Web Tokens (RFC 7519), signed with Ed25519 (RFC 8037)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from dirac.core.entropy import Entropy, uuid7
from dirac.core.errors import UnauthenticatedError
from dirac.core.time import Clock
from dirac.systems.identity.logic.access import Grant
from dirac.systems.identity.logic.keys import KeyRing
from dirac.systems.identity.models import Identity, Kind, Property
from dirac.systems.identity.ports import RefreshRecord
from dirac.systems.identity.settings import IdentitySettings

ALGORITHM = "EdDSA"
BEARER = "Bearer"
SERVICE_SUB = "installation"

_ACCEPTED = (ALGORITHM, "Ed25519")
_LONGEST = 8192
_SKEW = 30
_MOST_KNOWN = 4096  # tokens that were verified and are remembered
_HINT = "Log in again: dirac login VO"


class Claims(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The claims of an access token; names are those of DiracX, and of RFC 7519."""

    iss: str
    aud: str
    sub: str
    jti: str
    iat: int
    nbf: int
    exp: int
    kind: Kind
    vo: str
    dirac_group: str
    dirac_properties: list[str]
    preferred_username: str
    dirac_policies: dict[str, Any]
    pilot_stamp: str = ""
    job_id: int | None = None
    attempt: int | None = None
    owner_sub: str = ""


class RefreshClaims(msgspec.Struct):
    """The claims of a refresh token; what it is good for is in the database."""

    iss: str
    aud: str
    jti: str
    iat: int
    exp: int


class _Registry(jws.JWSRegistry):
    """joserfc's algorithms, without its warning about the name.

    RFC 9864 would have ``Ed25519`` in the header, because ``EdDSA`` leaves the curve open. Our keys leave no
    choice of a curve, and verifiers in the field know the older name only.
    """


_quiet = copy.copy(jws.JWSRegistry.algorithms[ALGORITHM])
_quiet.security_warning = None
_Registry.algorithms = {ALGORITHM: _quiet, "Ed25519": jws.JWSRegistry.algorithms["Ed25519"]}
_registry = _Registry(algorithms=_ACCEPTED)
_encode = msgspec.json.Encoder().encode
_claims = msgspec.json.Decoder(Claims).decode
_refresh_claims = msgspec.json.Decoder(RefreshClaims).decode


class Tokens:
    """Makes tokens and verifies them.

    Args:
        keys: What signs.
        clock: When tokens begin and end.
        entropy: Where identifiers come from.
        settings: Issuer, audience and lengths of lives.
    """

    def __init__(self, keys: KeyRing, clock: Clock, entropy: Entropy, settings: IdentitySettings) -> None:
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._refresh_audience = f"{settings.audience}:refresh"
        self._known: dict[str, tuple[str, float, Identity]] = {}

    async def authenticate(self, token: str) -> Identity:
        """Return whose access token this is.

        Raises:
            UnauthenticatedError: It is not a valid access token of this installation.
        """
        if (known := self._known.get(token)) is not None:
            kid, end, identity = known
            # What was signed stays signed; keys and times come to their ends.
            if self._clock.now().timestamp() < end and await self._keys.find(kid) is not None:
                return identity
            del self._known[token]
        kid, payload = await self._verified(token)
        identity, end = self._identity_of(payload)
        while len(self._known) >= _MOST_KNOWN:
            self._known.pop(next(iter(self._known)), None)
        self._known[token] = (kid, end, identity)
        return identity

    def _identity_of(self, payload: bytes) -> tuple[Identity, float]:
        """Return who a token's claims say its bearer is, and until when (Unix time).

        Raises:
            UnauthenticatedError: They are no claims of an access token, or not good here and now.
        """
        try:
            claims = _claims(payload)
        except msgspec.MsgspecError:
            raise UnauthenticatedError("this is no access token", hint=_HINT) from None
        now = self._clock.now().timestamp()
        if claims.iss != self._settings.issuer or claims.aud != self._settings.audience:
            raise UnauthenticatedError("the token is for another service", hint=_HINT)
        if claims.exp <= now:
            raise UnauthenticatedError("the token has expired", hint=_HINT)
        if max(claims.nbf, claims.iat) > now + _SKEW:
            raise UnauthenticatedError("the token is not valid yet", hint="Compare the clocks of the servers")
        vo, _, sub = claims.sub.partition(":")
        if vo != claims.vo:
            raise UnauthenticatedError("the token's subject is not of its VO", hint=_HINT)
        identity = Identity(
            vo=vo,
            sub=sub,
            username=claims.preferred_username,
            group=claims.dirac_group,
            properties=frozenset(claims.dirac_properties),
            kind=claims.kind,
            token_id=claims.jti,
            expires=datetime.fromtimestamp(claims.exp, UTC),
            stamp=claims.pilot_stamp,
            job_id=claims.job_id,
            attempt=claims.attempt,
            owner_sub=claims.owner_sub,
        )
        return identity, claims.exp

    async def user_token(self, grant: Grant, until: datetime | None = None) -> tuple[str, int]:
        """Make an access token of a user, which ends then at the latest; return it and its life (s)."""
        seconds = self._settings.access_token_seconds
        if until is not None:
            seconds = min(seconds, max(0, int((until - self._clock.now()).total_seconds())))
        token = await self._access(
            "user",
            seconds,
            vo=grant.vo,
            sub=grant.sub,
            preferred_username=grant.username,
            dirac_group=grant.group,
            dirac_properties=sorted(grant.properties),
        )
        return token, seconds

    async def pilot_token(self, *, stamp: str, vo: str, seconds: int) -> str:
        """Make an access token of a pilot; it lives so many seconds, or as long as any token may."""
        return await self._access(
            "pilot",
            seconds,
            vo=vo,
            sub=f"pilot:{stamp}",
            preferred_username="pilot",
            dirac_group="pilot",
            dirac_properties=[str(Property.GENERIC_PILOT)],
            pilot_stamp=stamp,
        )

    async def job_token(
        self,
        *,
        job_id: int,
        attempt: int,
        vo: str,
        owner_sub: str,
        owner: str,
        group: str,
        stamp: str,
        seconds: int,
    ) -> str:
        """Make an access token of one run of one job; it is good for nothing else of its owner's.

        It lives so many seconds, or as long as any token may.
        """
        return await self._access(
            "job",
            seconds,
            vo=vo,
            sub=f"job:{job_id}:{attempt}",
            preferred_username=owner,
            dirac_group=group,
            dirac_properties=[],
            pilot_stamp=stamp,
            job_id=job_id,
            attempt=attempt,
            owner_sub=owner_sub,
        )

    async def service_token(self, properties: Iterable[str], seconds: int) -> str:
        """Make an access token of the installation itself, for its operator's commands."""
        return await self._access(
            "service",
            seconds,
            vo="",
            sub=SERVICE_SUB,
            preferred_username=SERVICE_SUB,
            dirac_group="",
            dirac_properties=sorted(str(name) for name in properties),
        )

    async def refresh_token(self, record: RefreshRecord) -> str:
        """Make the refresh token that a record is about."""
        claims = RefreshClaims(
            iss=self._settings.issuer,
            aud=self._refresh_audience,
            jti=record.jti,
            iat=int(record.created.timestamp()),
            exp=int(record.expires.timestamp()),
        )
        return await self._signed(_encode(claims))

    async def refresh_id(self, token: str) -> str | None:
        """Return the identifier of a refresh token of this installation; None if it is something else.

        Whether it is expired or revoked is for the database to say.
        """
        try:
            claims = _refresh_claims((await self._verified(token))[1])
        except (UnauthenticatedError, msgspec.MsgspecError):
            return None
        if claims.iss != self._settings.issuer or claims.aud != self._refresh_audience:
            return None
        return claims.jti

    async def _access(self, kind: Kind, seconds: int, *, vo: str, sub: str, **claims: Any) -> str:
        now = int(self._clock.now().timestamp())
        return await self._signed(
            _encode(
                Claims(
                    iss=self._settings.issuer,
                    aud=self._settings.audience,
                    sub=f"{vo}:{sub}",
                    jti=str(uuid7(self._entropy, self._clock.now().timestamp())),
                    iat=now,
                    nbf=now,
                    exp=now + min(seconds, self._settings.longest_token_seconds),
                    kind=kind,
                    vo=vo,
                    dirac_policies={},
                    **claims,
                )
            )
        )

    async def _signed(self, payload: bytes) -> str:
        key = await self._keys.signing()
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": "JWT"}
        return jws.serialize_compact(header, payload, key.private, registry=_registry)

    async def _verified(self, token: str) -> tuple[str, bytes]:
        """Return which of our keys has signed a token, and its payload.

        Raises:
            UnauthenticatedError: None has.
        """
        if len(token) > _LONGEST or not token.isascii():
            raise UnauthenticatedError("this is no token", hint=_HINT)
        try:
            found = jws.extract_compact(token.encode(), registry=_registry)
            kid = found.headers().get("kid")
            key = await self._keys.find(kid) if isinstance(kid, str) else None
            if key is None or not isinstance(kid, str):
                raise UnauthenticatedError("the token was not signed by this installation", hint=_HINT)
            if not jws.validate_compact(found, key.public, registry=_registry):
                raise UnauthenticatedError("the token's signature is wrong", hint=_HINT)
        except (JoseError, ValueError, TypeError):
            raise UnauthenticatedError("this is no token of this installation", hint=_HINT) from None
        return kid, found.payload
