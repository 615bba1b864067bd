"""Waiting for jobs to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dirac.client.aio.pages import Listing
from dirac.core.errors import NotFoundError, UnavailableError
from dirac.core.search import MAX_VALUES, Condition, SearchParams
from dirac.core.time import Clock
from dirac.systems.workload.models import JobStatus, Row

# Those a job does not leave unless somebody reschedules it.
ENDED = frozenset({JobStatus.DONE, JobStatus.FAILED, JobStatus.KILLED, JobStatus.DELETED})
_PARAMETERS = ["JobID", "Status", "MinorStatus", "ApplicationStatus"]
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
_GROWTH = 1.5
_SHOWN = 5


class Waiting:
    """Asks for the statuses of jobs, once or until they have ended."""

    def __init__(self, listing: Listing, clock: Clock) -> None:
        self._listing = listing
        self._clock = clock

    async def status(self, job_ids: Sequence[int]) -> dict[int, Row]:
        """Return the statuses of those jobs that the caller can see."""
        wanted = sorted(set(job_ids))
        found: dict[int, Row] = {}
        for start in range(0, len(wanted), MAX_VALUES):
            part = wanted[start : start + MAX_VALUES]
            condition = Condition("JobID", "in", values=[*part])
            search = SearchParams(parameters=_PARAMETERS, search=[condition])
            async for row in self._listing.iterate(search, MAX_VALUES):
                found[row["JobID"]] = row
        return found

    async def wait(
        self,
        job_ids: Sequence[int],
        seconds: float | None,
        progress: Callable[[int, int], None] | None,
        on_change: Callable[[Mapping[int, Row]], None] | None,
    ) -> dict[int, Row]:
        """Return the statuses of all jobs when all have ended; see `Jobs.wait`."""
        end = None if seconds is None else self._clock.monotonic() + seconds
        rows: dict[int, Row] = {}
        ended, pause = -1, _FIRST_PAUSE
        while True:
            # Ended jobs are not asked for again: of many jobs most have ended most of the time.
            news = await self.status([i for i in job_ids if i not in rows or not _has_ended(rows[i])])
            changed = any(rows.get(job_id) != row for job_id, row in news.items())
            missing = [i for i in job_ids if i not in news and (i not in rows or not _has_ended(rows[i]))]
            if missing:
                raise NotFoundError(f"there is no job {_some(missing)}, or none that you may see")
            rows |= news
            if changed and on_change is not None:
                on_change(rows)
            count = sum(map(_has_ended, rows.values()))
            if count != ended and progress is not None:
                progress(count, len(rows))
            ended = count
            if ended == len(rows):
                return rows
            pause = _FIRST_PAUSE if changed else min(pause * _GROWTH, _LONGEST_PAUSE)
            if end is not None:
                left = end - self._clock.monotonic()
                if left <= 0:
                    open_ones = [i for i, row in rows.items() if not _has_ended(row)]
                    raise UnavailableError(
                        f"{len(open_ones)} of {len(rows)} jobs have not ended after {seconds:g} s: "
                        + _some(open_ones)
                    )
                pause = min(pause, left)
            await self._clock.sleep(pause)


def _has_ended(row: Row) -> bool:
    return row["Status"] in ENDED


def _some(job_ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, job_ids[:_SHOWN]))
    return shown if len(job_ids) <= _SHOWN else f"{shown} and {len(job_ids) - _SHOWN} more"
