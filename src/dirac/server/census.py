"""Counting an installation's jobs, pilots and background work, for whoever watches over it.

One statement each, grouped by the database, all VOs together: the operator's view, never a user's.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func, select

from dirac.core.errors import DiracError, NotFoundError
from dirac.db.engine import Database
from dirac.db.outbox import ListedTask
from dirac.db.tables import tasks
from dirac.db.transaction import Transaction
from dirac.server.metrics import Metrics, Snapshot
from dirac.systems.identity.store.tables import keys, proxies
from dirac.systems.workload.store.tables import jobs, pilots

log = logging.getLogger(__name__)

SOON = timedelta(days=7)
_PERIOD = 15.0
_SHARE = 20  # counting takes at most this part of the time, however many jobs there are
_WAITING = "Pending"
_DONE = "Done"


class Census:
    """Counts, again and again.

    Args:
        database: Of the installation.
        metrics: Told what was counted.
        period: Seconds from one count to the next, at least.
        soon: So long before its end a proxy ends soon.
    """

    def __init__(
        self, database: Database, metrics: Metrics, *, period: float = _PERIOD, soon: timedelta = SOON
    ) -> None:
        self._database = database
        self._soon = soon
        self._metrics = metrics
        self._period = period

    async def run(self) -> None:
        """Count until cancelled, whatever happens to the database."""
        clock = self._database.clock
        while True:
            began = clock.monotonic()
            try:
                self._metrics.count(await count(self._database, self._soon))
            except DiracError as error:
                log.warning("jobs and pilots were not counted: %s", error)
            except Exception:
                log.exception("jobs and pilots were not counted")
            await clock.sleep(max(self._period, (clock.monotonic() - began) * _SHARE))


async def count(database: Database, soon: timedelta = SOON) -> Snapshot:
    """Return how many jobs, pilots and pieces of background work there are, by their states.

    Raises:
        UnavailableError: The database does not answer.
    """
    async with database.read() as tx:
        states: dict[str, tuple[int, datetime]] = {}
        counted = select(tasks.c.state, func.count().label("number"), func.min(tasks.c.due).label("first"))
        for row in await tx.execute(counted.where(tasks.c.state != _DONE).group_by(tasks.c.state)):
            states[row.state] = row.number, row.first
        oldest = (tx.now - states[_WAITING][1]).total_seconds() if _WAITING in states else 0.0
        since = await signing_since(tx)
        return {
            "dirac_proxies": await proxies_by_end(tx, soon),
            "dirac_signing_key_start_timestamp_seconds": {} if since is None else {(): since.timestamp()},
            "dirac_jobs": await _grouped(tx, jobs.c.vo, jobs.c.status),
            "dirac_pilots": await _grouped(tx, pilots.c.vo, pilots.c.grid_site, pilots.c.status),
            "dirac_outbox_entries": {(state,): number for state, (number, _due) in states.items()},
            "dirac_outbox_oldest_pending_seconds": {(): max(oldest, 0.0)},
            "dirac_census_timestamp_seconds": {(): tx.now.timestamp()},
        }


async def signing_since(tx: Transaction) -> datetime | None:
    """Return since when the newest key signs tokens, None if there is none."""
    since: datetime | None = (await tx.execute(select(func.max(keys.c.signs_from)))).scalar_one()
    return since


async def proxies_by_end(tx: Transaction, soon: timedelta) -> dict[tuple[str, ...], float]:
    """Return how many proxies of users are kept that have not ended, by VO and `soon` or `later`."""
    ends = case((proxies.c.expires < tx.now + soon, "soon"), else_="later").label("ends")
    alive = select(proxies.c.vo, ends).where(proxies.c.expires > tx.now).subquery()
    rows = await tx.execute(
        select(alive.c.vo, alive.c.ends, func.count().label("number")).group_by(alive.c.vo, alive.c.ends)
    )
    return {(row.vo, row.ends): float(row.number) for row in rows}


async def find_task(database: Database, entry_id: str) -> ListedTask:
    """Return one piece of background work.

    Raises:
        NotFoundError: There is none of that name; what was done is forgotten after a week.
    """
    columns = [tasks.c[name] for name in ListedTask.__struct_fields__]
    async with database.read() as tx:
        row = (await tx.execute(select(*columns).where(tasks.c.id == entry_id))).first()
    if row is None:
        raise NotFoundError(f"there is no task {entry_id!r}", hint="See `dirac task list`")
    return ListedTask(**row._mapping)


async def _grouped(tx: Transaction, *columns: ColumnElement[Any]) -> dict[tuple[str, ...], float]:
    rows = await tx.execute(select(*columns, func.count()).group_by(*columns))
    found: list[tuple[Any, ...]] = [tuple(row) for row in rows]
    return {tuple(map(str, labels)): float(number) for *labels, number in found}
