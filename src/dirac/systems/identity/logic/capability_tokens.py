"""Tokens of the WLCG profile for storage and computing elements: made here, or got from the VO's provider."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from dirac.core.entropy import Entropy, uuid7
from dirac.core.errors import NotAllowedError, NotFoundError, UnauthenticatedError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.resources.identity.outside import OutsideProvider
from dirac.systems.identity.logic.access import grant
from dirac.systems.identity.logic.accounts import Accounts
from dirac.systems.identity.logic.capabilities import (
    COMPUTE,
    GROUPS,
    STORAGE,
    Capability,
    CapabilityRules,
    check,
    parse_capabilities,
)
from dirac.systems.identity.logic.claims import Claims
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.keys import KeyRing
from dirac.systems.identity.logic.oauth import OAuthError, plain
from dirac.systems.identity.logic.tokens import BEARER, Tokens
from dirac.systems.identity.models import TokenResponse
from dirac.systems.identity.models_tokens import CapabilityIssuer, TokenRequest
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.tokens import ClientRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

ALGORITHM = "ES256"
_VERSION = "1.0"
_NUMBER = 32  # bytes of each of the two numbers of a signature
_LEAST = 0.25  # of its life that a token from a provider has left when it is handed out
_MOST_KEPT = 512


class CapabilityClaims(msgspec.Struct, kw_only=True):
    """The claims of a token of the WLCG profile."""

    ver: str = msgspec.field(default=_VERSION, name="wlcg.ver")
    iss: str
    sub: str
    aud: str
    jti: str
    iat: int
    nbf: int
    exp: int
    scope: str
    groups: list[str] | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="wlcg.groups")


class _Kept(msgspec.Struct, frozen=True):
    """A token that a provider gave."""

    provider: OutsideProvider
    token: str
    expires: datetime
    until: datetime


class CapabilityTokens:
    """Gives tokens for storage and computing elements to whom the configuration lets have them.

    Each VO is an issuer of its own: what an element gives to one of them is nobody else's. They cannot be
    revoked, as elements verify them without asking: they are short.

    Args:
        units: Where the registry is; who got what is recorded there.
        tokens: Reads what is shown.
        keys: What signs.
        accounts: What the configuration says; speaks to the VOs' providers.
        clock: When tokens begin and end.
        entropy: Where identifiers come from.
        settings: The address of the installation.
    """

    def __init__(
        self,
        units: Units[Unit],
        tokens: Tokens,
        keys: KeyRing,
        accounts: Accounts,
        clock: Clock,
        entropy: Entropy,
        settings: IdentitySettings,
    ) -> None:
        self._units = units
        self._tokens = tokens
        self._keys = keys
        self._accounts = accounts
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._kept: dict[tuple[str, str, str], _Kept] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def exchange(self, request: TokenRequest, client: ClientRecord | None) -> TokenResponse:
        """Return a token for what a user, or a job for its owner, may do at an element (RFC 8693).

        Raises:
            OAuthError: The request cannot be granted.
        """
        subject = plain("subject_token", request.subject_token, longest=8192)
        try:
            claims = await self._tokens.claims(subject)
        except UnauthenticatedError as error:
            raise OAuthError("invalid_request", f"the subject_token: {error.message}") from None
        if client is not None and client.vo not in ("", claims.vo):
            raise OAuthError("invalid_request", "the subject_token is of another VO than the client")
        wanted, groups = parse_capabilities(request.scope)
        if claims.kind not in ("user", "job") or (groups and claims.kind != "user"):
            raise OAuthError("invalid_request", f"the token of a {claims.kind} is not exchanged for that")
        audience = _audience(request)
        rules = (await self._accounts.rules(claims.vo)).capabilities
        if rules is None:
            raise OAuthError(
                "invalid_target",
                f"the VO {claims.vo!r} has no tokens for storage and computing elements",
                hint="The configuration says who gets them: capability_tokens of the VO",
            )
        check(rules, claims.dirac_group, wanted, audience)
        return await self._given(claims, rules, wanted, audience, groups=groups)

    async def issuer(self, vo: str) -> CapabilityIssuer:
        """Describe the issuer that a VO is, for those who verify its tokens (RFC 8414).

        Raises:
            NotFoundError: There is none.
        """
        await self._demand_issuer(vo)
        address = self._address(vo)
        return CapabilityIssuer(
            issuer=address,
            jwks_uri=f"{address}/.well-known/jwks.json",
            token_endpoint=f"{self._settings.issuer}/api/auth/token",
            scopes_supported=[*STORAGE, *COMPUTE, GROUPS],
        )

    async def published(self, vo: str) -> dict[str, list[dict[str, str]]]:
        """Return the public keys of that issuer (RFC 7517).

        Raises:
            NotFoundError: There is none.
        """
        await self._demand_issuer(vo)
        return {"keys": await self._keys.published_for_elements()}

    async def _demand_issuer(self, vo: str) -> None:
        rules = (await self._accounts.rules(vo)).capabilities
        if rules is None or rules.from_provider:
            raise NotFoundError(f"no tokens for storage and computing elements are issued for {vo!r} here")

    def _address(self, vo: str) -> str:
        return f"{self._settings.issuer}/vo/{vo}"

    async def _given(
        self,
        claims: Claims,
        rules: CapabilityRules,
        wanted: Sequence[Capability],
        audience: str,
        *,
        groups: bool,
    ) -> TokenResponse:
        vo = claims.vo
        sub = claims.owner_sub if claims.kind == "job" else claims.sub.partition(":")[2]
        scope = " ".join([*map(str, wanted), *([GROUPS] if groups else [])])
        kept: _Kept | None = None
        if rules.from_provider:
            kept = await self._from_provider(vo, scope, audience)
        async with self._units.write() as unit:
            try:
                granted = grant(await unit.registry.member(vo, sub=sub), Scope(vo, claims.dirac_group))
            except NotAllowedError as error:
                raise OAuthError("invalid_request", error.message, hint=error.hint) from None
            jti = str(uuid7(self._entropy, unit.now.timestamp()))
            about = {"scope": scope, "audience": audience, "token": jti}
            unit.record(about_user("token.capability", unit.now, vo, sub, actor=claims.sub, **about))
        if kept is not None:
            seconds = int((kept.expires - self._clock.now()).total_seconds())
            return TokenResponse(kept.token, seconds, BEARER, issued_token_type=_TYPE, scope=scope)
        now = int(self._clock.now().timestamp())
        token = await self._signed(
            CapabilityClaims(
                iss=self._address(vo),
                sub=sub,
                aud=audience,
                jti=jti,
                iat=now,
                nbf=now,
                exp=now + rules.seconds,
                scope=scope,
                groups=[f"/{vo}", f"/{vo}/{granted.group}"] if groups else msgspec.UNSET,
            )
        )
        return TokenResponse(token, rules.seconds, BEARER, issued_token_type=_TYPE, scope=scope)

    async def _signed(self, claims: CapabilityClaims) -> str:
        key = await self._keys.signing()
        header = {"alg": ALGORITHM, "kid": key.element_kid, "typ": "JWT"}
        signed = encoded(msgspec.json.encode(header)) + b"." + encoded(msgspec.json.encode(claims))
        numbers = decode_dss_signature(key.for_elements.sign(signed, ECDSA(SHA256())))
        signature = b"".join(number.to_bytes(_NUMBER, "big") for number in numbers)
        return (signed + b"." + encoded(signature)).decode()

    async def _from_provider(self, vo: str, scope: str, audience: str) -> _Kept:
        """Return a token that the VO's provider gives to this installation; it is kept and given again."""
        _, _, provider = await self._accounts.provider(vo)
        name = (vo, scope, audience)
        async with self._asking.setdefault(vo, asyncio.Lock()):
            kept = self._kept.pop(name, None)
            if kept is None or kept.provider is not provider or kept.until <= self._clock.now():
                token, expires = await provider.own_token(scope, audience)
                life = (expires - self._clock.now()).total_seconds()
                kept = _Kept(provider, token, expires, expires - timedelta(seconds=life * _LEAST))
            while len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[name] = kept
        return kept


_TYPE = "urn:ietf:params:oauth:token-type:access_token"


def _audience(request: TokenRequest) -> str:
    """Return for whom a token is to be: the one `audience` or `resource` that is named.

    Raises:
        OAuthError: None is, or two.
    """
    named = {name for name in (request.audience, request.resource) if name}
    if len(named) != 1:
        raise OAuthError(
            "invalid_target",
            f"{len(named)} audiences are named",
            hint="Name one as `audience`: the address of the element, as its manual has it",
        )
    return named.pop()
