"""Routes for pilots."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from dirac.core.search import Paging, SearchParams, SummaryParams
from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.logic.explain_places import ExplainPlaces
from dirac.systems.workload.logic.pilots import Pilots
from dirac.systems.workload.models import PilotExplanation, PilotMetadata, PilotRegistration, Stamp
from dirac.transport.paging import PAGED, Count, Cursor, PageNumber, PageSize, optional_body, paged
from dirac.transport.routing import SystemRouter, allowed, body, provided

router = SystemRouter("/api/pilots", "pilots")

Reader = Annotated[Identity, allowed(policy.read_pilots)]
ThePilots = Annotated[Pilots, provided(Pilots)]


@router.post("/", status_code=201)
async def register_pilot(
    caller: Annotated[Identity, allowed(policy.register_pilots)],
    pilot: Annotated[PilotRegistration, body(PilotRegistration)],
    pilots: ThePilots,
) -> None:
    """Register a pilot that was started elsewhere."""
    await pilots.register(caller, pilot)


@router.patch("/metadata", status_code=204)
async def update_pilot_metadata(
    caller: Annotated[Identity, allowed(policy.update_pilots)],
    updates: Annotated[dict[Stamp, PilotMetadata], body(dict[Stamp, PilotMetadata])],
    pilots: ThePilots,
) -> None:
    """Change pilots: `{stamp: changes}`; all of them or, if anything is wrong, none."""
    await pilots.set_metadata(caller, updates)


@router.post("/search", responses=PAGED)
async def search(
    caller: Reader,
    pilots: ThePilots,
    params: Annotated[SearchParams | None, optional_body(SearchParams | None)],
    page: PageNumber = 1,
    per_page: PageSize = 100,
    cursor: Cursor = None,
    count: Count = None,
) -> Response:
    """Find pilots; rows have all parameters unless some are named. `JobID` finds those that had a job."""
    paging = Paging(page, per_page, cursor, count)
    found = await pilots.search(caller, params or SearchParams(), paging)
    return paged(found, "pilots")


@router.post("/summary")
async def summary(
    caller: Reader, pilots: ThePilots, params: Annotated[SummaryParams, body(SummaryParams)]
) -> list[dict[str, Any]]:
    """Count pilots by the values of some parameters; `count` is in every row."""
    return await pilots.summary(caller, params)


@router.get("/explain")
async def explain_pilot(
    caller: Reader,
    explain: Annotated[ExplainPlaces, provided(ExplainPlaces)],
    pilot: Annotated[str, Query(min_length=1, max_length=255, description="Its stamp, or its reference.")],
) -> PilotExplanation:
    """Explain why a pilot has a job or none: what its node offers, and what keeps jobs that wait from it."""
    return await explain.pilot(caller, pilot)
