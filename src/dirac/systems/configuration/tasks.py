"""Background work of the configuration."""

from __future__ import annotations

from dirac.core.tasks import Execution, Task
from dirac.systems.configuration.git import FOLLOW
from dirac.systems.configuration.logic import Configuration


async def _follow(execution: Execution) -> None:
    configuration: Configuration = execution.provide(Configuration)
    await configuration.git.follow(entry=execution.entry, rewritten=bool(execution.args.get("rewritten")))


# The first time a mirror has all versions to send.
GIT_TASKS: tuple[Task, ...] = (Task(FOLLOW, _follow, every=60.0, deadline=1800.0),)
"""Of installations that have a repository."""
