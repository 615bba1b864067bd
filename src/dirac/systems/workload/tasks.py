"""Background work of the workload system."""

from __future__ import annotations

from dirac.core.tasks import Execution, Task
from dirac.systems.workload.logic.sandboxes import Sandboxes

_HOUR = 3600.0


async def _clean_sandboxes(execution: Execution) -> None:
    await execution.provide(Sandboxes).clean(execution.entry)


TASKS: tuple[Task, ...] = (
    Task(name="workload.clean_sandboxes", run=_clean_sandboxes, every=6 * _HOUR, deadline=_HOUR),
)
