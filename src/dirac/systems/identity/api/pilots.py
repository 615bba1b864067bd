"""The door for pilots."""

from __future__ import annotations

from typing import Annotated

from dirac.systems.identity.logic.pilots import PilotSecrets
from dirac.systems.identity.models import PilotLogin, TokenResponse
from dirac.transport.routing import SystemRouter, body, open_to_all, provided

router = SystemRouter("/api/pilots", "pilots")


@router.post("/token", dependencies=[open_to_all("the pilot's secret is the credential")])
async def exchange_pilot_secret(
    login: Annotated[PilotLogin, body(PilotLogin, limit=4096)],
    pilots: Annotated[PilotSecrets, provided(PilotSecrets)],
) -> TokenResponse:
    """Exchange the secret that was made for a pilot's stamp for the pilot's token; good once."""
    return await pilots.exchange(login)
