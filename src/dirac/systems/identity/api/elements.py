"""What storage and computing elements look up to verify tokens: each VO is an issuer of its own."""

from __future__ import annotations

from typing import Annotated

from dirac.systems.identity.logic.capability_tokens import CapabilityTokens
from dirac.systems.identity.models_tokens import CapabilityIssuer
from dirac.transport.routing import SystemRouter, open_to_all, provided

router = SystemRouter("/vo/{vo}/.well-known", ".well-known")
_open = [open_to_all("who verifies a token has none")]


@router.get("/openid-configuration", dependencies=_open)
async def get_capability_issuer(
    vo: str, tokens: Annotated[CapabilityTokens, provided(CapabilityTokens)]
) -> CapabilityIssuer:
    """Describe the issuer of a VO's tokens for storage and computing elements (RFC 8414)."""
    return await tokens.issuer(vo)


@router.get("/jwks.json", dependencies=_open)
async def get_capability_keys(
    vo: str, tokens: Annotated[CapabilityTokens, provided(CapabilityTokens)]
) -> dict[str, list[dict[str, str]]]:
    """Return the public keys that verify them (RFC 7517)."""
    return await tokens.published(vo)
