"""Background work of the workload system."""

from __future__ import annotations

from dirac.core.tasks import Execution, Task
from dirac.systems.workload.logic.life_cycle import JobLifeCycle
from dirac.systems.workload.logic.pilot_factory import PilotFactory
from dirac.systems.workload.logic.sandboxes import CLEAN_TASK, Sandboxes

_HOUR = 3600.0
_DAY = 24 * _HOUR


async def _start_pilots(execution: Execution) -> None:
    await execution.provide(PilotFactory).start(execution.args["vo"], entry=execution.entry)


async def _start_all_pilots(execution: Execution) -> None:
    await execution.provide(PilotFactory).start_all()


async def _check_pilots(execution: Execution) -> None:
    await execution.provide(PilotFactory).check()


async def _clean_pilots(execution: Execution) -> None:
    await execution.provide(PilotFactory).clean()


async def _expire_leases(execution: Execution) -> None:
    await execution.provide(JobLifeCycle).expire_leases(execution.entry)


async def _clean_sandboxes(execution: Execution) -> None:
    await execution.provide(Sandboxes).clean(execution.entry)


TASKS: tuple[Task, ...] = (
    # Asked for whenever jobs begin to wait or a pilot has ended.
    Task("workload.start_pilots", _start_pilots),
    # Whatever the line above has missed: a new site, a queue that takes pilots again.
    Task("workload.start_pilots_all", _start_all_pilots, every=30.0),
    Task("workload.check_pilots", _check_pilots, every=5.0),
    Task("workload.expire_leases", _expire_leases, every=5.0, deadline=60.0),
    Task("workload.clean_pilots", _clean_pilots, every=_DAY),
    Task(CLEAN_TASK, _clean_sandboxes, every=6 * _HOUR, deadline=_HOUR),
)
"""All of it, for the composition root."""
