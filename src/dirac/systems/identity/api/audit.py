"""Routes for looking into the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from dirac.core.search import Paging, SearchParams
from dirac.systems.identity import policy
from dirac.systems.identity.logic.audit import Audit
from dirac.systems.identity.models import Identity, Refusal
from dirac.transport.paging import PAGED, Count, Cursor, PageNumber, PageSize, optional_body, paged
from dirac.transport.routing import SystemRouter, allowed, provided

router = SystemRouter("/api/audit", "audit")

TheAudit = Annotated[Audit, provided(Audit)]


@router.post("/search", responses=PAGED)
async def search(
    caller: Annotated[Identity, allowed(policy.read_audit)],
    audit: TheAudit,
    params: Annotated[SearchParams | None, optional_body(SearchParams | None)],
    page: PageNumber = 1,
    per_page: PageSize = 100,
    cursor: Cursor = None,
    count: Count = None,
) -> Response:
    """Find rows of the audit log, of one's VO; with ServiceAdministrator of the whole installation."""
    paging = Paging(page, per_page, cursor, count)
    return paged(await audit.search(caller, params or SearchParams(), paging), "rows")


@router.get("/refusals/{request_id}")
async def explain_refusal(
    request_id: Annotated[str, Path(min_length=1, max_length=64)],
    caller: Annotated[Identity, allowed(policy.anybody)],
    audit: TheAudit,
) -> Refusal:
    """Say why a request was refused: to whom it was, to administrators of the VO and of the installation."""
    return await audit.refusal(caller, request_id)
