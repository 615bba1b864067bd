"""The real application on SQLite, with what the requests of the matrix ask for."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from dirac.core.time import to_wire
from dirac.db.schema import migrate
from dirac.server.composition import Installation, build
from dirac.server.control import make_master_key
from dirac.server.schema import LOCATIONS
from dirac.server.serve import make_app
from dirac.server.settings import DatabaseSettings, Http, Settings
from dirac.transport.peer import PEER, Peer
from tests.contract.authorisation.grid import Grid
from tests.contract.authorisation.roles import FOREIGN, NODE_CE, OTHER, OWN, SITE, tokens

ISSUER = "http://localhost:8080"
ASTRO, BIO = "astro.yaml", "bio.yaml"
FILES = {
    ASTRO: """\
virtual_organisations:
  astro:
    default_group: astro_user
    groups:
      astro_user: {properties: [NormalUser]}
      astro_guest: {properties: []}
      astro_admin: {properties: [NormalUser, JobAdministrator, ProxyManagement, Operator, VOAdministrator]}
      astro_root: {properties: [ServiceAdministrator, CSAdministrator, Operator]}
    users:
      alice: {groups: [astro_user], dns: [/C=ch/O=DIRAC/CN=alice]}
      adam: {groups: [astro_user]}
      zoe: {groups: [astro_user]}
      eve: {groups: [astro_guest]}
      ada: {groups: [astro_admin]}
      root: {groups: [astro_root]}
""",
    BIO: """\
virtual_organisations:
  bio:
    default_group: bio_user
    groups:
      bio_user: {properties: [NormalUser]}
      bio_admin: {properties: [NormalUser, JobAdministrator, ProxyManagement, Operator, VOAdministrator]}
    users:
      bob: {groups: [bio_user]}
      ben: {groups: [bio_admin]}
      max: {groups: [bio_user]}
""",
    "installation.yaml": f"""\
hosts:
  machine: {{dn: /C=ch/O=DIRAC/CN=machine}}
  portal: {{dn: /C=ch/O=DIRAC/CN=portal, properties: [TrustedHost]}}
sites:
  {SITE}:
    virtual_organisations: [astro]
    managers: {{bio: {{users: [max]}}}}
    computing_elements:
      {NODE_CE}: {{type: node}}
