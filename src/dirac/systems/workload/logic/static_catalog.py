"""The catalog that the configuration holds: directories and the storage elements that have them."""

from __future__ import annotations

from collections.abc import Sequence

from dirac.systems.workload.ports.running import Configured


class StaticCatalog:
    """Implements `Catalog` from the section ``data`` of the configuration.

    For sites whose data stay where they are. A file is where the longest directory above it says.

    Args:
        configuration: Who knows the configuration in force.
    """

    def __init__(self, configuration: Configured) -> None:
        self._configuration = configuration

    async def locations(self, vo: str, lfns: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the storage elements that have each file; nobody finds files of another VO."""
        directories = (await self._configuration.current()).tree.data.directories
        found = {}
        for name in lfns:
            if not name.startswith(f"/{vo}/"):
                continue
            above = name
            while above:
                above = above.rpartition("/")[0]
                if (places := directories.get(above)) is not None:
                    found[name] = tuple(places)
                    break
        return found
