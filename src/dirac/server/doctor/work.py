"""Background work: none given up, and none that does not come."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from dirac.db.tables import schedules, tasks
from dirac.server.doctor.model import Ailment, Check, Patient

_LATE = timedelta(minutes=5)


def checks(_patient: Patient) -> list[Check]:
    """Return the checks of background work."""
    return [Check("tasks.parked", _parked), Check("tasks.periodic", _periodic)]


async def _parked(patient: Patient) -> str:
    query = select(tasks.c.name, func.count()).where(tasks.c.state == "Parked").group_by(tasks.c.name)
    async with patient.read() as tx:
        found = [tuple(row) for row in await tx.execute(query.order_by(tasks.c.name))]
    if found:
        raise Ailment(
            "given up: " + ", ".join(f"{name} ({count})" for name, count in found),
            cause="They failed at every try; `dirac task list` says how",
            mend="dirac task list; mend what it says; dirac task retry ID",
        )
    return "none was given up"


async def _periodic(patient: Patient) -> str:
    async with patient.read() as tx:
        late = [
            row.task for row in await tx.execute(select(schedules).where(schedules.c.due < tx.now - _LATE))
        ]
        count = (await tx.execute(select(func.count()).select_from(schedules))).scalar_one()
    if late or not count:
        raise Ailment(
            f"overdue for more than {_LATE.seconds // 60} minutes: {', '.join(sorted(late))}"
            if late
            else "none was ever due",
            cause="No scheduler runs, and no server that does its work",
            mend="sv start dirac-scheduler (or: dirac-server up), and look into its log",
        )
    return f"{count} come in time"
