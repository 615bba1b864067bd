"""Some users whose jobs wait all at once, and one large pilot that runs a part of them: do shares hold?"""

from __future__ import annotations

from typing import Any

from dirac.core.errors import ConflictError
from dirac.core.unit import Event
from dirac.systems.workload.models import MatchRequest, Resource
from tests.contract.systems.workload.support import person, pilot
from tests.contract.systems.workload.support_running import SITE

from .fairness import Fairness
from .network import NoAnswerError
from .people import Stage

VO = "chem"
GROUPS = {"production": 3000.0, "users": 1000.0}
USERS = {"uma": 2000.0, "ulf": 1000.0}
# In the order in which they come: who were served by age would serve production only.
JOBS = (("pia", "production", 25), ("ulf", "users", 6), ("uma", "users", 6))
_REQUESTS, _AT_ONCE = 3, 8
_SLACK = 2  # jobs: shares are whole jobs only at times, and each process begins with nobody served
CONFIGURATION: dict[str, Any] = {
    "default_group": "users",
    "groups": {name: {"job_share": int(share)} for name, share in GROUPS.items()},
    "users": {name: {"groups": ["users"], "job_share": int(share)} for name, share in USERS.items()},
}


class Contest:
    """A part of a story: more waits than is run, and those who wait want it at the same time.

    Args:
        stage: The server, the network and the time.

    Attributes:
        owners: Who has which jobs, as (group, user).
        over: Whether the pilot has got all that it wanted.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._who = pilot("large", VO)
        self._crashes = 0
        self.owners: dict[int, tuple[str, str]] = {}
        self.over = False

    async def begin(self) -> None:
        """Let the jobs come, and the pilot."""
        for user, group, number in JOBS:
            text = f'Executable = "x"; Parameters = {number}; ParameterStart = 0; ParameterStep = 1;'
            made = await self._stage.hall.submission.submit(person(user, VO, group=group), [text])
            self.owners |= {job.JobID: (group, user) for job in made}
        self._crashes = self._stage.network.crashes
        await self._ask(1)

    async def _ask(self, number: int) -> None:
        has = Resource(site=SITE, processors=_AT_ONCE)
        request = MatchRequest(resource=has, request_id=f"large-{number}", jobs=_AT_ONCE)
        stage, then = self._stage, number + 1
        try:
            await stage.network.call(
                f"large asks {number}", lambda: stage.hall.matching.match(self._who, request)
            )
        except NoAnswerError:
            then = number
        except ConflictError:  # what it got is lost already
            pass
        if then > _REQUESTS:
            self._crashes = stage.network.crashes - self._crashes
            self.over = True
        else:
            stage.timeline.after(1.0, lambda: self._ask(then))

    async def end(self) -> None:
        """Kill all jobs."""
        for user, group, _ in JOBS:
            ids = [job_id for job_id, owner in self.owners.items() if owner == (group, user)]
            await self._stage.hall.life.kill(person(user, VO, group=group), ids)

    def faults(self, events: list[Event]) -> list[str]:
        """Return who has got too much or too little; a process that begins anew knows no history.

        Args:
            events: Of all jobs, in order.
        """
        groups = Fairness(GROUPS, {number: owner[0] for number, owner in self.owners.items()}, self._crashes)
        of_users = {number: user for number, (group, user) in self.owners.items() if group == "users"}
        users = Fairness(USERS, of_users, self._crashes)
        for event in events:
            if int(event.subject_id) in self.owners:
                groups.follow(event)
            if int(event.subject_id) in of_users:
                users.follow(event)
        slack = _SLACK * (1 + self._crashes)
        few = [] if groups.together.total() >= _AT_ONCE else [f"for so few all waited: {groups.together}"]
        return few + groups.faults + groups.unfair(slack) + users.faults + users.unfair(slack)
