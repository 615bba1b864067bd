"""Background work, for operators."""

from __future__ import annotations

from urllib.parse import quote

from dirac.client.models import ParkedTask
from dirac.transport.http_client import HttpClient


class Tasks:
    """Calls about background work; they need the property ServiceAdministrator."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def search(self, *, state: str = "Parked", limit: int = 100) -> list[ParkedTask]:
        """List background work in one state.

        Args:
            state: ``Pending``, ``Sent``, ``Running``, ``Done`` or ``Parked`` (given up: an operator decides).
            limit: Most entries, up to 1000.

        Raises:
            NotAllowedError: The caller is no operator.

        Example::

            for task in await client.tasks.search():
                print(task.name, task.error)
        """
        params = {"state": state, "limit": limit}
        return await self._http.call("GET", "/api/tasks", list[ParkedTask], params=params)

    async def retry(self, entry_id: str) -> None:
        """Give a parked task another series of tries.

        Raises:
            NotFoundError: There is no such entry.

        Example::

            await client.tasks.retry("0198c0de-...")
        """
        path = f"/api/tasks/{quote(entry_id, safe='')}/retry"
        await self._http.send("POST", path, repeatable=True)
