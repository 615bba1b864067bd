"""The rules for jobs, from the configuration."""

from __future__ import annotations

from dirac.systems.configuration.models import Workload
from dirac.systems.workload.ports.running import Configured


class ConfiguredRules:
    """Implements `Rules`.

    Args:
        configuration: Who knows the configuration in force.
    """

    def __init__(self, configuration: Configured) -> None:
        self._configuration = configuration

    async def workload(self) -> Workload:
        """Return the section in force."""
        return (await self._configuration.current()).tree.workload
