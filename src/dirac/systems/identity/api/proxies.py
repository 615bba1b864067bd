"""Proxies that users leave with the server, proxies of them, and certificates exchanged for tokens."""

from __future__ import annotations

from typing import Annotated

from starlette.responses import Response

from dirac.systems.identity import policy
from dirac.systems.identity.api.oauth import NEVER_KEPT
from dirac.systems.identity.logic.proxies import Proxies
from dirac.systems.identity.models import (
    DelegatedProxy,
    Delegation,
    Identity,
    ProxyInfo,
    ProxyRequest,
    SignedProxy,
)
from dirac.transport.routing import SystemRouter, allowed, body, provided
from dirac.transport.wire import encode

_LIMIT = 512 * 1024

router = SystemRouter("/api/proxies", "proxies")
exchange = SystemRouter("/api/auth", "auth")


@exchange.post("/certificate-token")
async def exchange_certificate_for_token(
    caller: Annotated[Identity, allowed(policy.person)], proxies: Annotated[Proxies, provided(Proxies)]
) -> Response:
    """Exchange the certificate or proxy of the connection for an access token, which ends with it."""
    return Response(encode(await proxies.token(caller)), headers=NEVER_KEPT, media_type="application/json")


@router.post("/requests", status_code=201)
async def request_proxy(
    caller: Annotated[Identity, allowed(policy.has_proxies)], proxies: Annotated[Proxies, provided(Proxies)]
) -> ProxyRequest:
    """Make a key for a proxy of the caller's, and the request to sign."""
    return await proxies.ask(caller)


@router.put("/requests/{proxy_id}")
async def store_proxy(
    proxy_id: str,
    caller: Annotated[Identity, allowed(policy.has_proxies)],
    signed: Annotated[SignedProxy, body(SignedProxy, limit=_LIMIT)],
    proxies: Annotated[Proxies, provided(Proxies)],
) -> ProxyInfo:
    """Keep the proxy that the caller has signed; it replaces an older one of the same group."""
    return await proxies.store(caller, proxy_id, signed)


@router.get("")
async def get_proxies(
    caller: Annotated[Identity, allowed(policy.has_proxies)], proxies: Annotated[Proxies, provided(Proxies)]
) -> list[ProxyInfo]:
    """List the proxies that are kept: one's own, or with ProxyManagement all of one's VO."""
    return await proxies.listed(caller)


@router.delete("/{proxy_id}", status_code=204)
async def destroy_proxy(
    proxy_id: str,
    caller: Annotated[Identity, allowed(policy.has_proxies)],
    proxies: Annotated[Proxies, provided(Proxies)],
) -> None:
    """Forget a proxy: one's own, or with ProxyManagement one of one's VO."""
    await proxies.destroy(caller, proxy_id)


@router.post("/delegations", status_code=201)
async def delegate_proxy(
    caller: Annotated[Identity, allowed(policy.gets_proxies)],
    wanted: Annotated[Delegation, body(Delegation, limit=_LIMIT)],
    proxies: Annotated[Proxies, provided(Proxies)],
) -> DelegatedProxy:
    """Sign a key with a proxy that is kept: one's own, that of a job's owner, or another one by property."""
    return await proxies.delegate(caller, wanted)
