"""What runs where, as one process knows it, and the limits for it.

What runs is counted in the database with each look at what waits, but for no more than 5 % of the time; what
this process gives out in between is added. So a limit may be exceeded by what the other processes of the
installation give out there in the time between two counts: a second, or twenty times as long as counting
takes. The same holds for delays between two matches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from datetime import datetime, timedelta

from dirac.core.time import Clock
from dirac.systems.configuration.models import JobLimit, Tree
from dirac.systems.workload.logic.fitting import JobClass, processors_of
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import WhyWaiting
from dirac.systems.workload.ports.running import RunUnit

# Without limits, the count is for the correction of shares only.
_SELDOM = 60.0
_PACE = 20


class Running:
    """Runs that are not over, by site and class.

    Args:
        classes: The classes in memory.
        clock: The time.
    """

    def __init__(self, classes: Classes, clock: Clock) -> None:
        self._classes = classes
        self._clock = clock
        self._at: dict[str, dict[int, tuple[int, datetime]]] = {}
        self._own: list[tuple[float, str, int]] = []
        self._newest: dict[tuple[str, int], datetime] = {}  # of what this process gave out
        self._counted: float | None = None
        self._took = 0.0
        self._tree: Tree | None = None
        self._limited = False
        self._members: dict[JobLimit, tuple[int, set[int]]] = {}

    def follow(self, tree: Tree) -> None:
        """Take note of the configuration in force."""
        if tree is not self._tree:
            self._tree = tree
            shadow = tree.workload.shadow
            self._limited = any(site.limits for site in tree.sites.values()) or bool(shadow and shadow.limits)
            self._members.clear()

    async def count(self, unit: RunUnit) -> bool:
        """Count what runs, unless that was done lately; tell whether it was."""
        now = self._clock.monotonic()
        pause = _PACE * self._took if self._limited else max(_SELDOM, _PACE * self._took)
        if self._counted is not None and now - self._counted < pause:
            return False
        rows = await unit.runs.running()
        self._at = {}
        for row in rows:
            self._at.setdefault(row.site, {})[row.class_id] = (row.number, row.newest)
        self._own = [one for one in self._own if one[0] >= now]
        self._counted, self._took = now, self._clock.monotonic() - now
        return True

    def usage(self, vo: str) -> dict[tuple[str, str], float]:
        """Return the processors in use in a VO, by group and subject, as they were counted."""
        found: dict[tuple[str, str], float] = {}
        for at_site in self._at.values():
            for class_id, (number, _) in at_site.items():
                has = self._classes.get(class_id)
                if has is not None and has.vo == vo:
                    owner = has.owner_group, has.owner_sub
                    found[owner] = found.get(owner, 0.0) + number * processors_of(has.needs)
        return found

    def note(self, site: str, class_id: int) -> None:
        """Count a job that is being given out."""
        if self._limited:
            self._own.append((self._clock.monotonic(), site, class_id))

    def given(self, site: str, class_id: int) -> None:
        """Note that it was given out."""
        if self._limited:
            self._newest[site, class_id] = self._clock.now()

    def forget(self, site: str, class_id: int) -> None:
        """Count one less: it was not given out."""
        for index in range(len(self._own) - 1, -1, -1):
            if self._own[index][1:] == (site, class_id):
                del self._own[index]
                return

    def closed(self, site: str) -> dict[int, WhyWaiting]:
        """Return the classes of which a site takes no job at this moment, and why."""
        return self.closed_by(site, self._limits(site))

    def closed_by(self, site: str, limits: Mapping[str, JobLimit]) -> dict[int, WhyWaiting]:
        """Return the same, as if these were the limits of the site."""
        found: dict[int, WhyWaiting] = {}
        if not limits:
            return found
        here = self.here(site)
        for limit in limits.values():
            if (barrier := self._barrier(site, limit, here)) is not None:
                found |= dict.fromkeys(self.members(limit), barrier)
        return found

    def barriers(self, site: str) -> dict[str, WhyWaiting | None]:
        """Return by its name for each limit of a site why it takes no job now, None if it does."""
        here = self.here(site)
        return {name: self._barrier(site, limit, here) for name, limit in self._limits(site).items()}

    def _limits(self, site: str) -> Mapping[str, JobLimit]:
        place = self._tree.sites.get(site) if self._tree is not None else None
        return place.limits if place is not None else {}

    def _barrier(self, site: str, limit: JobLimit, here: Counter[int]) -> WhyWaiting | None:
        members = self.members(limit)
        number = sum(count for class_id, count in here.items() if class_id in members)
        if limit.max_running is not None and number >= limit.max_running:
            return WhyWaiting.RUNNING_LIMIT
        if limit.delay and self._is_early(site, members, limit.delay):
            return WhyWaiting.MATCHING_DELAY
        return None

    def here(self, site: str) -> Counter[int]:
        """Return the runs at a site by class, as they were counted, with what was given out since."""
        here = Counter({class_id: number for class_id, (number, _) in self._at.get(site, {}).items()})
        here.update(class_id for _, where, class_id in self._own if where == site)
        return here

    def _is_early(self, site: str, members: Container[int], delay: int) -> bool:
        """Tell whether the newest match of such a job is not so long ago, or one is being made."""
        if any(where == site and class_id in members for _, where, class_id in self._own):
            return True
        counted = [moment for key, (_, moment) in self._at.get(site, {}).items() if key in members]
        own = [moment for (where, key), moment in self._newest.items() if where == site and key in members]
        newest = max(counted + own, default=None)
        return newest is not None and self._clock.now() < newest + timedelta(seconds=delay)

    def members(self, limit: JobLimit) -> set[int]:
        """Return the classes that a limit is for."""
        known, members = self._members.get(limit, (0, set()))
        everything = self._classes.everything
        for job_class in everything[known:]:
            if self._tree is not None and concerns(limit, job_class, self._tree):
                members.add(job_class.class_id)
        self._members[limit] = len(everything), members
        return members


def concerns(limit: JobLimit, job_class: JobClass, tree: Tree) -> bool:
    """Tell whether a limit is for a class."""
    if limit.vo not in (None, job_class.vo) or limit.group not in (None, job_class.owner_group):
        return False
    if limit.job_type not in (None, job_class.needs.job_type):
        return False
    return limit.user is None or job_class.owner_sub == _subject(tree, job_class.vo, limit.user)


def _subject(tree: Tree, vo: str, user: str) -> str:
    known = tree.virtual_organisations.get(vo)
    users = known.users if known is not None else {}
    return (users[user].sub if user in users else None) or user
