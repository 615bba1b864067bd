"""Lists that come in pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from dirac.core.search import Condition, Page, Paging, SearchParams
from dirac.systems.workload.models import Row
from dirac.transport.http_client import HttpClient

_OUT_OF_RANGE = 416
_range = re.compile(r"\w+ (?:(\d+)-\d+|\*)/(\d+)").fullmatch


class Listing:
    """One list of the server that can be searched.

    Args:
        http: The server.
        path: Path of the list's routes.
    """

    def __init__(self, http: HttpClient, path: str) -> None:
        self._http = http
        self._path = path

    async def page(self, wanted: SearchParams, paging: Paging) -> Page:
        """Fetch one page, by number or by cursor."""
        position: dict[str, Any] = (
            {"page": paging.page} if paging.cursor is None else {"cursor": paging.cursor}
        )
        if paging.count is not None:
            position["count"] = paging.count
        answer = await self._http.send(
            "POST",
            f"{self._path}/search",
            params={"per_page": paging.per_page, **position},
            body=wanted,
            repeatable=True,
            accepted=frozenset({_OUT_OF_RANGE}),
        )
        found = _range(answer.headers.get("content-range", ""))
        if answer.status == _OUT_OF_RANGE:
            return Page(rows=[], total=int(found[2]) if found else 0, first=0)
        rows = answer.read(list[Row])
        cursor = answer.headers.get("next-cursor")
        first = 0 if paging.cursor is None else None
        if found is None:
            whole = cursor is None and not paging.cursor
            return Page(rows=rows, total=len(rows) if whole else None, first=first, cursor=cursor)
        return Page(
            rows=rows,
            total=int(found[2]),
            first=int(found[1]) if found[1] else first,
            exact="total-is" not in answer.headers,
            cursor=cursor,
        )

    async def iterate(self, wanted: SearchParams, size: int) -> AsyncIterator[Row]:
        """Give all rows, page by page: each exactly once, however much the list changes meanwhile.

        A row whose place in the order changes may still come twice, or never.
        """
        cursor: str | None = ""
        while cursor is not None:
            page = await self.page(wanted, Paging(per_page=size, cursor=cursor))
            cursor = page.cursor
            for row in page.rows:
                yield row

    async def summary(self, grouping: Sequence[str], search: Sequence[Condition]) -> list[Row]:
        """Count rows."""
        body = {"grouping": list(grouping), "search": list(search)}
        return await self._http.call("POST", f"{self._path}/summary", list[Row], body=body, repeatable=True)
