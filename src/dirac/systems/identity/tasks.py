"""Background work of the identity system."""

from __future__ import annotations

from dirac.core.tasks import Execution, Task
from dirac.systems.identity.logic.cleaning import Cleaning
from dirac.systems.identity.logic.keys import KeyRing
from dirac.systems.identity.logic.people import People


async def _rotate_keys(execution: Execution) -> None:
    keys: KeyRing = execution.provide(KeyRing)
    await keys.rotate(entry=execution.entry)


async def _clean(execution: Execution) -> None:
    cleaning: Cleaning = execution.provide(Cleaning)
    await cleaning.clean(entry=execution.entry)


async def _follow_providers(execution: Execution) -> None:
    people: People = execution.provide(People)
    await people.follow(entry=execution.entry)


TASKS: tuple[Task, ...] = (
    Task("identity.rotate_keys", _rotate_keys, every=3600.0),
    Task("identity.clean", _clean, every=3600.0),
    Task("identity.follow_providers", _follow_providers, every=900.0),
)
