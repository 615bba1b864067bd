"""The rules for jobs, from the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from dirac.core import plugins
from dirac.formats.description import Limits
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


def limits(rules: Workload) -> Limits:
    """Return what a description may say."""
    return Limits(
        cpu_time_default=min(max(rules.default_cpu_time, rules.min_cpu_time), rules.max_cpu_time),
        cpu_time_min=rules.min_cpu_time,
        cpu_time_max=rules.max_cpu_time,
        priority_min=rules.min_priority,
        priority_max=rules.max_priority,
        processors_max=rules.max_processors,
        input_data_max=rules.max_input_data,
        retries_max=rules.max_retries,
        job_types=tuple(rules.job_types),
        steps=tuple(plugins.names("dirac.optimiser")),
    )


def site_of(sites: Sequence[str]) -> str:
    """Return what is shown as the site of a job that may run at these; none means any."""
    return ("Multiple" if len(sites) > 1 else sites[0]) if sites else "ANY"
