"""Computing elements of the configuration, made from their plugins, with what this server adds to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from dirac.core import plugins
from dirac.core.errors import NotFoundError
from dirac.core.secrets import references_in
from dirac.resources.computing.base import ComputingElement
from dirac.resources.secrets.resolving import Refused, Secrets, fill
from dirac.server.settings import Settings
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.models import ComputingElement as Section

_KIND = "dirac.computing"
_LOCAL = "local"


class ConfiguredElements:
    """Gives computing elements by site and name; kept as long as section and secrets are the same.

    Args:
        configuration: The configuration.
        settings: This server's settings: pilots of local elements live in its directory.
        secrets: Follows references in the settings of elements.
        refused: Says why one may not be followed.
    """

    def __init__(
        self, configuration: Configuration, settings: Settings, secrets: Secrets, refused: Refused
    ) -> None:
        self._configuration = configuration
        self._settings = settings
        self._secrets = secrets
        self._refused = refused
        self._made: dict[tuple[str, str], tuple[Section, Mapping[str, Any], ComputingElement]] = {}

    async def get(self, site: str, ce: str) -> ComputingElement:
        """Return a computing element of the configuration.

        Raises:
            NotFoundError: The configuration has none of that name.
            InvalidInputError: Its settings are wrong, or a secret of it is not where it should be.
            UnavailableError: Whoever holds a secret of it does not answer.
        """
        tree = (await self._configuration.current()).tree
        section = tree.sites[site].computing_elements.get(ce) if site in tree.sites else None
        if section is None:
            raise NotFoundError(f"the configuration has no computing element {ce!r} at site {site!r}")
        where = f"sites/{site}/computing_elements/{ce}/settings"
        given: Mapping[str, Any] = section.settings
        if any(references_in(given)):
            given = await asyncio.to_thread(fill, given, where, self._secrets, self._refused)
        known = self._made.get((site, ce))
        if known is not None and known[:2] == (section, given):
            return known[2]
        limits = {
            "max_running": sum(queue.max_running for queue in section.queues.values()),
            "max_waiting": sum(queue.max_waiting for queue in section.queues.values()),
        }
        element = make_element(self._settings, section.type, f"{site}.{ce}", given, limits)
        self._made[site, ce] = section, given, element
        if known is not None:
            await known[2].close()
        return element

    async def close(self) -> None:
        """Close all elements."""
        for _section, _given, element in self._made.values():
            await element.close()
        self._made.clear()


def make_element(
    settings: Settings,
    kind: str,
    name: str,
    given: Mapping[str, Any],
    limits: Mapping[str, int] | None = None,
) -> ComputingElement:
    """Make a computing element from its part of the configuration.

    Raises:
        InvalidInputError: There is no such plugin, or it does not accept the settings.
    """
    own: dict[str, Any] = {}
    if kind == _LOCAL:
        own = {"workdir": str(settings.path(settings.pilots.directory) / name), **(limits or {})}
    element: ComputingElement = plugins.load(_KIND, kind).from_settings(name, own | dict(given))
    return element
