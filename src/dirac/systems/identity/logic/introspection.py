"""Introspection (RFC 7662): what a token is good for, told to services that were registered."""

from __future__ import annotations

from dirac.core.errors import UnauthenticatedError
from dirac.core.unit import Units
from dirac.systems.identity.logic.claims import Claims
from dirac.systems.identity.logic.oauth import plain
from dirac.systems.identity.logic.tokens import BEARER, Tokens
from dirac.systems.identity.models_tokens import Introspection
from dirac.systems.identity.ports.tokens import ClientRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

# What is over, revoked, forged, or nothing to this client: it is not told which (section 2.2).
_INACTIVE = Introspection(active=False)
_LONGEST = 8192


class Introspector:
    """Tells what tokens are good for.

    Args:
        units: Where refresh tokens are.
        tokens: Reads tokens.
        settings: The issuer.
    """

    def __init__(self, units: Units[Unit], tokens: Tokens, settings: IdentitySettings) -> None:
        self._units = units
        self._tokens = tokens
        self._settings = settings

    async def look(self, token: str | None, client: ClientRecord) -> Introspection:
        """Return what a token is good for, now and at every server of the installation.

        Raises:
            OAuthError: There is no token in the request.
        """
        token = plain("token", token, longest=_LONGEST)
        try:
            claims = await self._tokens.claims(token)
        except UnauthenticatedError:
            return await self._refresh_token(token, client)
        return _access_token(claims) if client.vo in ("", claims.vo) else _INACTIVE

    async def _refresh_token(self, token: str, client: ClientRecord) -> Introspection:
        known = await self._tokens.refresh_claims(token)
        if known is None:
            return _INACTIVE
        async with self._units.read() as unit:
            record = await unit.sessions.find(known.jti)
            if record is None or record.state != "Active" or record.expires <= unit.now:
                return _INACTIVE
            member = await unit.registry.member(record.vo, sub=record.sub)
        if member is None or member.suspended or client.vo not in ("", record.vo):
            return _INACTIVE
        return Introspection(
            active=True,
            scope=str(record.scope),
            client_id=record.client_id,
            username=member.username,
            exp=int(record.expires.timestamp()),
            iat=int(record.created.timestamp()),
            sub=f"{record.vo}:{record.sub}",
            iss=self._settings.issuer,
            jti=record.jti,
            vo=record.vo,
        )


def _access_token(claims: Claims) -> Introspection:
    return Introspection(
        active=True,
        scope=claims.scope,
        client_id=claims.client_id,
        username=claims.preferred_username,
        token_type=BEARER,
        exp=claims.exp,
        iat=claims.iat,
        nbf=claims.nbf,
        sub=claims.sub,
        aud=claims.aud,
        iss=claims.iss,
        jti=claims.jti,
        vo=claims.vo,
        kind=claims.kind,
        dirac_group=claims.dirac_group,
        dirac_properties=claims.dirac_properties,
        pilot_stamp=claims.pilot_stamp,
        job_id=claims.job_id,
        attempt=claims.attempt,
        act=claims.act,
    )
