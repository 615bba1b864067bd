"""Reading the history of a thing, and the end of it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from dirac.core.unit import Event
from dirac.db.tables import events
from dirac.db.transaction import Transaction


async def history(tx: Transaction, subject_kind: str, subject_ids: Sequence[str]) -> list[Event]:
    """Return all events of these subjects, in the order in which they were recorded."""
    columns = [events.c[name] for name in Event.__struct_fields__]
    rows = await tx.execute(
        select(*columns)
        .where(events.c.subject_kind == subject_kind, events.c.subject_id.in_(subject_ids))
        .order_by(events.c.id)
    )
    return [Event(**row._mapping) for row in rows]


async def forget(tx: Transaction, subject_kind: str, subject_ids: Sequence[str]) -> None:
    """Remove all events of these subjects."""
    await tx.execute(
        delete(events).where(events.c.subject_kind == subject_kind, events.c.subject_id.in_(subject_ids))
    )
