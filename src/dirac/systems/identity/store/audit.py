"""The audit log: rows are added and looked at, nothing else."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import func, insert, select, true

from dirac.core.search import Page, Paging, SearchParams
from dirac.db.search import Searchable
from dirac.db.transaction import Transaction
from dirac.systems.identity.models import AuditRecord, Identity
from dirac.systems.identity.store.tables import audit

_c = audit.c

SEARCHABLE = Searchable(
    {
        "AuditID": _c.id,
        "Time": _c.time,
        "VO": _c.vo,
        "Actor": _c.actor,
        "UserName": _c.username,
        "Kind": _c.actor_kind,
        "Group": _c.actor_group,
        "TokenID": _c.token_id,
        "Properties": _c.properties,
        "Verb": _c.verb,
        "Method": _c.method,
        "Path": _c.path,
        "Objects": _c.objects,
        "ObjectCount": _c.object_count,
        "Outcome": _c.outcome,
        "Status": _c.status,
        "Detail": _c.detail,
        "Needs": _c.needs,
        "RequestID": _c.request_id,
        "Source": _c.source,
    },
    key="AuditID",
)
"""Parameters of the audit log."""


class AuditStore:
    """Implements `dirac.systems.identity.ports.unit.AuditRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, record: AuditRecord) -> None:
        """Add a row."""
        await self._tx.execute(insert(audit).values(msgspec.structs.asdict(record)))

    async def faults(self, identity: Identity, since: datetime) -> int:
        """Count the rows about what was not carried out for a caller; pilots and jobs of a VO are one."""
        one = identity.kind not in ("pilot", "job")
        caller = _c.actor == identity.subject if one else _c.vo == identity.vo
        statement = select(func.count()).where(
            caller, _c.actor_kind == identity.kind, _c.time > since, _c.outcome != "Done"
        )
        return int((await self._tx.execute(statement)).scalar_one())

    async def refusal(self, request: str) -> AuditRecord | None:
        """Return the row about a refused request."""
        columns = [_c[name] for name in AuditRecord.__struct_fields__]
        statement = select(*columns).where(_c.request_id == request, _c.outcome == "Refused").limit(1)
        row = (await self._tx.execute(statement)).first()
        return None if row is None else AuditRecord(**row._mapping)

    async def search(self, params: SearchParams, paging: Paging, *, vo: str | None) -> Page:
        """Return a page of the rows of a VO, or of all."""
        visible = true() if vo is None else _c.vo == vo
        return await SEARCHABLE.search(self._tx, params, paging, visible=visible)
