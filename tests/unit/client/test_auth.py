from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from dirac.client import AsyncClient
from dirac.client.aio.tokens import FileTokens, MemoryTokens
from dirac.client.oauth import scope
from dirac.client.session import Login, Session
from dirac.core.errors import (
    DiracError,
    InvalidInputError,
    NotAllowedError,
    UnauthenticatedError,
    UnavailableError,
)
from dirac.systems.identity.models import DeviceFlow, PilotLogin, TokenResponse
from tests.unit.client.fakes import (
    SERVER,
    Fake,
    LeapingBlockingClock,
    LeapingClock,
    Script,
    names_in,
    refused,
)

FLOW = {
    "user_code": "ABCD-EFGH",
    "device_code": "device-secret",
    "verification_uri": f"{SERVER}/api/auth/device",
    "verification_uri_complete": f"{SERVER}/api/auth/device?user_code=ABCD-EFGH",
    "expires_in": 60,
    "interval": 2,
}
USER = {
    "sub": "astro:ada",
    "vo": "astro",
    "dirac_group": "users",
    "policies": {},
    "properties": ["NormalUser"],
    "preferred_username": "ada",
}
METADATA = {
    vo: {
        "groups": {"users": {"properties": ["NormalUser"]}},
        "default_group": "users",
        "support": {"message": "ask", "webpage": None, "email": None},
    }
    for vo in ("astro", "bio")
}


def tokens(number: int, seconds: int = 1200) -> dict[str, Any]:
    return {
        "access_token": f"access-{number}",
        "refresh_token": f"refresh-{number}",
        "expires_in": seconds,
        "token_type": "Bearer",
    }


def oauth(code: str) -> httpx.Response:
    return httpx.Response(400, json={"error": code, "error_description": f"because {code}", "detail": code})


def logged_in(fake: Fake, directory: Path, clock: LeapingClock | None = None, **options: Any) -> AsyncClient:
    """Make a client whose credentials come from a session."""
    session = Session(SERVER, directory / "credentials.json", **options)
    transport = httpx.MockTransport(fake.handle)
    return AsyncClient(session=session, clock=clock or LeapingClock(), transport=transport)


def form(request: httpx.Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


async def test_the_device_flow_from_its_code_to_the_kept_login(tmp_path: Path) -> None:
    pending = oauth("authorization_pending")
    fake = Fake(
        {
            "POST /api/auth/device": FLOW,
            "POST /api/auth/token": Script(pending, oauth("slow_down"), pending, tokens(1)),
            "GET /api/auth/userinfo": USER,
        }
    )
    clock, shown = LeapingClock(), list[DeviceFlow]()
    async with logged_in(fake, tmp_path, clock) as client:
        user = await client.auth.device_login("astro", "users", ["Operator"], show=shown.append)
        assert user.preferred_username == "ada"
        assert client.session is not None
        assert client.session.login() == Login(
            access_token="access-1",
            expires=clock.now() + timedelta(seconds=1200),
            refresh_token="refresh-1",
        )
        assert client.session.vo == "astro"
        assert await client.auth.access_token() == "access-1"
    query = parse_qs(urlsplit(str(fake.requests[0].url)).query)
    assert query == {"client_id": ["dirac"], "scope": ["vo:astro group:users property:Operator"]}
    assert shown[0].user_code == "ABCD-EFGH"
    assert clock.naps == [2, 2, 7, 7]
    assert form(fake.requests[1])["device_code"] == "device-secret"
    assert fake.requests[-1].headers["authorization"] == "Bearer access-1"


async def test_a_login_can_confirm_itself(tmp_path: Path) -> None:
    fake = Fake(
        {
            "POST /api/auth/device": FLOW,
            "POST /api/auth/device/confirm": httpx.Response(303, headers={"Location": "/finished"}),
            "POST /api/auth/token": tokens(1),
            "GET /api/auth/userinfo": USER,
        }
    )
    clock = LeapingClock()
    async with logged_in(fake, tmp_path, clock, default_vo="astro") as client:

        async def confirm(flow: DeviceFlow) -> None:
            await client.auth.confirm_device(flow.user_code, "ada", "pass word")

        await client.auth.device_login(show=lambda flow: None, confirm=confirm)
    assert form(fake.requests[1]) == {
        "user_code": "ABCD-EFGH",
        "username": "ada",
        "password": "pass word",
    }
    assert fake.requests[1].headers["accept"] == "application/json"
    assert sum(clock.naps) == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (oauth("access_denied"), NotAllowedError),
        (oauth("expired_token"), UnauthenticatedError),
        (oauth("invalid_grant"), UnauthenticatedError),
        (oauth("authorization_pending"), UnauthenticatedError),
        (oauth("invalid_client"), InvalidInputError),
        (refused(500), DiracError),
    ],
)
async def test_a_login_that_fails_keeps_nothing(tmp_path: Path, answer: Any, error: type[DiracError]) -> None:
    fake = Fake({"POST /api/auth/device": FLOW, "POST /api/auth/token": answer})
    async with logged_in(fake, tmp_path) as client:
        with pytest.raises(error):
            await client.auth.device_login("astro", show=lambda flow: None)
    assert names_in(tmp_path) == []


