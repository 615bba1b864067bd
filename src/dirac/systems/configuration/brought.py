"""Edits that come from elsewhere, where the files are kept as well."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from dirac.systems.configuration.edits import Edit, Outcome
from dirac.systems.configuration.layout import State
from dirac.systems.configuration.ports import ConfigurationUnit


class Noted(Protocol):
    """Keeps, in the transaction of a version, what it came from."""

    async def __call__(self, unit: ConfigurationUnit, version: int, *, made: bool, exact: bool) -> None:
        """Keep it.

        Args:
            unit: The transaction.
            version: The newest version now.
            made: Whether it was made of this.
            exact: Whether its files are those that were brought, not merged with others'.
        """
        ...


class Brought(Struct, frozen=True):
    """An edit that comes from elsewhere.

    Attributes:
        author: Who made it.
        digests: Of all files there, by name.
        noted: Keeps what the version came from.
    """

    author: str
    digests: dict[str, str]
    noted: Noted | None


def other_texts(head: State, outcome: Outcome, edit: Edit) -> bool:
    """Tell whether files have other texts than before, although they may mean the same."""
    before, after = ({name: part.digest for name, part in each.parts.items()} for each in (head, outcome))
    return any(before.get(name) != after.get(name) for name in (*edit.changed, *edit.removed))
