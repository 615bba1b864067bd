"""What the identity system needs to know of pilots' records: that there is one, and which runs they hold."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, select

from dirac.core.unit import Event
from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.pilots import PilotState
from dirac.systems.workload.models import PilotStatus
from dirac.systems.workload.ports.pilots import PilotRow
from dirac.systems.workload.store.pilots import PilotStore
from dirac.systems.workload.store.tables import attempts, pilots

_TYPE = "DIRAC"


class PilotRecordStore:
    """Implements `dirac.systems.identity.ports.pilots.PilotRecords`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, *, stamp: str, vo: str, site: str, ce: str, actor: str) -> bool:
        """Put a pilot on record that was started elsewhere; False if there is one of that stamp."""
        row = PilotRow(
            pilot_stamp=stamp,
            vo=vo,
            status=PilotStatus.SUBMITTED.value,
            status_reason="",
            grid_type=_TYPE,
            grid_site=site,
            destination_site=ce,
            queue="",
            pilot_reference=stamp,
            submission_time=self._tx.now,
            last_update_time=self._tx.now,
        )
        if not await PilotStore(self._tx).add([row]):
            return False
        self._tx.record(
            Event(
                kind="workload.pilot.status",
                vo=vo,
                subject_kind="pilot",
                subject_id=stamp,
                time=self._tx.now,
                actor=actor,
                data={"Status": row.status, "GridSite": site, "DestinationSite": ce},
            )
        )
        return True

    async def holds(self, stamp: str, job_id: int, attempt: int) -> bool:
        """Tell whether a pilot has this run of a job at this moment."""
        query = select(attempts.c.job_id).where(
            attempts.c.job_id == job_id,
            attempts.c.attempt == attempt,
            attempts.c.pilot_stamp == stamp,
            attempts.c.lease_until.is_not(None),
        )
        return (await self._tx.execute(query)).first() is not None

    async def states(self, stamps: Sequence[str]) -> dict[str, PilotState]:
        """Return how pilots are and which runs they hold, by stamp; those without a record are left out."""
        held = and_(attempts.c.pilot_stamp == pilots.c.pilot_stamp, attempts.c.lease_until.is_not(None))
        query = (
            select(pilots.c.pilot_stamp, pilots.c.status, attempts.c.job_id, attempts.c.attempt)
            .select_from(pilots.outerjoin(attempts, held))
            .where(pilots.c.pilot_stamp.in_(stamps))
            .order_by(attempts.c.job_id)
        )
        found: dict[str, PilotState] = {}
        for row in await self._tx.execute(query):
            state = found.setdefault(row.pilot_stamp, PilotState(row.status, []))
            if row.job_id is not None:
                state.runs.append((row.job_id, row.attempt))
        return found