async def test_the_vo_is_taken_from_the_installation_if_it_has_but_one(tmp_path: Path) -> None:
    one = {"virtual_organizations": {"astro": METADATA["astro"]}}
    fake = Fake(
        {
            "GET /.well-known/dirac-metadata": one,
            "POST /api/auth/device": FLOW,
            "POST /api/auth/token": tokens(1),
            "GET /api/auth/userinfo": USER,
        }
    )
    async with logged_in(fake, tmp_path) as client:
        await client.auth.device_login(show=lambda flow: None)
        assert client.session is not None
        assert client.session.vo == "astro"
    fake.routes["GET /.well-known/dirac-metadata"] = {"virtual_organizations": METADATA}
    async with logged_in(fake, tmp_path / "new") as client:
        with pytest.raises(InvalidInputError, match="astro, bio"):
            await client.auth.device_login(show=lambda flow: None)


async def test_a_stale_login_is_renewed_and_shared(tmp_path: Path) -> None:
    fake = Fake({"GET /api/auth/userinfo": USER, "POST /api/auth/token": Script(tokens(2), tokens(3))})
    clock = LeapingClock()
    async with logged_in(fake, tmp_path, clock) as one, logged_in(fake, tmp_path, clock) as other:
        assert one.session is not None
        one.session.store("astro", Login(access_token="a", expires=clock.now(), refresh_token="refresh-1"))
        await one.auth.userinfo()
        await other.auth.userinfo()
    assert fake.seen == ["POST /api/auth/token", "GET /api/auth/userinfo", "GET /api/auth/userinfo"]
    assert form(fake.requests[0])["refresh_token"] == "refresh-1"
    assert {request.headers["authorization"] for request in fake.requests[1:]} == {"Bearer access-2"}


async def test_a_refresh_token_is_used_once_however_many_need_it(tmp_path: Path) -> None:
    fake = Fake({"GET /api/auth/userinfo": USER, "POST /api/auth/token": Script(tokens(2), refused(500))})
    clock = LeapingClock()
    clients = [logged_in(fake, tmp_path, clock) for _ in range(5)]
    session = clients[0].session
    assert session is not None
    session.store("astro", Login(access_token="a", expires=clock.now(), refresh_token="refresh-1"))
    users = await asyncio.gather(*(client.auth.userinfo() for client in clients))
    assert len(users) == 5
    assert fake.seen.count("POST /api/auth/token") == 1
    for client in clients:
        await client.aclose()


async def test_a_token_that_the_server_refuses_is_renewed(tmp_path: Path) -> None:
    def userinfo(request: httpx.Request) -> Any:
        return USER if request.headers["authorization"] == "Bearer access-2" else refused(401)

    fake = Fake({"GET /api/auth/userinfo": userinfo, "POST /api/auth/token": tokens(2)})
    clock = LeapingClock()
    async with logged_in(fake, tmp_path, clock) as client:
        assert client.session is not None
        good = clock.now() + timedelta(hours=1)
        client.session.store("astro", Login(access_token="a", expires=good, refresh_token="refresh-1"))
        await client.auth.userinfo()
    assert fake.seen.count("GET /api/auth/userinfo") == 2


async def test_a_login_that_is_over_is_forgotten_and_says_so(tmp_path: Path) -> None:
    fake = Fake({"POST /api/auth/token": oauth("invalid_grant")})
    clock = LeapingClock()
    async with logged_in(fake, tmp_path, clock) as client:
        session = client.session
        assert session is not None
        session.store("astro", Login(access_token="a", expires=clock.now(), refresh_token="r"))
        with pytest.raises(UnauthenticatedError, match="dirac login"):
            await client.auth.userinfo()
        assert session.login() is None
        session.store("astro", Login(access_token="a", expires=clock.now()))
        with pytest.raises(UnauthenticatedError, match="expired"):
            await client.auth.userinfo()


async def test_a_login_survives_a_server_that_is_away(tmp_path: Path) -> None:
    fake = Fake({"POST /api/auth/token": refused(503)})
    clock = LeapingClock()
    async with logged_in(fake, tmp_path, clock) as client:
        session = client.session
        assert session is not None
        session.store("astro", Login(access_token="a", expires=clock.now(), refresh_token="r"))
        with pytest.raises(UnavailableError):
            await client.auth.userinfo()
        assert session.login() is not None
        with session.locked() as mine:
            assert mine
        with session.locked(), pytest.raises(UnavailableError, match="lock"):
            await client.auth.userinfo()


