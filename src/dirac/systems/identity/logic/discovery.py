"""What clients find out by themselves about the authorisation server."""

from __future__ import annotations

from datetime import timedelta

from dirac.core.time import Clock
from dirac.resources.identity.id_token import ALGORITHMS
from dirac.systems.identity.logic.assertions import METHOD
from dirac.systems.identity.logic.registry import Registry
from dirac.systems.identity.models import OpenIDConfiguration
from dirac.systems.identity.settings import IdentitySettings

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

CLIENT_GRANT = "client_credentials"
EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"

_GRANTS = ("authorization_code", DEVICE_GRANT, "refresh_token", CLIENT_GRANT, EXCHANGE_GRANT)
_PROOFS = ("client_secret_basic", "client_secret_post", METHOD)
_EXPIRES = timedelta(days=180)  # RFC 9116, section 2.5.5: less than a year ahead


class Discovery:
    """Describes the installation to programs and people that know its address only.

    Args:
        registry: Which scopes there are.
        clock: Until when the description holds.
        settings: The address; whom to tell about a weakness.
    """

    def __init__(self, registry: Registry, clock: Clock, settings: IdentitySettings) -> None:
        self._registry = registry
        self._clock = clock
        self._settings = settings

    async def openid_configuration(self) -> OpenIDConfiguration:
        """Describe the authorisation server (RFC 8414)."""
        issuer = self._settings.issuer
        auth = f"{issuer}/api/auth"
        return OpenIDConfiguration(
            issuer=issuer,
            token_endpoint=f"{auth}/token",
            userinfo_endpoint=f"{auth}/userinfo",
            authorization_endpoint=f"{auth}/authorize",
            device_authorization_endpoint=f"{auth}/device",
            revocation_endpoint=f"{auth}/revoke",
            jwks_uri=f"{issuer}/.well-known/jwks.json",
            grant_types_supported=list(_GRANTS),
            scopes_supported=await self._registry.scopes(),
            response_types_supported=["code"],
            token_endpoint_auth_signing_alg_values_supported=list(ALGORITHMS),
            token_endpoint_auth_methods_supported=["none", *_PROOFS],
            code_challenge_methods_supported=["S256"],
            introspection_endpoint=f"{auth}/introspect",
            introspection_endpoint_auth_methods_supported=list(_PROOFS),
            revocation_endpoint_auth_methods_supported=["none"],
            introspection_endpoint_auth_signing_alg_values_supported=list(ALGORITHMS),
        )

    def security_txt(self) -> str:
        """Say whom to tell about a weakness (RFC 9116)."""
        expires = (self._clock.now() + _EXPIRES).strftime("%Y-%m-%dT00:00:00Z")
        lines = (
            f"Contact: {self._settings.contact}",
            f"Expires: {expires}",
            "Preferred-Languages: en",
            f"Canonical: {self._settings.issuer}/.well-known/security.txt",
        )
        return "\n".join(lines) + "\n"
