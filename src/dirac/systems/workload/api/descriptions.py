"""Routes for looking at descriptions before jobs are made of them."""

from __future__ import annotations

from typing import Annotated, Any

from dirac.formats.native import schema
from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.logic.rehearsal import Rehearsals
from dirac.systems.workload.models import Rehearsal
from dirac.transport.routing import SystemRouter, allowed, body, open_to_all, provided

router = SystemRouter("/api/jobs/jdl", "jobs")


@router.post("/check")
async def check_jdl_jobs(
    caller: Annotated[Identity, allowed(policy.submit)],
    jdls: Annotated[list[str], body(list[str])],
    rehearsals: Annotated[Rehearsals, provided(Rehearsals)],
) -> Rehearsal:
    """Say what the submission of these descriptions would do, and where the jobs would fit.

    The body is that of a submission; what would be refused is refused. Nothing is stored.
    """
    return await rehearsals.rehearse(caller, jdls)


@router.get("/schema", dependencies=[open_to_all("it says nothing of this installation")])
async def get_jdl_schema() -> dict[str, Any]:
    """Return the JSON schema of job descriptions in YAML and JSON."""
    return schema()