async def test_logging_out_ends_the_login_here_and_there(tmp_path: Path) -> None:
    fake = Fake({"POST /api/auth/revoke": "Refresh token revoked"})
    async with logged_in(fake, tmp_path) as client:
        assert not await client.auth.logout()
        assert client.session is not None
        client.session.store(
            "astro", Login(access_token="a", expires=LeapingClock().now(), refresh_token="refresh-1")
        )
        assert await client.auth.logout()
        assert client.session.login() is None
        with pytest.raises(UnauthenticatedError):
            await client.auth.access_token()
    assert form(fake.requests[0])["token"] == "refresh-1"


async def test_a_token_file_wins_and_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    fake = Fake({"GET /api/auth/userinfo": Script(USER, refused(401), USER)})
    async with logged_in(fake, tmp_path, token_file=file) as client:
        with pytest.raises(InvalidInputError, match="token file"):
            await client.auth.userinfo()
        file.write_text("one\n")
        await client.auth.userinfo()
        with pytest.raises(UnauthenticatedError):
            await client.auth.userinfo()
        file.write_text("two\n")
        await client.auth.userinfo()
    assert [request.headers["authorization"] for request in fake.requests] == [
        "Bearer one",
        "Bearer one",
        "Bearer two",
    ]
    file.write_text("")
    with pytest.raises(InvalidInputError, match="empty"):
        await FileTokens(file).token()


async def test_a_login_in_memory_is_renewed_before_its_end() -> None:
    clock = LeapingClock()
    used: list[str] = []

    async def refresh(token: str) -> TokenResponse:
        used.append(token)
        return TokenResponse(access_token="new", expires_in=1200, token_type="Bearer")

    login = Login(access_token="old", expires=clock.now() + timedelta(seconds=60), refresh_token="r")
    source = MemoryTokens(login, refresh, clock)
    assert await source.token() == "old"
    clock.leap(40)
    assert await source.token() == "new"
    assert used == ["r"]
    # No refresh token came with the new one: the token is what there is.
    assert await source.renew("new") is None


async def test_the_other_calls(tmp_path: Path) -> None:
    listed = {
        "JTI": "j",
        "Status": "CREATED",
        "Scope": "vo:astro",
        "Sub": "astro:ada",
        "ClientID": "dirac",
        "Created": "2026-11-20T00:00:00Z",
        "Expires": "2026-11-21T00:00:00Z",
    }
    fake = Fake(
        {
            "GET /.well-known/jwks.json": {"keys": [{"kid": "k", "x": "x"}]},
            "GET /.well-known/security.txt": httpx.Response(200, text="Contact: x"),
            "GET /.well-known/dirac-metadata": {"virtual_organizations": METADATA},
            "GET /api/auth/refresh-tokens": [listed],
            "DELETE /api/auth/refresh-tokens/a/b": "ok",
            "POST /api/auth/token": tokens(1),
            "POST /api/pilots/token": tokens(2),
        }
    )
    async with fake.client() as client:
        assert (await client.auth.jwks()).keys[0].kid == "k"
        assert await client.auth.security_txt() == "Contact: x"
        assert sorted((await client.auth.metadata()).virtual_organizations) == ["astro", "bio"]
        assert [known.jti for known in await client.auth.refresh_tokens()] == ["j"]
        await client.auth.revoke_refresh_token("a/b")
        assert fake.requests[-1].url.raw_path == b"/api/auth/refresh-tokens/a%2Fb"
        got = await client.auth.exchange_code("c", verifier="v", redirect_uri="http://localhost/")
        assert got.access_token == "access-1"
        assert form(fake.requests[-1])["code_verifier"] == "v"
        given = await client.auth.capability_token(["storage.read:/a", "compute.read"], "https://se.test")
        assert given.access_token == "access-1"
        sent = form(fake.requests[-1])
        assert (sent["scope"], sent["audience"]) == ("storage.read:/a compute.read", "https://se.test")
        assert sent["subject_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
        login = PilotLogin(pilot_stamp="a1", pilot_secret="s", vo="astro")
        assert (await client.auth.pilot_token(login)).access_token == "access-2"
        assert "authorization" not in fake.requests[-1].headers
        address = client.auth.authorize_url(scopes=scope("astro"), challenge="c", redirect_uri="u", state="s")
        assert parse_qs(urlsplit(address).query)["code_challenge_method"] == ["S256"]
        with pytest.raises(InvalidInputError, match="fixed token"):
            await client.auth.logout()


def test_the_blocking_device_flow(tmp_path: Path) -> None:
    fake = Fake(
        {
            "POST /api/auth/device": FLOW,
            "POST /api/auth/token": Script(oauth("authorization_pending"), tokens(1)),
            "GET /api/auth/userinfo": USER,
        }
    )
    clock = LeapingBlockingClock()
    with fake.blocking(None, session=Session(SERVER, tmp_path / "c.json"), clock=clock) as client:
        user = client.auth.device_login("astro", show=lambda flow: None, confirm=lambda flow: None)
        assert user.vo == "astro"
        assert client.auth.access_token() == "access-1"
    assert clock.naps == [0, 2]
