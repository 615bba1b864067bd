"""What clients find out by themselves: addresses, keys, VOs, whom to tell about a weakness."""

from __future__ import annotations

from typing import Annotated

from starlette.responses import PlainTextResponse, Response

from dirac.systems.identity.logic.discovery import Discovery
from dirac.systems.identity.logic.keys import KeyRing
from dirac.systems.identity.logic.registry import Registry
from dirac.systems.identity.models import Metadata, OpenIDConfiguration, PublicKeys
from dirac.transport.routing import SystemRouter, open_to_all, provided

router = SystemRouter("/.well-known", ".well-known")
_open = [open_to_all("clients need it before they can log in")]


@router.get("/openid-configuration", dependencies=_open)
async def get_openid_configuration(
    discovery: Annotated[Discovery, provided(Discovery)],
) -> OpenIDConfiguration:
    """Describe the authorisation server (RFC 8414)."""
    return await discovery.openid_configuration()


@router.get("/oauth-authorization-server", dependencies=_open)
async def get_authorization_server_metadata(
    discovery: Annotated[Discovery, provided(Discovery)],
) -> OpenIDConfiguration:
    """Describe the authorisation server, where RFC 8414 has clients look."""
    return await discovery.openid_configuration()


@router.get("/jwks.json", dependencies=_open)
async def get_jwks(keys: Annotated[KeyRing, provided(KeyRing)]) -> PublicKeys:
    """Return the public keys that verify this installation's tokens (RFC 7517)."""
    return PublicKeys(await keys.published())


@router.get("/dirac-metadata", dependencies=_open)
async def get_installation_metadata(registry: Annotated[Registry, provided(Registry)]) -> Metadata:
    """Return the VOs with their groups and whom their members may ask."""
    return await registry.metadata()


@router.get("/security.txt", dependencies=_open, response_class=PlainTextResponse)
async def get_security_txt(discovery: Annotated[Discovery, provided(Discovery)]) -> Response:
    """Say whom to tell about a weakness (RFC 9116)."""
    return PlainTextResponse(discovery.security_txt())
