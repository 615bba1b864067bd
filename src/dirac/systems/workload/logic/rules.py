"""The rules for jobs, from the configuration."""

from __future__ import annotations

from typing import Protocol

from dirac.systems.configuration.models import Tree, Workload


class Snapshot(Protocol):
    """A configuration as of one version."""

    @property
    def tree(self) -> Tree:
        """All of it."""
        ...


class CurrentConfiguration(Protocol):
    """Who knows the configuration in force."""

    async def current(self) -> Snapshot:
        """Return it."""
        ...


class ConfiguredRules:
    """Implements `Rules`.

    Args:
        configuration: Who knows the configuration in force.
    """

    def __init__(self, configuration: CurrentConfiguration) -> None:
        self._configuration = configuration

    async def workload(self) -> Workload:
        """Return the section in force."""
        return (await self._configuration.current()).tree.workload
