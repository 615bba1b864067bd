"""Routes for sites."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.logic.explain_places import ExplainPlaces
from dirac.systems.workload.models import SiteExplanation
from dirac.transport.routing import SystemRouter, allowed, provided

router = SystemRouter("/api/sites", "sites")


@router.get("/{site}/explain")
async def explain_site(
    caller: Annotated[Identity, allowed(policy.read_pilots)],
    explain: Annotated[ExplainPlaces, provided(ExplainPlaces)],
    site: Annotated[str, Path(max_length=128)],
    vo: Annotated[
        str | None, Query(max_length=64, description="For which VO; another than one's own only as operator.")
    ] = None,
) -> SiteExplanation:
    """Explain what a site does for a VO, and what keeps jobs that wait from it."""
    return await explain.site(caller, site, vo)
