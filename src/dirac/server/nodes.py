"""Credentials of worker nodes, made and revoked by the operator on a server's own host."""

from __future__ import annotations

from pathlib import Path

from dirac.core.errors import InvalidInputError, UnauthenticatedError
from dirac.server.composition import Installation, build
from dirac.server.control import write_secret
from dirac.server.settings import Settings
from dirac.systems.configuration.logic import Configuration


async def put_credential(settings: Settings, site: str, ce: str, out: Path, old: str | None) -> bool:
    """Write a credential for the nodes of a computing element, unless the old one is good.

    Returns:
        Whether it was written.

    Raises:
        InvalidInputError: The configuration has no such element, or pilots are submitted to it.
    """
    installation = build(settings)
    try:
        await installation.begin()
        await _require(installation, site, ce)
        if old is not None and await _is_good(installation, old, site, ce):
            return False
        write_secret(out, await installation.identity.nodes.issue(site, ce) + "\n")
        return True
    finally:
        await installation.close()


async def revoke_credentials(settings: Settings, site: str, ce: str) -> int:
    """Revoke all credentials of a computing element; return how many were good."""
    installation = build(settings)
    try:
        return await installation.identity.nodes.revoke(site, ce)
    finally:
        await installation.close()


async def _require(installation: Installation, site: str, ce: str) -> None:
    configuration: Configuration = installation.provide(Configuration)
    found = (await configuration.current()).tree.sites.get(site)
    element = found.computing_elements.get(ce) if found is not None else None
    if element is None:
        raise InvalidInputError(
            f"the configuration has no computing element {ce!r} at site {site!r}",
            hint="Add it with type: node, and apply the configuration: dirac config apply",
        )
    if not (await installation.elements.get(site, ce)).capabilities.pull:
        raise InvalidInputError(
            f"the computing element {ce!r} is of type {element.type!r}: pilots are submitted to it",
            hint="Only nodes of elements of type: node ask for pilots",
        )


async def _is_good(installation: Installation, credential: str, site: str, ce: str) -> bool:
    try:
        identity = await installation.identity.nodes.authenticate(credential)
    except UnauthenticatedError:
        return False
    return (identity.site, identity.ce) == (site, ce)
