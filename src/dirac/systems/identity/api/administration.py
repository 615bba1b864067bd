"""Routes for those who look after others: clients, secrets of pilots, revocations, who holds what."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from dirac.systems.identity import policy
from dirac.systems.identity.logic.clients import Clients
from dirac.systems.identity.logic.holdings import Holdings
from dirac.systems.identity.logic.issuing import Issuing
from dirac.systems.identity.logic.revoking import Revoking
from dirac.systems.identity.models import Identity
from dirac.systems.identity.models_tokens import (
    ClientInfo,
    ClientRegistration,
    Holders,
    IssuedSecret,
    RevocationOrder,
    RevocationReceipt,
    SecretOrder,
)
from dirac.transport.routing import SystemRouter, allowed, body, provided

router = SystemRouter("/api/auth", "auth")
pilots = SystemRouter("/api/pilots", "pilots")
Operator = Annotated[Identity, allowed(policy.operator)]
TheClients = Annotated[Clients, provided(Clients)]
_Name = Annotated[str | None, Query(min_length=1, max_length=128)]


@router.get("/clients")
async def list_clients(caller: Operator, clients: TheClients) -> list[ClientInfo]:
    """List the registered clients, without their secrets."""
    return await clients.all()


@router.post("/clients", status_code=201)
async def register_client(
    caller: Operator,
    wanted: Annotated[ClientRegistration, body(ClientRegistration)],
    clients: TheClients,
) -> ClientInfo:
    """Register a confidential client; the answer has its secret, which is not kept."""
    return await clients.register(caller, wanted)


@router.delete("/clients/{client_id}", status_code=204)
async def remove_client(client_id: str, caller: Operator, clients: TheClients) -> None:
    """Remove a client; its tokens are refused from now on."""
    await clients.remove(caller, client_id)


@router.post("/revocations")
async def revoke_holdings(
    caller: Annotated[Identity, allowed(policy.revoke)],
    order: Annotated[RevocationOrder, body(RevocationOrder)],
    revoking: Annotated[Revoking, provided(Revoking)],
) -> RevocationReceipt:
    """Revoke what a pilot, a site, a user or a VO holds: tokens, logins, and secrets that were not used."""
    return await revoking.revoke(caller, order)


@router.get("/holders")
async def list_holders(
    caller: Annotated[Identity, allowed(policy.see_holders)],
    holdings: Annotated[Holdings, provided(Holdings)],
    vo: _Name = None,
    site: _Name = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Holders:
    """Tell who holds credentials: logins by user, secrets and tokens of pilots by site, runs by pilot."""
    return await holdings.tree(caller, vo, site, limit)


@pilots.post("/secrets", status_code=201)
async def issue_pilot_secrets(
    caller: Annotated[Identity, allowed(policy.issue_secrets)],
    order: Annotated[SecretOrder, body(SecretOrder)],
    issuing: Annotated[Issuing, provided(Issuing)],
) -> list[IssuedSecret]:
    """Issue secrets for pilots that are started elsewhere, for one computing element; they are not kept."""
    return await issuing.issue(caller, order)
