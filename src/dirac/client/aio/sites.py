"""Sites."""

from __future__ import annotations

from urllib.parse import quote

from dirac.systems.workload.models import SiteExplanation
from dirac.transport.http_client import HttpClient


class Sites:
    """Calls about the sites where jobs run."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def explain(self, site: str, *, vo: str | None = None) -> SiteExplanation:
        """Say what a site does for a VO, and what keeps jobs that wait from it.

        Args:
            site: Its name.
            vo: For which VO, for those who operate the installation; otherwise one's own.

        Raises:
            NotFoundError: There is no such site, or none that the VO may use.

        Example::

            print((await client.sites.explain("LCG.CERN.ch")).text)
        """
        params = {} if vo is None else {"vo": vo}
        path = f"/api/sites/{quote(site, safe='')}/explain"
        return await self._http.call("GET", path, SiteExplanation, params=params)
