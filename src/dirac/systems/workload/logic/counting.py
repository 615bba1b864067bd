"""Keeping the numbers of jobs small to read, and right (decision 0022)."""

from __future__ import annotations

import logging

from dirac.core.unit import Units
from dirac.systems.workload.ports.work import COUNT_KINDS, WorkUnit

_log = logging.getLogger(__name__)
_BATCH = 500  # of which a process that also answers requests notices nothing


class Counting:
    """Looks after the numbers by which jobs are counted.

    Args:
        units: Transactions of the workload system.
    """

    def __init__(self, units: Units[WorkUnit]) -> None:
        self._units = units

    async def fold(self) -> int:
        """Add up what has changed, which no summary shows; return how many changes there were."""
        folded, some = 0, _BATCH
        while some == _BATCH:  # what comes meanwhile is for the next time, or this would never end
            async with self._units.write() as unit:
                some = await unit.jobs.fold_counts(_BATCH)
            folded += some
        return folded

    async def repair(self) -> dict[str, int]:
        """Compare the numbers with all jobs and make them right; return how many were wrong, by kind."""
        wrong: dict[str, int] = {}
        for kind in COUNT_KINDS:
            async with self._units.write() as unit:
                wrong[kind] = await unit.jobs.repair_counts(kind)
        if any(wrong.values()):
            _log.warning("numbers of jobs were wrong and have been made right: %s", wrong)
        return wrong
