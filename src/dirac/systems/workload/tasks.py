"""Background work of the workload system."""

from __future__ import annotations

from dirac.core.tasks import Execution, Task
from dirac.systems.workload.logic.counting import Counting
from dirac.systems.workload.logic.life_cycle import JobLifeCycle
from dirac.systems.workload.logic.optimisation import Optimisation
from dirac.systems.workload.logic.pilot_factory import PilotFactory
from dirac.systems.workload.logic.sandboxes import CLEAN_TASK, Sandboxes
from dirac.systems.workload.logic.upkeep import Upkeep
from dirac.systems.workload.logic.usage import UsageKeeping

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


async def _end_delays(execution: Execution) -> None:
    await execution.provide(Upkeep).end_delays()


async def _settle_kills(execution: Execution) -> None:
    await execution.provide(Upkeep).settle_kills()


async def _purge_jobs(execution: Execution) -> None:
    await execution.provide(Upkeep).purge(execution.entry)


async def _fold_counts(execution: Execution) -> None:
    await execution.provide(Counting).fold()


async def _fold_usage(execution: Execution) -> None:
    await execution.provide(UsageKeeping).fold()


async def _repair_counts(execution: Execution) -> None:
    await execution.provide(Counting).repair()


async def _advance_jobs(execution: Execution) -> None:
    await execution.provide(Optimisation).advance(execution.entry)


async def _follow_jobs(execution: Execution) -> None:
    await execution.provide(Optimisation).follow(execution.args["job_ids"], execution.entry)


async def _clean_sandboxes(execution: Execution) -> None:
    await execution.provide(Sandboxes).clean(execution.entry)


TASKS: tuple[Task, ...] = (
    # Asked for whenever jobs begin to wait or a pilot has ended.
    Task("workload.start_pilots", _start_pilots),
    # Whatever the line above has missed: a new site, a queue that takes pilots again.
    Task("workload.start_pilots_all", _start_all_pilots, every=30.0),
    # Asked for when jobs come that may not wait yet; and for those that are held, when their time has come.
    Task("workload.advance_jobs", _advance_jobs, every=5.0),
    # Asked for when a job has ended that others depend on, or that may run again by itself.
    Task("workload.follow_jobs", _follow_jobs),
    Task("workload.check_pilots", _check_pilots, every=5.0),
    Task("workload.expire_leases", _expire_leases, every=5.0, deadline=60.0),
    Task("workload.end_delays", _end_delays, every=5.0, deadline=60.0),
    Task("workload.settle_kills", _settle_kills, every=10.0, deadline=60.0),
    Task("workload.purge_jobs", _purge_jobs, every=_HOUR, deadline=_HOUR),
    Task("workload.fold_counts", _fold_counts, every=5.0, deadline=60.0),
    Task("workload.fold_usage", _fold_usage, every=30.0, deadline=60.0),
    Task("workload.repair_counts", _repair_counts, every=_DAY, deadline=_HOUR),
    Task("workload.clean_pilots", _clean_pilots, every=_DAY),
    Task(CLEAN_TASK, _clean_sandboxes, every=6 * _HOUR, deadline=_HOUR),
)
"""All of it, for the composition root."""
