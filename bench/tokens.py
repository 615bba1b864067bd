"""What tokens cost: their check in a server, and what the authorisation server answers, through HTTP.

python -m bench.tokens [--engines sqlite,postgresql]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from bench.served import ENGINES, Ours, opened, served

from dirac.core.entropy import SystemEntropy
from dirac.core.time import SystemClock
from dirac.db.engine import DatabaseUnits
from dirac.db.schema import migrate
from dirac.server.composition import build
from dirac.server.schema import LOCATIONS
from dirac.systems.identity.logic.assembly import IdentitySystem
from dirac.systems.identity.logic.discovery import EXCHANGE_GRANT
from dirac.systems.identity.logic.exchange import ACCESS_TOKEN
from dirac.systems.identity.models_tokens import ClientRegistration, SecretOrder
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.tokens import RevocationRecord
from dirac.systems.identity.settings import IdentitySettings
from dirac.systems.identity.store import IdentityUnit

HEAD = "| engine | operation | CPU ms | wall ms |\n|---|---|---:|---:|"
_MANY = 10_000
_CLIENT = "dirac"


def row(engine: str, what: str, cpu: float, wall: float) -> str:
    """Return a line of the table; times in seconds."""
    return f"| {engine:10} | {what:52} | {1000 * cpu:8.4f} | {1000 * wall:8.4f} |"


async def _checks(times: int) -> None:
    """Print what the check of a token takes, without HTTP: known, new, and beside many revocations."""
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite:///{Path(place) / 'bench.db'}"
        async with opened(url) as database:
            await migrate(database, LOCATIONS)
            units: DatabaseUnits[IdentityUnit] = DatabaseUnits(database, IdentityUnit)
            settings = IdentitySettings(issuer="https://bench.example", master_key=os.urandom(32))
            system = IdentitySystem(
                units=units, clock=SystemClock(), entropy=SystemEntropy(), settings=settings
            )
            await system.keys.prepare()
            for revoked in (0, _MANY):
                await _revoke(system, units, revoked)
                tokens = [
                    await system.tokens.pilot_token(stamp=f"p{number}", vo="astro", seconds=7200, site="X")
                    for number in range(min(times, 4000))
                ]
                shown = f"{revoked} revocations"
                fresh = itertools.cycle(tokens)
                print(await _taken(f"check of a new token, {shown}", len(tokens), fresh, system))
                print(await _taken(f"check of a known token, {shown}", times, fresh, system))


async def _revoke(system: IdentitySystem, units: DatabaseUnits[IdentityUnit], many: int) -> None:
    async with units.write() as unit:
        ends = unit.now + timedelta(days=14)
        gone = [RevocationRecord("pilot", "astro", f"gone{n}", unit.now, ends) for n in range(many)]
        await unit.revocations.put(gone)
    system.revocations.expect()
    before, began = time.process_time(), time.perf_counter()
    await system.revocations.follow()
    cpu, wall = time.process_time() - before, time.perf_counter() - began
    print(row("in process", f"{many} revocations read, every 5 s", cpu, wall))


async def _taken(what: str, times: int, tokens: itertools.cycle[str], system: IdentitySystem) -> str:
    before, began = time.process_time(), time.perf_counter()
    for _ in range(times):
        await system.authenticate(next(tokens))
    cpu, wall = time.process_time() - before, time.perf_counter() - began
    return row("in process", what, cpu / times, wall / times)


async def _prepared(server: Ours, uses: int) -> tuple[str, str, str]:
    """Return a refresh token, the secret of a client, and one for so many pilots."""
    installation = build(server.settings)
    identity = installation.identity
    units = DatabaseUnits(installation.database, IdentityUnit)
    try:
        await installation.begin()
        operator = await identity.authenticate(server.tokens["operator"])
        async with units.write() as unit:
            scope = Scope("astro", "astro_user")
            session = await identity.sessions.begin(unit, "astro", "alice", scope, _CLIENT)
        if isinstance(session, Exception):
            raise SystemExit(str(session))
        answer = await identity.sessions.answer(session)
        client = await identity.clients.register(operator, ClientRegistration("bench", "astro"))
        order = SecretOrder("DIRAC.Observatory.org", "ce01", "astro", uses=uses)
        (issued,) = await identity.issuing.issue(operator, order)
        return answer.refresh_token or "", client.client_secret or "", issued.pilot_secret
    finally:
        await installation.close()


def measure(server: Ours, engine: str, times: int) -> None:
    """Print the figures of one engine."""
    refresh, secret, pilot_secret = asyncio.run(_prepared(server, 100_000))
    basic = base64.b64encode(f"bench:{secret}".encode()).decode()
    number, user = itertools.count(), server.tokens["user"]

    def form(path: str, authorization: str = "", **fields: str) -> dict[str, str]:
        headers = {"Authorization": authorization} if authorization else {}
        answer = server.client.post(path, data=fields, headers=headers)
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code} {answer.text[:500]}")
        found: dict[str, str] = answer.json()
        return found

    def continued() -> None:
        nonlocal refresh
        wanted = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": _CLIENT}
        refresh = form("/api/auth/token", **wanted)["refresh_token"]

    def exchanged() -> None:
        subject = {"subject_token": user, "subject_token_type": ACCESS_TOKEN}
        form("/api/auth/token", grant_type=EXCHANGE_GRANT, client_id=_CLIENT, scope="vo:astro", **subject)

    def logged_in() -> None:
        login = {"pilot_stamp": f"bench-{next(number)}", "pilot_secret": pilot_secret, "vo": "astro"}
        if (answer := server.client.post("/api/pilots/token", json=login)).status_code != 200:
            raise SystemExit(answer.text[:500])

    shown = server.headers("user")
    known = shown | {"If-None-Match": server.client.get("/api/config/", headers=shown).headers["ETag"]}

    def unchanged() -> None:
        if (answer := server.client.get("/api/config/", headers=known)).status_code != 304:
            raise SystemExit(answer.text[:500])

    operations: dict[str, Callable[[], object]] = {
        "GET a route that anybody may call": lambda: server.client.get("/api/health/live"),
        "GET /api/auth/userinfo, a route that checks the token": lambda: server.send(
            "GET", "/api/auth/userinfo", b"", "user", 200
        ),
        "GET /api/config/ with a matching ETag": unchanged,
        "refresh": continued,
        "exchange of a token for less": exchanged,
        "introspection": lambda: form("/api/auth/introspect", f"Basic {basic}", token=user),
        "a client's own token": lambda: form(
            "/api/auth/token", f"Basic {basic}", grant_type="client_credentials"
        ),
        "login of a pilot with an issued secret": logged_in,
    }
    for what, operation in operations.items():
        cost = server.cost(operation, times, warm=20)
        print(row(engine, what, cost.cpu, cost.wall))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", default="sqlite,postgresql", help=f"some of {', '.join(ENGINES)}")
    parser.add_argument("--times", type=int, default=500, help="calls of each kind")
    given = parser.parse_args()
    print(HEAD)
    asyncio.run(_checks(given.times * 20))
    for engine in given.engines.split(","):
        with served(engine) as server:
            measure(server, engine, given.times)


if __name__ == "__main__":
    main()
