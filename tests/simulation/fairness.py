"""Whether shares hold and nobody starves, told from the history alone.

Each event says who waits and who was served. While somebody has a job that any pilot could run, the others
get no more jobs between two of theirs than `logic/shares.py` promises (docs/decisions/0020); while all wait,
each is served in proportion to their share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from dirac.core.unit import Event
from dirac.systems.workload.logic.shares import MOST_CORRECTION, most_between
from dirac.systems.workload.models import JobStatus

_MOST_APART = MOST_CORRECTION**2  # one's share is raised as far as it may be, another's is lowered


class Fairness:
    """Follows those who share something: groups of a VO, or users of a group.

    Args:
        shares: What each is to get, in parts.
        owners: Whose each job is, by number; jobs that not every pilot could run are absent.
        restarts: How often the server has forgotten whom it has served.
        corrected: Whether shares may have been corrected by what runs: then nobody's is known exactly.

    Attributes:
        longest: How many jobs others got, at most, while one waited.
        together: How many jobs each got while all waited.
        faults: Who waited longer than anybody may.
    """

    def __init__(
        self,
        shares: Mapping[str, float],
        owners: Mapping[int, str],
        restarts: int = 0,
        *,
        corrected: bool = False,
    ) -> None:
        self._shares = shares
        self._owners = owners
        apart = _MOST_APART if corrected else 1.0
        self._most = {
            name: (1 + restarts)
            * most_between(share, (apart * other for who, other in shares.items() if who != name))
            for name, share in shares.items()
        }
        self._waiting: dict[str, set[int]] = {name: set() for name in shares}
        self._since: Counter[str] = Counter()
        self.longest: Counter[str] = Counter()
        self.together: Counter[str] = Counter()
        self.faults: list[str] = []

    def follow(self, event: Event, of: str | None = None) -> None:
        """Take note of what happened to a job.

        Args:
            event: Of the history.
            of: Whose job it is, if it is not one that every pilot could run.
        """
        job_id = int(event.subject_id)
        owner = self._owners.get(job_id)
        status = event.data.get("Status")
        if owner is not None and status == JobStatus.WAITING:
            self._waiting[owner].add(job_id)
            return
        if status == JobStatus.MATCHED and "Site" in event.data:
            self._served(owner or of)
        if owner is not None and status:
            self._waiting[owner].discard(job_id)

    def _served(self, by: str | None) -> None:
        waiting = [name for name, some in self._waiting.items() if some]
        if len(waiting) == len(self._shares) and by is not None:
            self.together[by] += 1
        for name in self._shares:
            if name == by or name not in waiting:
                self._since[name] = 0
                continue
            self._since[name] += 1
            self.longest[name] = max(self.longest[name], self._since[name])
            if self._since[name] > self._most[name]:
                self._since[name] = 0  # said once
                self.faults.append(
                    f"{name} waited while others got more than {self._most[name]:.0f} jobs, as is promised"
                )

    def unfair(self, tolerance: float) -> list[str]:
        """Return who was not served by their share while all waited, within so many jobs."""
        number, parts = self.together.total(), sum(self._shares.values())
        due = {name: number * share / parts for name, share in self._shares.items()}
        return [
            f"of {number} jobs for which all waited, {name} got {self.together[name]}, not {due[name]:.1f}"
            for name in self._shares
            if abs(self.together[name] - due[name]) > tolerance
        ]
