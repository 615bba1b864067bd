"""What the logic of people's control over jobs needs of its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from dirac.core.search import Condition
from dirac.systems.workload.models import BulkPreview, VitalSign
from dirac.systems.workload.policy import Visibility

if TYPE_CHECKING:
    from dirac.systems.workload.ports.running import Beat


class ControlRepository(Protocol):
    """Choosing jobs by filters; delays, answers to orders, series of signs of life, removal. All in bulk."""

    async def count(self, visible: Visibility, conditions: Sequence[Condition]) -> BulkPreview:
        """Count the visible jobs that fit."""
        ...

    async def choose(
        self, visible: Visibility, conditions: Sequence[Condition], *, after: int, until: int, limit: int
    ) -> list[int]:
        """Return the first visible jobs that fit, of those with a number from `after` + 1 to `until`."""
        ...

    async def fitting(self, job_ids: Sequence[int], conditions: Sequence[Condition]) -> set[int]:
        """Return those of the jobs that fit, as they are now."""
        ...

    async def delay(self, until: Mapping[int, datetime]) -> None:
        """Let jobs wait again at these moments."""
        ...

    async def undelay(self, job_ids: Sequence[int]) -> None:
        """Forget when jobs wait again."""
        ...

    async def delayed(self, limit: int) -> list[int]:
        """Return jobs whose delay is over."""
        ...

    async def answer(self, job_ids: Sequence[int]) -> None:
        """Note that the orders for the runs of these jobs were obeyed."""
        ...

    async def unanswered(self, limit: int) -> list[int]:
        """Return jobs with an order that should have been answered by now."""
        ...

    async def give_up_answers(self, job_ids: Sequence[int]) -> set[int]:
        """Wait no longer for overdue answers of these jobs; return those for which there was none."""
        ...

    async def ordered(self, job_id: int, attempt: int, command: str, since: datetime) -> bool:
        """Tell whether a run was given such an order since then."""
        ...

    async def note(self, beats: Sequence[Beat]) -> None:
        """Add signs of life to the series of their runs."""
        ...

    async def signs(self, job_id: int, attempt: int | None) -> list[VitalSign]:
        """Return the series of a run, or of all runs of a job, in the order of time."""
        ...

    async def communities(self) -> list[str]:
        """Return the virtual organisations that have jobs."""
        ...

    async def first_since(self, moment: datetime) -> int:
        """Return a number such that all jobs below it were submitted before this moment."""
        ...

    async def removable(
        self, vo: str, status: str, unchanged_since: datetime, *, after: int, below: int, limit: int
    ) -> list[int]:
        """Return and lock jobs of a VO in a state in which they have been since then."""
        ...

    async def remove(self, job_ids: Sequence[int]) -> None:
        """Delete all rows of jobs, their links to sandboxes among them."""
        ...
