"""The one registry of plugins: entry points, for built-in ones and anybody else's alike."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dirac.core.errors import InvalidInputError


@cache
def _found(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def names(group: str) -> list[str]:
    """Return the names of the plugins of a group, for instance of ``dirac.computing``."""
    return sorted(_found(group))


@cache
def load(group: str, name: str) -> Any:
    """Import the plugin of that name.

    Raises:
        InvalidInputError: There is none; the message lists those that are installed.
    """
    point = _found(group).get(name)
    if point is None:
        raise InvalidInputError(
            f"there is no plugin {name!r} of kind {group!r}",
            hint=f"Installed are: {', '.join(names(group)) or 'none'}",
        )
    return point.load()
