"""Lists that come in pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from dirac.core.search import Condition, Page, SearchParams, Sort
from dirac.systems.workload.models import Row
from dirac.transport.http_client import HttpClient

_OUT_OF_RANGE = 416
_range = re.compile(r"\w+ (?:(\d+)-\d+|\*)/(\d+)").fullmatch


class Listing:
    """One list of the server that can be searched.

    Args:
        http: The server.
        path: Path of the list's routes.
        key: A parameter that is different in all rows and by which they can be sorted.
    """

    def __init__(self, http: HttpClient, path: str, key: str) -> None:
        self._http = http
        self._path = path
        self._key = key

    async def page(self, wanted: SearchParams, number: int, size: int) -> Page:
        """Fetch one page, counted from 1."""
        answer = await self._http.send(
            "POST",
            f"{self._path}/search",
            params={"page": number, "per_page": size},
            body=wanted,
            repeatable=True,
            accepted=frozenset({_OUT_OF_RANGE}),
        )
        found = _range(answer.headers.get("content-range", ""))
        if answer.status == _OUT_OF_RANGE:
            return Page(rows=[], total=int(found[2]) if found else 0, first=0)
        rows = answer.read(list[Row])
        if found is None:
            return Page(rows=rows, total=len(rows), first=0)
        return Page(rows=rows, total=int(found[2]), first=int(found[1] or 0))

    async def iterate(self, wanted: SearchParams, size: int) -> AsyncIterator[Row]:
        """Give all rows, page by page.

        Without an order of the caller's own it goes along the key: then each row comes exactly once,
        however much the list changes meanwhile.
        """
        if wanted.sort or wanted.distinct:
            number, given = 1, 0
            while True:
                page = await self.page(wanted, number, size)
                for row in page.rows:
                    yield row
                given, number = given + len(page.rows), number + 1
                if len(page.rows) < size or given >= page.total:
                    return
        hidden = wanted.parameters is not None and self._key not in wanted.parameters
        parameters = [*(wanted.parameters or ()), self._key] if hidden else wanted.parameters
        after: list[Condition] = []
        while True:
            page = await self.page(
                SearchParams(
                    parameters=parameters, search=[*wanted.search, *after], sort=[Sort(self._key, "asc")]
                ),
                1,
                size,
            )
            if page.rows:
                after = [Condition(self._key, "gt", page.rows[-1][self._key])]
            for row in page.rows:
                if hidden:
                    del row[self._key]
                yield row
            if len(page.rows) < size:
                return

    async def summary(self, grouping: Sequence[str], search: Sequence[Condition]) -> list[Row]:
        """Count rows."""
        body = {"grouping": list(grouping), "search": list(search)}
        return await self._http.call("POST", f"{self._path}/summary", list[Row], body=body, repeatable=True)
