"""Tokens: JSON Web Tokens (RFC 7519), signed with Ed25519 (RFC 8037)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature

from dirac.core.entropy import Entropy, uuid7
from dirac.core.errors import UnauthenticatedError
from dirac.core.time import Clock
from dirac.systems.identity.logic.access import Grant
from dirac.systems.identity.logic.claims import Claims, RefreshClaims
from dirac.systems.identity.logic.compact import decoded, encoded
from dirac.systems.identity.logic.keys import KeyRing
from dirac.systems.identity.logic.refresh_tokens import RefreshTokens
from dirac.systems.identity.logic.revocations import Revocations
from dirac.systems.identity.models import Identity, Kind, Property
from dirac.systems.identity.ports.sessions import RefreshRecord
from dirac.systems.identity.ports.tokens import ClientRecord
from dirac.systems.identity.settings import IdentitySettings

ALGORITHM: Literal["EdDSA"] = "EdDSA"
BEARER = "Bearer"
SERVICE_SUB = "installation"

_LONGEST = 8192
_SKEW = 30
_MOST_KNOWN = 4096  # tokens that were verified and are remembered
_HINT = "Log in again: dirac login VO"


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The header of our tokens, and of no others: what it does not know, it cannot be led to believe.

    RFC 9864 would have ``Ed25519`` in it, because ``EdDSA`` leaves the curve open. Our keys leave no choice
    of a curve, and verifiers in the field know the older name only.
    """

    alg: Literal["EdDSA", "Ed25519"]
    kid: str
    typ: Literal["JWT"] = "JWT"


_header = msgspec.json.Decoder(_Header).decode
_encode = msgspec.json.Encoder().encode
_claims = msgspec.json.Decoder(Claims).decode


class _Known:
    """A token that was verified."""

    __slots__ = ("claims", "identity", "kid", "seen")

    def __init__(self, kid: str, claims: Claims, identity: Identity) -> None:
        self.kid = kid
        self.claims = claims
        self.identity = identity
        self.seen = -1  # the version of the revocations that it was compared with


