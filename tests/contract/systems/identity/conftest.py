"""An installation with two VOs, behind its API, on each database."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI

from dirac.core.time import Clock
from dirac.db.engine import Database, DatabaseUnits
from dirac.resources.identity.outside import ProviderSettings
from dirac.resources.identity.password import PasswordProvider
from dirac.systems.identity.api import routers
from dirac.systems.identity.logic.assembly import IdentitySystem
from dirac.systems.identity.logic.provider_claims import LoginRules
from dirac.systems.identity.models import RegisteredGroup, RegisteredUser, RegisteredVO
from dirac.systems.identity.settings import IdentitySettings
from dirac.systems.identity.store import IdentityUnit
from dirac.testing.identity import FakeOutsideProvider
from dirac.testing.time import FakeClock, FakeEntropy
from dirac.transport.server import create_app

ISSUER = "https://dirac.test"
CLIENT = "myDIRACClientID"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REDIRECT = "http://localhost:8765/callback"
VERIFIER = "a-code-verifier-that-is-long-enough-for-anybody"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()

ASTRO = RegisteredVO(
    name="astro",
    default_group="astro_user",
    groups=(
        RegisteredGroup("astro_user", ("NormalUser",)),
        RegisteredGroup("astro_admin", ("JobAdministrator", "NormalUser", "ProxyManagement")),
    ),
    users=(
        RegisteredUser("ada", "sub-ada", ("astro_user", "astro_admin")),
        RegisteredUser("bob", "sub-bob", ("astro_user",)),
        RegisteredUser("sam", "sub-sam", ("astro_user",), suspended=True),
    ),
    support={"message": "Ask Ada", "webpage": None, "email": "ada@astro.test"},
)
BIO = RegisteredVO(
    name="bio",
    default_group="bio_user",
    groups=(RegisteredGroup("bio_user", ("NormalUser",)),),
    users=(RegisteredUser("ada", "sub-ada", ("bio_user",)),),
)


class World:
    """An installation and a client of its API."""

    def __init__(self, database: Database, clock: FakeClock, settings: IdentitySettings) -> None:
        self.clock = clock
        self.database = database
        self.settings = settings
        self.rules: dict[str, LoginRules] = {}
        self.outside: dict[str, FakeOutsideProvider] = {}
        self.units: DatabaseUnits[IdentityUnit] = DatabaseUnits(database, IdentityUnit)
        self.system = self.another_process()
        self.http = self.client_of(self.system)

    def another_process(self, entropy: int = 0, **changes: Any) -> IdentitySystem:
        """Return the identity system as another server process has it."""
        provider = PasswordProvider(memory=8)
        return IdentitySystem(
            units=self.units,
            clock=self.clock,
            entropy=FakeEntropy(entropy),
            settings=replace(self.settings, **changes),
            providers=lambda _name: provider,
            rules=self._rules_of,
            outside=self._outside,
        )

    async def _rules_of(self, vo: str) -> LoginRules:
        return self.rules.get(vo, LoginRules())

    def _outside(self, _name: str, settings: ProviderSettings, clock: Clock) -> FakeOutsideProvider:
        if settings.issuer not in self.outside:
            self.outside[settings.issuer] = FakeOutsideProvider(settings, clock)
        return self.outside[settings.issuer]

    @staticmethod
    def client_of(system: IdentitySystem) -> httpx.AsyncClient:
        """Return a client of the API of that process."""

        @asynccontextmanager
        async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
            yield

        app = create_app(
            routers,
            provided=system.provided(),
            authenticate=system.authenticate,
            lifespan=lifespan,
            version="0",
        )
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER)

    async def register(self, *vos: RegisteredVO) -> None:
        """Make these the VOs of the installation."""
        async with self.units.write() as unit:
            await self.system.registry.replace(unit, vos)

    async def device(self, scope: str = "vo:astro") -> dict[str, Any]:
        """Begin a login on a device."""
        answer = await self.http.post("/api/auth/device", params={"client_id": CLIENT, "scope": scope})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def confirm(
        self, user_code: str, username: str = "ada", password: str = "password-ada", **more: str
    ) -> httpx.Response:
        """Confirm it in a browser."""
        form = {"user_code": user_code, "username": username, "password": password}
        return await self.http.post("/api/auth/device/confirm", data={**form, **more})

    async def token(self, **form: str) -> httpx.Response:
        """Ask for tokens."""
        return await self.http.post("/api/auth/token", data={"client_id": CLIENT, **form})

    async def redeem(self, flow: dict[str, Any]) -> httpx.Response:
        """Ask for the tokens of a login on a device."""
        return await self.token(grant_type=DEVICE_GRANT, device_code=flow["device_code"])

    async def login(self, scope: str = "vo:astro", username: str = "ada") -> dict[str, Any]:
        """Log in on a device and return the tokens."""
        flow = await self.device(scope)
        confirmed = await self.confirm(flow["user_code"], username, f"password-{username}")
        assert confirmed.status_code == 303, confirmed.text
        answer = await self.redeem(flow)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def refresh(self, token: str, **more: str) -> httpx.Response:
        """Continue a session."""
        return await self.token(**{"grant_type": "refresh_token", "refresh_token": token, **more})

    async def get(self, path: str, token: str) -> httpx.Response:
        """Ask something as the bearer of a token."""
        return await self.http.get(path, headers={"Authorization": f"Bearer {token}"})

    def authorization(self, **changes: str) -> dict[str, str]:
        """Return the parameters of a request for a code."""
        return {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": REDIRECT,
            "scope": "vo:astro",
            "state": "a state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        } | changes

    async def code(self, **changes: str) -> str:
        """Log in in a browser and return the code that the program gets."""
        form = {**self.authorization(**changes), "username": "ada", "password": "password-ada"}
        confirmed = await self.http.post("/api/auth/authorize/confirm", data=form)
        assert confirmed.status_code == 303, confirmed.text
        sent_back = await self.http.get(confirmed.headers["location"])
        assert sent_back.status_code == 303, sent_back.text
        return query(sent_back)["code"]

    async def exchange(self, code: str, **changes: str) -> httpx.Response:
        """Exchange a code for tokens."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        return await self.token(**{**form, "code_verifier": VERIFIER, **changes})

    async def events(self, subject_kind: str, subject_id: str) -> list[str]:
        """Return what has happened to a thing."""
        async with self.units.read() as unit:
            return [event.kind for event in await unit.history(subject_kind, [subject_id])]


def query(answer: httpx.Response) -> dict[str, str]:
    """Return the parameters of the address that an answer sends the browser to."""
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


@pytest.fixture
def settings() -> IdentitySettings:
    """Settings of the installation."""
    return IdentitySettings(issuer=ISSUER, master_key=b"0123456789abcdef" * 2)


@pytest.fixture
async def world(database: Database, clock: FakeClock, settings: IdentitySettings) -> AsyncIterator[World]:
    """An installation with users and their passwords."""
    world = World(database, clock, settings)
    await world.system.keys.prepare()
    digests = {name: PasswordProvider(memory=8).keep(f"password-{name}") for name in ("ada", "bob", "sam")}
    async with world.units.write() as unit:
        await world.system.registry.replace(unit, (ASTRO, BIO))
        for vo in (ASTRO, BIO):
            for user in vo.users:
                await unit.passwords.put(vo.name, user.sub, digests[user.username], unit.now)
    async with world.http:
        yield world
