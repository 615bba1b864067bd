"""The real application on SQLite, with what the requests of the matrix ask for."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from dirac.core.time import to_wire
from dirac.db.schema import migrate
from dirac.server.composition import Installation, build
from dirac.server.control import make_master_key
from dirac.server.schema import LOCATIONS
from dirac.server.serve import make_app
from dirac.server.settings import DatabaseSettings, Settings
from tests.contract.authorisation.roles import NODE_CE, OTHER, OWN, SITE, tokens

ISSUER = "http://localhost:8080"
TREE = f"""\
virtual_organisations:
  astro:
    default_group: astro_user
    groups:
      astro_user: {{properties: [NormalUser]}}
      astro_guest: {{properties: []}}
      astro_admin: {{properties: [NormalUser, JobAdministrator, ProxyManagement, Operator]}}
      astro_root: {{properties: [ServiceAdministrator, CSAdministrator, Operator]}}
    users:
      alice: {{groups: [astro_user]}}
      adam: {{groups: [astro_user]}}
      eve: {{groups: [astro_guest]}}
      ada: {{groups: [astro_admin]}}
      root: {{groups: [astro_root]}}
  bio:
    default_group: bio_user
    groups:
      bio_user: {{properties: [NormalUser]}}
      bio_admin: {{properties: [NormalUser, JobAdministrator, ProxyManagement, Operator]}}
    users:
      bob: {{groups: [bio_user]}}
      ben: {{groups: [bio_admin]}}
sites:
  {SITE}:
    virtual_organisations: [astro]
    computing_elements:
      {NODE_CE}: {{type: node}}
"""
JDL = 'Executable = "/bin/true";'


@dataclass
class World:
    """The application, its routes' callers, and what they ask for."""

    installation: Installation
    app: FastAPI
    http: httpx.AsyncClient
    tokens: dict[str, str]
    values: dict[str, Any]

    async def ask(
        self,
        method: str,
        path: str,
        token: str | None,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        """Send a request with a token."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        content = b"" if body is None else json.dumps(body).encode()
        return await self.http.request(method, path, headers=headers, content=content, params=params)

    async def submit(self, count: int) -> list[int]:
        """Submit jobs of the owner."""
        answer = await self.ask("POST", "/api/jobs/jdl", self.tokens["owner"], [JDL] * count)
        assert answer.status_code == 201, answer.text
        return [job["JobID"] for job in answer.json()]

    async def match(self, pilot: str) -> tuple[int, int]:
        """Have a pilot take a job; return its number and the attempt."""
        wanted = {"resource": {"site": SITE}, "request_id": f"{pilot} first".replace(" ", "-")}
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
    settings = Settings(state=str(directory), database=DatabaseSettings(url=url))
    make_master_key(settings)
    installation = build(settings)
    app = make_app(installation)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        if url is None:
            await migrate(installation.database, LOCATIONS)
        await installation.begin()
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
            made = await tokens(installation, (1, 1), (2, 1))
            world = World(installation, app, client, made, {})
            await _furnish(world)
            yield world
    finally:
        await installation.close()


async def _furnish(world: World) -> None:
    applied = await world.ask("POST", "/api/config/apply", world.tokens["service"], {"text": TREE})
    assert applied.status_code == 200, applied.text
    for stamp in (OWN, OTHER):
        pilot = {"pilot_stamp": stamp, "vo": "astro", "grid_type": "test"}
        answer = await world.ask("POST", "/api/pilots/", world.tokens["admin"], pilot)
        assert answer.status_code < 300, answer.text
    await world.submit(2)
    job, other = await world.match("pilot"), await world.match("pilot2")
    world.tokens = await tokens(world.installation, job, other)
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
        "entry_id": "0198c0de7b1a7c3e9f00000000000001",
    }


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
