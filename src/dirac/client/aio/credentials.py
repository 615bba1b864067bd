"""Who holds what, for those who look after others: the tree of it, revocation, clients, secrets of pilots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

from dirac.systems.identity.models import Property
from dirac.systems.identity.models_tokens import (
    ClientInfo,
    ClientRegistration,
    Holders,
    IssuedSecret,
    RevocationOrder,
    RevocationReceipt,
    SecretOrder,
)
from dirac.transport.http_client import HttpClient


class Credentials:
    """Calls about what others hold."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def holders(self, *, vo: str | None = None, site: str | None = None, limit: int = 100) -> Holders:
        """Return who holds credentials: logins by user, secrets and tokens of pilots by site.

        Args:
            vo: Only this VO; without, all that the caller may see.
            site: Only pilots at this site.
            limit: Logins, and pilots, to name at most; counts are of all.

        Raises:
            NotAllowedError: The caller may not see that.

        Example::

            for vo in (await client.credentials.holders()).vos:
                print(vo.name, len(vo.users))
        """
        params = {"vo": vo, "site": site, "limit": str(limit)}
        given = {name: value for name, value in params.items() if value is not None}
        return await self._http.call("GET", "/api/auth/holders", Holders, params=given)

    async def revoke(
        self, kind: Literal["pilot", "site", "vo", "user"], name: str, *, vo: str = ""
    ) -> RevocationReceipt:
        """Revoke what a pilot, a site, a user or a VO holds: tokens, logins, secrets that were not used.

        Args:
            kind: What `name` names.
            name: A stamp, a site, a VO, or a user's name or subject.
            vo: The VO, for an operator of the installation; everybody else's is their own.

        Raises:
            NotAllowedError: It is not the caller's to revoke.

        Example::

            receipt = await client.credentials.revoke("user", "bob")
        """
        order = RevocationOrder(kind, name, vo)
        # Asked again, it revokes what came since: that is what whoever asks wants.
        answer = await self._http.send("POST", "/api/auth/revocations", body=order, repeatable=True)
        return answer.read(RevocationReceipt)

    async def clients(self) -> list[ClientInfo]:
        """Return the registered confidential clients.

        Example::

            [client.client_id for client in await client.credentials.clients()]
        """
        return await self._http.call("GET", "/api/auth/clients", list[ClientInfo])

    async def register_client(
        self,
        client_id: str,
        *,
        vo: str = "",
        properties: Sequence[Property] = (),
        jwks: dict[str, Any] | None = None,
    ) -> ClientInfo:
        """Register a confidential client; the answer has its secret, which nobody can find out later.

        With `jwks`, its public keys (RFC 7517), it has none, and signs assertions instead (RFC 7523).

        Raises:
            ConflictError: There is a client of this name.
            InvalidInputError: There is no such VO, or its clients may not have such a property.

        Example::

            secret = (await client.credentials.register_client("portal", vo="astro")).client_secret
        """
        wanted = ClientRegistration(client_id, vo, list(properties), jwks)
        answer = await self._http.send("POST", "/api/auth/clients", body=wanted)
        return answer.read(ClientInfo)

    async def remove_client(self, client_id: str) -> None:
        """Remove a client; its tokens are refused from now on.

        Raises:
            NotFoundError: There is none of this name.

        Example::

            await client.credentials.remove_client("portal")
        """
        await self._http.send("DELETE", f"/api/auth/clients/{quote(client_id, safe='')}")

    async def issue_pilot_secrets(self, order: SecretOrder) -> list[IssuedSecret]:
        """Issue secrets for pilots that are started elsewhere; nobody can find them out later.

        Raises:
            NotAllowedError: The VO is not the caller's.
            InvalidInputError: There is no such VO.

        Example::

            secrets = await client.credentials.issue_pilot_secrets(SecretOrder("LCG.X.ch", "ce01", count=10))
        """
        answer = await self._http.send("POST", "/api/pilots/secrets", body=order)
        return answer.read(list[IssuedSecret])
