"""What the logic needs to remember of what runs have used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

import msgspec


class Used(msgspec.Struct, frozen=True):
    """What ended runs of a class have used.

    Attributes:
        seconds: From their claims to their ends, added up; what is older than `moment` weighs less.
        moment: When it was worth so much.
    """

    class_id: int
    seconds: float
    moment: datetime


class UsageRepository(Protocol):
    """What ended runs have used. Each end of a run is noted with it, by `RunRepository.apply`."""

    async def used(self) -> list[Used]:
        """Return all, of a class in at most two parts: what is added up, and the rest as of its last end."""
        ...

    async def unfolded(self, most: int) -> tuple[list[Used], list[int]]:
        """Return what was noted and not added up yet, and its identifiers; locked until the end.

        At most so many; none of what is not committed. Only one caller at a time gets beyond this.
        """
        ...

    async def folded(self, class_ids: Collection[int]) -> list[Used]:
        """Return what was added up of these classes."""
        ...

    async def fold(self, sums: Sequence[Used], identifiers: Sequence[int], before: datetime) -> None:
        """Replace sums by these, which contain what has these identifiers; forget sums from before."""
        ...
