"""Routes of the installation itself: its health, and its background work for operators."""

from __future__ import annotations

import asyncio
from typing import Annotated

from dirac.core.errors import InvalidInputError, NotAllowedError, UnavailableError
from dirac.db.engine import Database
from dirac.db.outbox import ListedTask, Outbox
from dirac.server.census import find_task
from dirac.server.housekeeping import ECHO
from dirac.systems.identity.models import Identity, Property
from dirac.transport.drain import Drain
from dirac.transport.routing import SystemRouter, allowed, open_to_all, provided

health = SystemRouter("/api/health", "health")
operations = SystemRouter("/api/tasks", "tasks")

_STATES = ("Pending", "Sent", "Running", "Parked", "Done")
_PATIENCE = 1.5  # seconds; who asks soon stops waiting
_OPEN = open_to_all("load balancers ask, and learn nothing but that it works")


def operate(identity: Identity) -> None:
    """Background work belongs to the whole installation, whatever its VO: administrators alone see it."""
    if Property.SERVICE_ADMINISTRATOR not in identity.properties:
        raise NotAllowedError("this needs the property ServiceAdministrator")
    if identity.kind not in ("user", "service"):
        raise NotAllowedError(f"a {identity.kind} may not do this")


@health.get("/live", dependencies=[_OPEN], include_in_schema=False)
async def live() -> dict[str, str]:
    """Say that the process works."""
    return {"status": "live"}


@health.get("/ready", dependencies=[_OPEN], include_in_schema=False)
async def ready(
    database: Annotated[Database, provided(Database)], drain: Annotated[Drain, provided(Drain)]
) -> dict[str, str]:
    """Say that requests can be served and may be sent: the database answers, and the end is not near."""
    if drain.begun:
        raise UnavailableError("draining: this server is about to end", retry_after=1.0)
    return await _answers(database)


async def _answers(database: Database) -> dict[str, str]:
    try:
        async with asyncio.timeout(_PATIENCE), database.read() as tx:
            await tx.ping()
    except TimeoutError:
        raise UnavailableError(f"the database did not answer within {_PATIENCE} s", retry_after=1.0) from None
    return {"status": "ready"}


@health.get("/startup", dependencies=[_OPEN], include_in_schema=False)
async def startup(database: Annotated[Database, provided(Database)]) -> dict[str, str]:
    """Say that the start is over."""
    return await _answers(database)


@operations.get("")
async def list_tasks(
    caller: Annotated[Identity, allowed(operate)],
    outbox: Annotated[Outbox, provided(Outbox)],
    state: str = "Parked",
    limit: int = 100,
) -> list[ListedTask]:
    """List background work in a state; parked work waits for an operator's decision."""
    if state not in _STATES:
        raise InvalidInputError(f"no state {state!r}", hint=f"States are {', '.join(_STATES)}")
    return await outbox.listed([state], max(1, min(limit, 1000)))


@operations.post("/echo", status_code=201)
async def echo(
    caller: Annotated[Identity, allowed(operate)], database: Annotated[Database, provided(Database)]
) -> ListedTask:
    """Enqueue work that does nothing: that it is done proves that relay, broker and worker work."""
    async with database.write() as tx:
        entry_id = tx.enqueue(ECHO)
    return await find_task(database, entry_id)


@operations.get("/{entry_id}")
async def get_task(
    entry_id: str,
    caller: Annotated[Identity, allowed(operate)],
    database: Annotated[Database, provided(Database)],
) -> ListedTask:
    """Tell the state of one piece of background work."""
    return await find_task(database, entry_id)


@operations.post("/{entry_id}/retry", status_code=204)
async def retry_task(
    entry_id: str,
    caller: Annotated[Identity, allowed(operate)],
    outbox: Annotated[Outbox, provided(Outbox)],
) -> None:
    """Give parked work another series of tries."""
    await outbox.retry(entry_id)
