"""Pilots in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select, true, update

from dirac.core.search import Condition, Page, Paging, SearchParams, SummaryParams
from dirac.db.search import Searchable
from dirac.db.search_conditions import values_of
from dirac.db.search_values import integer
from dirac.db.transaction import Transaction
from dirac.systems.workload.models import PilotMetadata, PilotStatus
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.pilots import PilotRow, QueueLoad
from dirac.systems.workload.states import PILOT_LIFE
from dirac.systems.workload.store.tables import attempts, classes, pilots

_c = pilots.c
ALIVE = sorted(state.value for state in PILOT_LIFE.states if PILOT_LIFE.successors(state))
_SEVERAL = 5
_RUNNING = PilotStatus.RUNNING.value
_COLUMNS = {
    "Status": "status",
    "StatusReason": "status_reason",
    "BenchMark": "bench_mark",
    "DestinationSite": "destination_site",
    "Queue": "queue",
    "GridSite": "grid_site",
    "GridType": "grid_type",
    "AccountingSent": "accounting_sent",
    "CurrentJobID": "current_job_id",
}


def _of_job(condition: Condition) -> ColumnElement[bool]:
    job_ids = [integer(value, str(condition.parameter), 64) for value in values_of(condition)]
    runs = select(attempts.c.pilot_stamp).where(attempts.c.job_id.in_(job_ids))
    return _c.pilot_stamp.in_(runs)


SEARCHABLE = Searchable(
    {
        "PilotID": _c.pilot_id,
        "PilotStamp": _c.pilot_stamp,
        "VO": _c.vo,
        "Status": _c.status,
        "StatusReason": _c.status_reason,
        "GridType": _c.grid_type,
        "GridSite": _c.grid_site,
        "DestinationSite": _c.destination_site,
        "Queue": _c.queue,
        "PilotJobReference": _c.pilot_reference,
        "BenchMark": _c.bench_mark,
        "CurrentJobID": _c.current_job_id,
        "AccountingSent": _c.accounting_sent,
        "SubmissionTime": _c.submission_time,
        "LastUpdateTime": _c.last_update_time,
    },
    key="PilotID",
    pseudo={"JobID": _of_job},
)
"""Parameters of pilots, by the names that DIRAC gives them."""


def _visible(visible: Visibility) -> ColumnElement[bool]:
    if visible.vo is None:
        return true()
    places = [
        and_(_c.grid_site == place.site, *([_c.destination_site == place.ce] if place.ce else []))
        for place in visible.places
    ]
    return or_(_c.vo == visible.vo, *places)


async def free_pilots(tx: Transaction, stamps: Sequence[str], job_ids: Sequence[int]) -> None:
    """Note that pilots do not have these jobs any more."""
    await tx.execute(
        update(pilots)
        .where(_c.pilot_stamp.in_(stamps), _c.current_job_id.in_(job_ids))
        .values(current_job_id=None)
    )


class PilotStore:
    """Implements `PilotRepository`.

    Args:
        tx: The transaction it works in.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, new: Sequence[PilotRow]) -> int:
        """Insert pilots; return how many of these stamps were new."""
        rows = [msgspec.structs.asdict(pilot) | {"accounting_sent": False} for pilot in new]
        return await self._tx.insert_missing(pilots, rows)

    async def find(self, visible: Visibility, stamps: Sequence[str], *, lock: bool) -> dict[str, PilotRow]:
        """Return those pilots that are visible, by stamp."""
        statement = (
            select(*(_c[name] for name in PilotRow.__struct_fields__))
            .where(_visible(visible), _c.pilot_stamp.in_(stamps))
            .order_by(_c.pilot_stamp)
        )
        rows = await self._tx.execute(statement.with_for_update() if lock else statement)
        return {row.pilot_stamp: PilotRow(**row._mapping) for row in rows}

    async def silent(self, stamps: Sequence[str]) -> dict[str, PilotRow]:
        """Return and lock those of these pilots that run, and have no run whose lease has time left."""
        found = await self.find(Visibility(), stamps, lock=True)
        heard = select(attempts.c.pilot_stamp).where(
            attempts.c.pilot_stamp.in_(found), attempts.c.lease_until > self._tx.now
        )
        others = set((await self._tx.execute(heard)).scalars())
        return {stamp: row for stamp, row in found.items() if row.status == _RUNNING and stamp not in others}

    async def named(self, visible: Visibility, name: str) -> list[PilotRow]:
        """Return those visible pilots, a few at most, that have this stamp or reference."""
        columns = [_c[name] for name in PilotRow.__struct_fields__]
        for known in (_c.pilot_stamp, _c.pilot_reference):  # each an index of its own
            statement = select(*columns).where(_visible(visible), known == name)
            rows = (await self._tx.execute(statement.order_by(_c.pilot_id.desc()).limit(_SEVERAL))).all()
            if rows:
                return [PilotRow(**row._mapping) for row in rows]
        return []

    async def alive(self) -> list[PilotRow]:
        """Return all pilots that have not ended."""
        rows = await self._tx.execute(
            select(*(_c[name] for name in PilotRow.__struct_fields__))
            .where(_c.status.in_(ALIVE))
            .order_by(_c.pilot_id)
        )
        return [PilotRow(**row._mapping) for row in rows]

    async def of_element(self, site: str, ce: str) -> list[PilotRow]:
        """Return the pilots of a computing element that have not ended."""
        rows = await self._tx.execute(
            select(*(_c[name] for name in PilotRow.__struct_fields__))
            .where(_c.status.in_(ALIVE), _c.grid_site == site, _c.destination_site == ce)
            .order_by(_c.pilot_id)
        )
        return [PilotRow(**row._mapping) for row in rows]

    async def loads(self) -> dict[tuple[str, str, str, str], QueueLoad]:
        """Return the pilots that work or may come to work, counted by VO, site, computing element and queue.

        A pilot that its computing element does not know, and that holds no run, is not one to wait for.
        """
        run = and_(attempts.c.pilot_stamp == _c.pilot_stamp, attempts.c.lease_until.is_not(None))
        busy = select(attempts.c.job_id).where(run).exists()
        place = (_c.vo, _c.grid_site, _c.destination_site, _c.queue)
        each = select(*place, _c.status, busy.label("busy")).where(_c.status.in_(ALIVE)).subquery()
        groups = [each.c[name] for name in ("vo", "grid_site", "destination_site", "queue", "status", "busy")]
        loads: dict[tuple[str, str, str, str], QueueLoad] = {}
        for row in await self._tx.execute(select(*groups, func.count().label("number")).group_by(*groups)):
            if row.status == PilotStatus.UNKNOWN.value and not row.busy:
                continue
            where = (row.vo, row.grid_site, row.destination_site, row.queue)
            kind = "busy" if row.busy else "idle" if row.status == _RUNNING else "waiting"
            load = loads.get(where, QueueLoad())
            loads[where] = msgspec.structs.replace(load, **{kind: getattr(load, kind) + row.number})
        return loads

    async def aborted(self, since: datetime) -> dict[tuple[str, str, str], int]:
        """Count the pilots that were given up before they ran, by site, computing element and queue."""
        place = (_c.grid_site, _c.destination_site, _c.queue)
        rows = await self._tx.execute(
            select(*place, func.count().label("number"))
            .where(_c.status == PilotStatus.ABORTED.value, _c.last_update_time >= since)
            .group_by(*place)
        )
        return {(row.grid_site, row.destination_site, row.queue): row.number for row in rows}

    async def ended(self, since: datetime, until: datetime) -> list[PilotRow]:
        """Return the pilots that changed last between these moments, and have ended."""
        rows = await self._tx.execute(
            select(*(_c[name] for name in PilotRow.__struct_fields__))
            .where(_c.status.not_in(ALIVE), _c.last_update_time >= since, _c.last_update_time < until)
            .order_by(_c.pilot_id)
        )
        return [PilotRow(**row._mapping) for row in rows]

    async def plan_lock(self) -> None:
        """Wait until nobody else plans pilots; until the end of the transaction nobody else does.

        Whoever plans has seen waiting jobs, so there is a class: the oldest one stands for all.
        """
        await self._tx.execute(
            select(classes.c.class_id).order_by(classes.c.class_id).limit(1).with_for_update()
        )

    async def update(self, changes: Mapping[str, PilotMetadata]) -> None:
        """Change pilots, by stamp."""
        by_names: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for stamp, metadata in changes.items():
            given = {
                column: value
                for field, column in _COLUMNS.items()
                if (value := getattr(metadata, field)) is not None
            }
            if isinstance(status := given.get("status"), PilotStatus):
                given["status"] = status.value
            by_names.setdefault(tuple(given), []).append(given | {"b_stamp": stamp})
        for names, rows in by_names.items():
            values: dict[str, Any] = {name: bindparam(f"b_{name}") for name in names}
            values["last_update_time"] = self._tx.now
            bound = [
                {key if key == "b_stamp" else f"b_{key}": value for key, value in row.items()} for row in rows
            ]
            statement = update(pilots).where(_c.pilot_stamp == bindparam("b_stamp")).values(values)
            await self._tx.execute(statement, bound)

    async def submitted(self, references: Mapping[str, str]) -> None:
        """Note the names that computing elements gave to pilots, by stamp."""
        if references:
            rows = [{"b_stamp": stamp, "b_name": name} for stamp, name in references.items()]
            statement = (
                update(pilots)
                .where(_c.pilot_stamp == bindparam("b_stamp"))
                .values(pilot_reference=bindparam("b_name"), last_update_time=self._tx.now)
            )
            await self._tx.execute(statement, rows)

    async def search(self, visible: Visibility, params: SearchParams, paging: Paging) -> Page:
        """Return one page of the visible pilots that fit."""
        return await SEARCHABLE.search(self._tx, params, paging, visible=_visible(visible))

    async def summary(self, visible: Visibility, params: SummaryParams) -> list[dict[str, Any]]:
        """Count the visible pilots that fit, by the values of some parameters."""
        return await SEARCHABLE.summary(self._tx, params, visible=_visible(visible))
