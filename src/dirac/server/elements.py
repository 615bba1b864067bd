"""Computing elements of the configuration, made from their plugins, with what this server adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dirac.core import plugins
from dirac.core.errors import NotFoundError
from dirac.resources.computing.base import ComputingElement
from dirac.server.settings import Settings
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.models import ComputingElement as Section

_KIND = "dirac.computing"
_LOCAL = "local"


class ConfiguredElements:
    """Gives computing elements by site and name; one is kept for as long as its section stays the same.

    Args:
        configuration: The configuration.
        settings: This server's settings: pilots of local elements live in its directory.
    """

    def __init__(self, configuration: Configuration, settings: Settings) -> None:
        self._configuration = configuration
        self._settings = settings
        self._made: dict[tuple[str, str], tuple[Section, ComputingElement]] = {}

    async def get(self, site: str, ce: str) -> ComputingElement:
        """Return a computing element of the configuration.

        Raises:
            NotFoundError: The configuration has none of that name.
            InvalidInputError: Its settings are wrong.
        """
        tree = (await self._configuration.current()).tree
        section = tree.sites[site].computing_elements.get(ce) if site in tree.sites else None
        if section is None:
            raise NotFoundError(f"the configuration has no computing element {ce!r} at site {site!r}")
        known = self._made.get((site, ce))
        if known is not None and known[0] == section:
            return known[1]
        limits = {
            "max_running": sum(queue.max_running for queue in section.queues.values()),
            "max_waiting": sum(queue.max_waiting for queue in section.queues.values()),
        }
        element = make_element(self._settings, section.type, f"{site}.{ce}", section.settings, limits)
        self._made[site, ce] = section, element
        if known is not None:
            await known[1].close()
        return element

    async def close(self) -> None:
        """Close all elements."""
        for _section, element in self._made.values():
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
