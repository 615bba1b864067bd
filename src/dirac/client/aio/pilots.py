"""Pilots."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from dirac.client.aio.pages import Listing
from dirac.core.search import Condition, Page, Paging, SearchParams, Sort
from dirac.systems.identity.models import TokenResponse
from dirac.systems.workload.models import PilotExplanation, PilotMetadata, PilotRegistration, Row
from dirac.transport.http_client import HttpClient


class Pilots:
    """Calls about pilots."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._listing = Listing(http, "/api/pilots")

    async def register(self, pilot: PilotRegistration) -> None:
        """Register a pilot that was started by other means than the pilot factory.

        Raises:
            ConflictError: There is a pilot of this stamp.
            NotAllowedError: The caller may not.

        Example::

            await client.pilots.register(PilotRegistration(pilot_stamp="abc1", vo="astro"))
        """
        await self._http.send("POST", "/api/pilots/", body=pilot)

    async def update(self, pilots: Mapping[str, PilotMetadata]) -> None:
        """Change what is known of pilots, by stamp.

        Raises:
            NotFoundError: There is no such pilot.
            NotAllowedError: The caller may not change it.

        Example::

            await client.pilots.update({"abc1": PilotMetadata(Status=PilotStatus.DONE)})
        """
        await self._http.send("PATCH", "/api/pilots/metadata", body=dict(pilots))

    async def renew(self) -> TokenResponse:
        """Return another token for the pilot that asks.

        Raises:
            ConflictError: The pilot has ended.
            NotAllowedError: The time of its queue is over.

        Example::

            token = (await client.pilots.renew()).access_token
        """
        answer = await self._http.send("POST", "/api/pilots/token/renew", repeatable=True)
        return answer.read(TokenResponse)

    async def explain(self, pilot: str) -> PilotExplanation:
        """Say why a pilot, named by its stamp or reference, has a job or none.

        Raises:
            NotFoundError: There is no such pilot.
            InvalidInputError: Several pilots have this reference.

        Example::

            print((await client.pilots.explain("a1b2c3")).text)
        """
        return await self._http.call("GET", "/api/pilots/explain", PilotExplanation, params={"pilot": pilot})

    async def search(
        self,
        *,
        search: Sequence[Condition] = (),
        parameters: Sequence[str] | None = None,
        sort: Sequence[Sort] = (),
        distinct: bool = False,
        page: int = 1,
        per_page: int = 100,
        cursor: str | None = None,
        count: bool | None = None,
    ) -> Page:
        """Return one page of the pilots that the caller may see; arguments as for `Jobs.search`.

        Example::

            page = await client.pilots.search(search=[Condition("Status", "eq", "Running")])
        """
        wanted = _wanted(search, parameters, sort, distinct)
        return await self._listing.page(wanted, Paging(page, per_page, cursor, count))

    def iterate(
        self,
        *,
        search: Sequence[Condition] = (),
        parameters: Sequence[str] | None = None,
        sort: Sequence[Sort] = (),
        page_size: int = 1000,
    ) -> AsyncIterator[Row]:
        """Give all pilots that the caller may see; arguments as for `Jobs.iterate`.

        Example::

            async for row in client.pilots.iterate(parameters=["PilotStamp", "Status"]):
                print(row)
        """
        return self._listing.iterate(_wanted(search, parameters, sort, False), page_size)

    async def summary(self, grouping: Sequence[str], *, search: Sequence[Condition] = ()) -> list[Row]:
        """Count pilots by parameters; each row has these and ``count``.

        Example::

            await client.pilots.summary(["Status"])  # [{"Status": "Running", "count": 3}]
        """
        return await self._listing.summary(grouping, search)


def _wanted(
    search: Sequence[Condition], parameters: Sequence[str] | None, sort: Sequence[Sort], distinct: bool
) -> SearchParams:
    return SearchParams(
        parameters=None if parameters is None else list(parameters),
        search=list(search),
        sort=list(sort),
        distinct=distinct,
    )
