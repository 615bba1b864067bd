"""The audit log: what was done with a right that most people do not have, and what was refused.

A row about something that was done is written in the transaction that does it. Rows are never changed and
never removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from dirac.core.audit import Deed, present
from dirac.core.errors import NotFoundError
from dirac.core.logging import request_id
from dirac.core.search import Page, Paging, SearchParams
from dirac.core.unit import Event, Units
from dirac.systems.identity import policy
from dirac.systems.identity.logic.rights import allows, missing, used
from dirac.systems.identity.models import AuditRecord, Identity, Property, Refusal
from dirac.systems.identity.ports.unit import AuditUnit

log = logging.getLogger(__name__)

MOST_FAULTS = 100
"""Rows about requests that were not carried out, for each caller in `SPAN`; more are in the process' log."""
SPAN = timedelta(hours=1)
_READING = ("GET", "HEAD", "OPTIONS")
_COMMON = frozenset({str(Property.NORMAL_USER)})
_REFUSED = 403
_LONGEST = 1000
_LONGEST_PATH = 255
_LONGEST_LIST = 255


class Audit:
    """Writes the audit log, and looks things up in it.

    Args:
        units: Where it is kept.
    """

    def __init__(self, units: Units[AuditUnit]) -> None:
        self._units = units

    async def closing(self, unit: AuditUnit, events: Sequence[Event]) -> None:
        """Add what is being done to a transaction that is about to be committed, if it took a privilege.

        Args:
            unit: The transaction.
            events: What it has recorded: it tells what was acted on.
        """
        deed = present.get()
        if deed is None or deed.over or deed.written or not privileges(deed):
            return
        objects = list(dict.fromkeys(f"{event.subject_kind}:{event.subject_id}" for event in events))
        vos = {event.vo for event in events}
        await unit.audit.add(
            _record(
                deed,
                unit.now,
                vo=vos.pop() if len(vos) == 1 else "" if vos else deed.identity.vo,
                objects=_joined(objects, _LONGEST),
                object_count=len(objects),
                outcome="Done",
            )
        )
        deed.appended = True

    @staticmethod
    def committed() -> None:
        """Note that the transaction that a row was added to is committed."""
        deed = present.get()
        if deed is not None and deed.appended:
            deed.written = True

    async def failed(self, deed: Deed, status: int, request: str) -> None:
        """Note that a request was refused, or that one that takes a privilege was not carried out."""
        refused = status == _REFUSED
        if deed.written or not (refused or privileges(deed)):
            return
        deed.over = True  # the transaction here is none of the caller's
        identity: Identity = deed.identity
        async with self._units.write() as unit:
            if await unit.audit.faults(identity, unit.now - SPAN) >= MOST_FAULTS:
                log.warning("a refusal is not in the audit log: too many", extra={"actor": identity.subject})
                return
            said = str(deed.error) if deed.error is not None else ""
            needs = missing(deed.policy, identity) if refused and not allows(deed.policy, identity) else []
            await unit.audit.add(
                _record(
                    deed,
                    unit.now,
                    vo=identity.vo,
                    outcome="Refused" if refused else "Failed",
                    status=status,
                    detail=said[:_LONGEST],
                    needs=_joined(needs, _LONGEST),
                    request_id=request,
                )
            )

    async def search(self, identity: Identity, params: SearchParams, paging: Paging) -> Page:
        """Return a page of the log: of one's VO, or of everything for the installation's administrators."""
        async with self._units.read() as unit:
            return await unit.audit.search(params, paging, vo=policy.audited_vo(identity))

    async def refusal(self, identity: Identity, request: str) -> Refusal:
        """Say why a request was refused, and what would have opened the door.

        Raises:
            NotFoundError: No such request was refused, or none that the caller may know of.
        """
        async with self._units.read() as unit:
            found = await unit.audit.refusal(request)
        if found is None or not policy.explains(identity, found):
            raise NotFoundError(
                f"no refusal of a request {request[:64]!r} is known",
                hint="The answer of a refused request has its identifier in the header X-Request-ID",
            )
        return Refusal(
            request_id=found.request_id,
            time=found.time,
            actor=found.actor,
            group=found.actor_group,
            verb=found.verb,
            request=f"{found.method} {found.path}",
            reason=found.detail,
            needs=[part for part in found.needs.split(", ") if part],
        )


def privileges(deed: Deed) -> list[str]:
    """Return the rights that a deed takes and that most people do not have; empty for one that only looks."""
    identity: Identity = deed.identity
    if deed.method in _READING or identity.kind not in ("user", "service"):
        return []
    if identity.properties <= _COMMON and not identity.manages:
        return []  # as most requests that write
    widened = identity.properties.intersection(map(str, deed.widened))
    return sorted(widened.union(used(deed.policy, identity)) - _COMMON)


def _record(
    deed: Deed,
    now: datetime,
    *,
    vo: str,
    outcome: str,
    objects: str = "",
    object_count: int = 0,
    status: int = 0,
    detail: str = "",
    needs: str = "",
    request_id: str | None = None,
) -> AuditRecord:
    identity: Identity = deed.identity
    return AuditRecord(
        time=now,
        vo=vo,
        actor=identity.subject,
        username=identity.username[:64],
        actor_kind=identity.kind,
        actor_group=identity.group[:64],
        token_id=identity.token_id[:64],
        properties=_joined(privileges(deed), _LONGEST_LIST),
        verb=deed.verb[:128],
        method=deed.method[:8],
        path=deed.path[:_LONGEST_PATH],
        objects=objects,
        object_count=object_count,
        outcome=outcome,
        status=status,
        detail=detail,
        needs=needs,
        request_id=request_id or _this_request(),
        source=deed.source[:64],
    )


def _this_request() -> str:
    return request_id.get() or ""


def _joined(words: Iterable[str], longest: int) -> str:
    """Join words with commas; those for which there is no room are left out."""
    found = ""
    for word in words:
        more = f"{found}, {word}" if found else word
        if len(more) > longest:
            break
        found = more
    return found
