"""What a request may use up: made anew when the one before was used."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from dirac.core.entropy import SystemEntropy, uuid7
from dirac.db.engine import DatabaseUnits
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.sessions import RefreshRecord
from dirac.systems.identity.store import IdentityUnit
from tests.contract.authorisation.world import World, asked_proxy

Values = dict[str, Any]


async def job(world: World) -> Values:
    """Have alice submit a job, which waits."""
    return {"fresh": (await world.submit(1))[0]}


async def session(world: World) -> Values:
    """Have alice log in once more."""
    return {"jti": (await login(world, "astro", "alice", "astro_user")).jti}


async def client(world: World) -> Values:
    """Have a client of alice's VO registered."""
    name = f"client{next(world.numbers)}"
    wanted = {"client_id": name, "vo": "astro"}
    answer = await world.ask("POST", "/api/auth/clients", world.tokens["service"], wanted)
    assert answer.status_code == 201, answer.text
    return {"client_id": name}


async def kept_proxy(world: World) -> Values:
    """Have one more proxy of alice's kept: the one that is there, for any group."""
    async with DatabaseUnits(world.installation.database, IdentityUnit).write() as unit:
        kept = await unit.proxies.find(world.values["kept"])
        assert kept is not None
        name = str(uuid7(SystemEntropy(), unit.now.timestamp()))
        await unit.proxies.put(msgspec.structs.replace(kept, proxy_id=name, dirac_group=""))
    return {"proxy_id": name}


async def proxy_request(world: World) -> Values:
    """Have alice ask for a key, and sign it for any group."""
    proxy_id, chain = await asked_proxy(world)
    return {"proxy_id": proxy_id, "chain": chain}


async def task(world: World) -> Values:
    """Have a background task."""
    answer = await world.ask("POST", "/api/tasks/echo", world.tokens["service"])
    assert answer.status_code == 201, answer.text
    (entry,) = re.findall(r"[0-9a-f-]{32,36}", answer.text)
    return {"entry_id": entry}


MAKERS: dict[str, Callable[[World], Awaitable[Values]]] = {
    "/api/auth/refresh-tokens": session,
    "/api/auth/clients": client,
    "/api/proxies/requests/": proxy_request,
    "/api/proxies/{": kept_proxy,
    "/api/tasks/{": task,
    "/api/jobs": job,
}
"""By the beginning of a route's path."""


class Fresh:
    """Makes what requests use up.

    Args:
        world: Where.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._made: dict[str, Values] = {}

    async def values(self, path: str) -> Values:
        """Return what a route may use up."""
        found: Values = {}
        for beginning, make in MAKERS.items():
            if path.startswith(beginning):
                if beginning not in self._made:
                    self._made[beginning] = await make(self._world)
                found |= self._made[beginning]
        return found

    def used(self) -> None:
        """Forget what was made: a request has succeeded."""
        self._made.clear()


async def login(world: World, vo: str, sub: str, group: str) -> RefreshRecord:
    """Have somebody log in once more; return the session's refresh token."""
    units = DatabaseUnits(world.installation.database, IdentityUnit)
    async with units.write() as unit:
        begun = await world.installation.identity.sessions.begin(unit, vo, sub, Scope(vo, group), "dirac")
    assert not isinstance(begun, Exception)
    return begun.record