""",
}
JDL = 'Executable = "/bin/true";'


class Shown:
    """The application behind connections on which certificates were shown: `x-chain` says which.

    Args:
        app: The application.
        chains: Chains by name, as the transport takes them from a connection.
    """

    def __init__(self, app: ASGIApp, chains: Mapping[str, tuple[bytes, ...]]) -> None:
        self._app = app
        self._chains = chains

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        name = dict(scope.get("headers", ())).get(b"x-chain", b"").decode()
        if name:
            scope = {**scope, "extensions": {PEER: Peer(self._chains[name])}}
        await self._app(scope, receive, send)


@dataclass
class World:
    """The application, its routes' callers, and what they ask for.

    Attributes:
        tokens: By role; those of certificates have none.
        headers: By role, what others send besides or instead.
        chains: By name, what is shown with the header `x-chain`.
    """

    installation: Installation
    app: FastAPI
    http: httpx.AsyncClient
    tokens: dict[str, str]
    values: dict[str, Any]
    grid: Grid
    chains: dict[str, tuple[bytes, ...]]
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)

    async def ask(
        self,
        method: str,
        path: str,
        token: str | None,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request with a token."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        content = b"" if body is None else json.dumps(body).encode()
        return await self.http.request(method, path, headers=sent, content=content, params=params)

    async def submit(self, number: int, jdl: str = JDL) -> list[int]:
        """Submit jobs of the owner."""
        answer = await self.ask("POST", "/api/jobs/jdl", self.tokens["owner"], [jdl] * number)
        assert answer.status_code == 201, answer.text
        return [job["JobID"] for job in answer.json()]

    async def match(self, pilot: str, **resource: Any) -> tuple[int, int]:
        """Have a pilot take a job; return its number and the attempt."""
        wanted = {"resource": {"site": SITE, **resource}, "request_id": f"{pilot}-{next(self.numbers)}"}
        answer = await self.ask("POST", "/api/jobs/match", self.tokens[pilot], wanted)
        assert answer.status_code == 200, answer.text
        job = answer.json()["job"]
        return job["job_id"], job["attempt"]


@asynccontextmanager
async def living(directory: Path, url: str | None = None) -> AsyncIterator[World]:
    """Make an installation with a job of alice that runs, and what else is asked for.

    Args:
        directory: Of its state.
        url: Its database, migrated and empty; a new SQLite one without.
    """
    grid = Grid(directory / "pki")
    settings = Settings(
        state=str(directory),
        database=DatabaseSettings(url=url),
        http=Http(tls_client_ca=str(grid.directory), vomsdir=str(grid.vomsdir)),
    )
    make_master_key(settings)
    installation = build(settings)
    app = make_app(installation)
    chains: dict[str, tuple[bytes, ...]] = {}
    transport = httpx.ASGITransport(Shown(app, chains), raise_app_exceptions=False)
    try:
        if url is None:
            await migrate(installation.database, LOCATIONS)
        await installation.begin()
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
            made = await tokens(installation, (1, 1), (2, 1))
            world = World(installation, app, client, made, {}, grid, chains)
            await _furnish(world)
            yield world
    finally:
        await installation.close()


async def _furnish(world: World) -> None:
    service = world.tokens["service"]
    request = {"files": FILES, "comment": "matrix"}
    applied = await world.ask("POST", "/api/config/apply", service, request)
    assert applied.status_code == 200, applied.text
    for stamp, vo in ((OWN, "astro"), (OTHER, "astro"), (FOREIGN, "bio")):
        pilot = {"pilot_stamp": stamp, "vo": vo, "grid_type": "test", "grid_site": SITE}
        answer = await world.ask("POST", "/api/pilots/", world.tokens["admin"], pilot)
        assert answer.status_code < 300, answer.text
    await world.submit(2)
    job, other = await world.match("pilot"), await world.match("pilot2")
    world.tokens = await tokens(world.installation, job, other)
    _certify(world)
    world.values = {"job_id": job[0]}
    info, pfn = await _upload(world)
    refusal = await world.ask("GET", "/api/tasks", world.tokens["owner"])
    refused = refusal.headers["x-request-id"]
    now = world.installation.database.clock.now()
    world.values = {
        "job_id": job[0],
        "now": to_wire(now),
        "soon": to_wire(now + timedelta(seconds=1)),
        "stamp": OWN,
        "site": SITE,
        "sandbox": info,
        "pfn": pfn,
        "sandbox_type": "output",
        "verb": "hold",
        "refused": refused,
        "request_id": refused,
        "kept": await _delegate(world, "astro_user"),
        "csr": world.grid.csr,
        "astro": f"{FILES[ASTRO]}    support: {{message: Ask}}\n",
    }


def _certify(world: World) -> None:
    """Have callers that show certificates."""
    grid = world.grid
    world.chains.update(
        alice=grid.shown("alice"),
        limited=grid.shown("alice", limited=True),
        machine=grid.shown("machine"),
        portal=grid.shown("portal"),
    )
    world.headers = {
        "cert": {"x-chain": "alice"},
        "limited": {"x-chain": "limited"},
        "host": {"x-chain": "machine"},
        "hostfor": {"x-chain": "portal", "X-DIRAC-Subject": grid.dn("alice")},
    }


async def asked_proxy(world: World, group: str | None = None) -> tuple[str, str]:
    """Have alice ask for a key; return the name of the request, and the proxy that answers it."""
    asked = (await world.ask("POST", "/api/proxies/requests", world.tokens["owner"])).json()
    return asked["proxy_id"], world.grid.signed("alice", asked["csr"], group)


async def _delegate(world: World, group: str) -> str:
    """Have alice leave a proxy with the server; return its name."""
    proxy_id, chain = await asked_proxy(world, group)
    path = f"/api/proxies/requests/{proxy_id}"
    answer = await world.ask("PUT", path, world.tokens["owner"], {"chain": chain})
    assert answer.is_success, answer.text
    return proxy_id


async def _upload(world: World) -> tuple[dict[str, Any], str]:
    """Upload an output of the run; return what was announced, and the name that it got."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("std.out"))
    content = file.getvalue()
    info = {"checksum": sha256(content).hexdigest(), "size": len(content), "format": "tar.gz"}
    info["checksum_algorithm"] = "sha256"
    announced = (await world.ask("POST", "/api/jobs/sandbox", world.tokens["job"], info)).json()
    sent = await world.http.post(announced["url"], data=announced["fields"], files={"file": content})
    assert sent.status_code == 204, sent.text
    path = f"/api/jobs/{world.values['job_id']}/sandbox/output"
    assigned = await world.ask("PATCH", path, world.tokens["job"], announced["pfn"])
    assert assigned.status_code < 300, assigned.text
    return info, announced["pfn"]