class Tokens:
    """Makes tokens and verifies them.

    Args:
        keys: What signs.
        clock: When tokens begin and end.
        entropy: Where identifiers come from.
        settings: Issuer, audience and lengths of lives.
        revocations: What is revoked; None for one that makes tokens and is shown none.
    """

    def __init__(
        self,
        keys: KeyRing,
        clock: Clock,
        entropy: Entropy,
        settings: IdentitySettings,
        revocations: Revocations | None = None,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._revocations = revocations
        self._refresh = RefreshTokens(settings)
        self._known: dict[str, _Known] = {}

    @property
    def longest(self) -> timedelta:
        """No token lives longer."""
        return timedelta(seconds=self._settings.longest_token_seconds)

    async def authenticate(self, token: str) -> Identity:
        """Return whose access token this is.

        Raises:
            UnauthenticatedError: It is not a valid access token of this installation.
        """
        return (await self._find(token)).identity

    async def claims(self, token: str) -> Claims:
        """Return what an access token says.

        Raises:
            UnauthenticatedError: It is not a valid access token of this installation.
        """
        return (await self._find(token)).claims

    async def _find(self, token: str) -> _Known:
        revocations = self._revocations
        if revocations is not None:
            await revocations.follow()
        known = self._known.get(token)
        if known is not None and not await self._lives(known):
            del self._known[token]
            known = None
        # What was signed stays signed, and is compared with revocations again when there are new ones.
        if known is not None and (revocations is None or known.seen == revocations.version):
            return known
        if known is None:
            kid, payload = await self._verified(token)
            claims = self._checked(payload)
            known = _Known(kid, claims, claims.identity())
        if revocations is not None:
            if revocations.covers(known.claims):
                self._known.pop(token, None)
                raise UnauthenticatedError("the token was revoked", hint=_HINT)
            known.seen = revocations.version
        while len(self._known) >= _MOST_KNOWN:
            self._known.pop(next(iter(self._known)), None)
        self._known[token] = known
        return known

    async def _lives(self, known: _Known) -> bool:
        """Tell whether neither a token nor the key that signed it has come to its end."""
        if self._clock.now().timestamp() >= known.claims.exp:
            return False
        return await self._keys.find(known.kid) is not None

    def _checked(self, payload: bytes) -> Claims:
        """Return the claims of an access token that is good here and now.

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
        if claims.sub.partition(":")[0] != claims.vo:
            raise UnauthenticatedError("the token's subject is not of its VO", hint=_HINT)
        return claims

    async def user_token(
        self,
        grant: Grant,
        *,
        sid: str = "",
        act: Mapping[str, Any] | None = None,
        client_id: str = "",
        until: datetime | None = None,
    ) -> tuple[str, int]:
        """Make an access token of a user; return it and its life in seconds.

        Args:
            grant: Who, and what they may.
            sid: The session.
            act: Who acts for the user, if it is somebody else.
            client_id: The confidential client that gets it.
            until: When it ends at the latest.
        """
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
            sid=sid,
            act=None if act is None else dict(act),
            client_id=client_id,
        )
        return token, seconds

    async def exchanged(
        self, claims: Claims, properties: Iterable[str], *, act: Mapping[str, Any] | None, client_id: str
    ) -> tuple[str, int]:
        """Make an access token that does not outlive another; return it and its life in seconds."""
        now = self._clock.now().timestamp()
        seconds = min(int(claims.exp - now), self._settings.access_token_seconds)
        token = await self._access(
            claims.kind,
            seconds,
            vo=claims.vo,
            sub=claims.sub.partition(":")[2],
            preferred_username=claims.preferred_username,
            dirac_group=claims.dirac_group,
            dirac_properties=sorted(properties),
            sid=claims.sid,
            origin=claims.origin or claims.jti,
            act=claims.act if act is None else {**act, **({"act": claims.act} if claims.act else {})},
            client_id=client_id or claims.client_id,
        )
        return token, seconds

    async def pilot_token(self, *, stamp: str, vo: str, seconds: int, site: str = "") -> str:
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
            pilot_site=site,
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
        site: str = "",
    ) -> str:
        """Make an access token of one run of one job; it is good for nothing else of its owner's.

        It lives so many seconds, or as long as any token may.
        """
        return await self._access(
            "job",
            min(seconds, self._settings.payload_token_seconds),
            vo=vo,
            sub=f"job:{job_id}:{attempt}",
            preferred_username=owner,
            dirac_group=group,
            dirac_properties=[],
            pilot_stamp=stamp,
            pilot_site=site,
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

    async def client_token(self, client: ClientRecord, properties: Iterable[str]) -> tuple[str, int]:
        """Make an access token of a registered client; return it and its life in seconds."""
        seconds = self._settings.service_token_seconds
        token = await self._access(
            "service",
            seconds,
            vo=client.vo,
            sub=f"client:{client.client_id}",
            preferred_username=client.client_id,
            dirac_group="",
            dirac_properties=sorted(properties),
            client_id=client.client_id,
        )
        return token, seconds

    def refresh_token(self, record: RefreshRecord) -> str:
        """Make the refresh token that a record is about."""
        return self._refresh.make(record)

    async def refresh_claims(self, token: str) -> RefreshClaims | None:
        """Return what a refresh token of this installation says; None if it is something else.

        Whether it is expired or revoked is for the database to say.
        """
        if (claims := self._refresh.claims(token)) is not None:
            return claims
        try:  # those of the version before this one were signed like access tokens
            return self._refresh.read((await self._verified(token))[1])
        except UnauthenticatedError:
            return None

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
        signed = encoded(_encode(_Header(ALGORITHM, key.kid))) + b"." + encoded(payload)
        return (signed + b"." + encoded(key.private.sign(signed))).decode()

    async def _verified(self, token: str) -> tuple[str, bytes]:
        """Return which of our keys has signed a token, and its payload.

        Raises:
            UnauthenticatedError: None has.
        """
        if len(token) > _LONGEST or not token.isascii():
            raise UnauthenticatedError("this is no token", hint=_HINT)
        signed, _, signature = token.encode().rpartition(b".")
        header, _, payload = signed.partition(b".")
        try:
            kid = _header(decoded(header)).kid
            key = await self._keys.find(kid)
            if key is None:
                raise UnauthenticatedError("the token was not signed by this installation", hint=_HINT)
            key.public.verify(decoded(signature), signed)
            return kid, decoded(payload)
        except InvalidSignature:
            raise UnauthenticatedError("the token's signature is wrong", hint=_HINT) from None
        except ValueError:
            raise UnauthenticatedError("this is no token of this installation", hint=_HINT) from None
