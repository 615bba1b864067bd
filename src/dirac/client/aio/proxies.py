"""Proxies that the server keeps for users, and proxies of them. Private keys stay where they are made."""

from __future__ import annotations

from urllib.parse import quote

from dirac.systems.identity.models import DelegatedProxy, Delegation, ProxyInfo, ProxyRequest, SignedProxy
from dirac.transport.http_client import HttpClient


class Proxies:
    """Calls about proxies."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def list(self) -> list[ProxyInfo]:
        """Return the proxies that the server keeps: one's own, or with ProxyManagement all of one's VO.

        Example::

            for kept in await client.proxies.list():
                print(kept.subject, kept.dirac_group, kept.expires)
        """
        return await self._http.call("GET", "/api/proxies", list[ProxyInfo])

    async def request(self) -> ProxyRequest:
        """Have the server make a key for a proxy; what comes back is to be signed, and given to `store`.

        Example::

            asked = await client.proxies.request()
        """
        # A key that nobody signs is forgotten.
        return await self._http.call("POST", "/api/proxies/requests", ProxyRequest, repeatable=True)

    async def store(self, proxy_id: str, chain: str) -> ProxyInfo:
        """Leave a proxy with the server; it replaces an older one of the same group.

        Args:
            proxy_id: Of the request that was signed.
            chain: The proxy and what leads to its authority (PEM), without any key.

        Raises:
            NotFoundError: No such request waits any more.
            InvalidInputError: It is no proxy of the server's key, or not the caller's.

        Example::

            kept = await client.proxies.store(asked.proxy_id, chain)
        """
        path = f"/api/proxies/requests/{quote(proxy_id, safe='')}"
        return await self._http.call("PUT", path, ProxyInfo, body=SignedProxy(chain))

    async def destroy(self, proxy_id: str) -> None:
        """Have the server forget a proxy.

        Raises:
            NotFoundError: It has none, or none that the caller may see.

        Example::

            await client.proxies.destroy(kept.proxy_id)
        """
        await self._http.send("DELETE", f"/api/proxies/{quote(proxy_id, safe='')}")

    async def delegate(self, wanted: Delegation) -> DelegatedProxy:
        """Have the server sign a key with a proxy that it keeps.

        Raises:
            NotFoundError: It keeps none for the group.
            NotAllowedError: The caller may not have it.

        Example::

            made = await client.proxies.delegate(Delegation(csr=csr, limited=True))
        """
        return await self._http.call(
            "POST", "/api/proxies/delegations", DelegatedProxy, body=wanted, repeatable=True
        )
