"""Background work, for operators."""

from __future__ import annotations

from urllib.parse import quote

from dirac.client.models import ParkedTask
from dirac.core.errors import UnavailableError
from dirac.core.time import Clock
from dirac.transport.http_client import HttpClient

_LOOK = 0.2
_STUCK = {
    "Pending": "Nobody hands it out: does dirac-server scheduler run, and the broker answer",
    "Sent": "Nobody takes it: does dirac-server worker run, and reach the broker",
    "Running": "A worker has begun: does it reach the database",
    "Parked": "It failed too often: see `dirac task list`",
}


class Tasks:
    """Calls about background work; they need the property ServiceAdministrator."""

    def __init__(self, http: HttpClient, clock: Clock) -> None:
        self._http = http
        self._clock = clock

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

    async def get(self, entry_id: str) -> ParkedTask:
        """Return one piece of background work.

        Raises:
            NotFoundError: There is no such entry.

        Example::

            task = await client.tasks.get("0198c0de-...")
        """
        return await self._http.call("GET", f"/api/tasks/{quote(entry_id, safe='')}", ParkedTask)

    async def echo(self, *, wait: float = 0.0) -> ParkedTask:
        """Have work done that does nothing, to see that relay, broker and worker work.

        Args:
            wait: Seconds to wait until it is done.

        Raises:
            UnavailableError: It was not done in that time; says where it is stuck.

        Example::

            await client.tasks.echo(wait=30)
        """
        task = await self._http.call("POST", "/api/tasks/echo", ParkedTask, repeatable=True)
        began = self._clock.monotonic()
        while wait > 0 and task.state != "Done":
            if self._clock.monotonic() - began > wait or task.state == "Parked":
                raise UnavailableError(
                    f"task {task.id} was not done within {wait:g} s, it is {task.state}",
                    hint=_STUCK.get(task.state),
                )
            await self._clock.sleep(_LOOK)
            task = await self.get(task.id)
        return task
