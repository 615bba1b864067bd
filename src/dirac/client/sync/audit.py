# Generated from dirac/client/aio/audit.py by python -m dirac.client._generate; do not edit.
"""The audit log, and who can do what."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from dirac.client.sync.pages import Listing
from dirac.core.search import Condition, Page, Paging, SearchParams, Sort
from dirac.systems.identity.models import Refusal, WhoCan
from dirac.transport.http_client_sync import HttpClient


class Audit:
    """Calls about what was done by whom, what was refused and why, and who could."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._listing = Listing(http, "/api/audit")

    def search(
        self,
        *,
        search: Sequence[Condition] = (),
        parameters: Sequence[str] | None = None,
        sort: Sequence[Sort] = (),
        per_page: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return one page of the audit log: of one's VO, or of everything with ServiceAdministrator.

        Raises:
            NotAllowedError: The caller administrates nothing.

        Example::

            page = client.audit.search(search=[Condition("Outcome", "eq", "Refused")])
        """
        wanted = SearchParams(
            parameters=None if parameters is None else list(parameters), search=list(search), sort=list(sort)
        )
        return self._listing.page(wanted, Paging(per_page=per_page, cursor=cursor))

    def refusal(self, request_id: str) -> Refusal:
        """Say why a request was refused.

        Args:
            request_id: From the header ``X-Request-ID`` of its answer.

        Raises:
            NotFoundError: No such request was refused, or the caller may not know.

        Example::

            print((client.audit.refusal("5f0c1e9a5f0c1e9a")).needs)
        """
        return self._http.call("GET", f"/api/audit/refusals/{quote(request_id, safe='')}", Refusal)

    def who_can(self, verb: str, thing: str) -> WhoCan:
        """Tell who can do something.

        Args:
            verb: For instance ``kill``, or the name of an operation.
            thing: For instance ``job:42``, ``pilot`` or ``configuration``.

        Raises:
            InvalidInputError: There is no such verb, or no such thing; the message lists them.
            NotFoundError: There is no such thing that the caller may see.

        Example::

            for group in (client.audit.who_can("kill", "job:42")).groups:
                print(group.group, group.users)
        """
        return self._http.call("GET", "/api/auth/who-can", WhoCan, params={"verb": verb, "object": thing})
