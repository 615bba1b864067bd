"""Logins of programs that have a browser (RFC 6749 with PKCE)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World

PATH = "/api/auth/authorize"


def _query(answer: httpx.Response) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


async def test_a_login_from_begin_to_end(world: World) -> None:
    page = await world.http.get(PATH, params=world.authorization())
    assert page.status_code == 200
    assert "form-action 'self' http://localhost:8765" in page.headers["content-security-policy"]
    answer = await world.exchange(await world.code())
    assert answer.status_code == 200
    info = await world.get("/api/auth/userinfo", answer.json()["access_token"])
    assert info.json()["sub"] == "astro:sub-ada"


async def test_the_program_gets_its_state_and_the_issuer_back(world: World) -> None:
    form = {**world.authorization(), "username": "ada", "password": "password-ada"}
    confirmed = await world.http.post(f"{PATH}/confirm", data=form)
    sent_back = await world.http.get(confirmed.headers["location"])
    assert sent_back.headers["location"].startswith("http://localhost:8765/callback?")
    assert _query(sent_back)["state"] == "a state"
    assert _query(sent_back)["iss"] == "https://dirac.test"
    forged = await world.http.get(f"{PATH}/complete", params={**_query(confirmed), "state": "another"})
    assert forged.status_code == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "stranger"},
        {"client_id": ""},
        {"redirect_uri": ""},
        {"redirect_uri": "https://evil.test/"},
        {"redirect_uri": "http://localhost.evil.test/"},
        {"redirect_uri": "http://localhost@evil.test/"},
        {"redirect_uri": "http://localhost:99999/"},
        {"redirect_uri": "https://localhost/"},
        {"redirect_uri": "http://127.0.0.1/#fragment"},
        {"redirect_uri": "http://[::1"},
        {"redirect_uri": "javascript:alert(1)"},
    ],
)
async def test_nobody_is_sent_where_they_must_not(world: World, changes: dict[str, str]) -> None:
    answer = await world.http.get(PATH, params=world.authorization(**changes))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    form = {**world.authorization(**changes), "username": "ada", "password": "password-ada"}
    assert (await world.http.post(f"{PATH}/confirm", data=form)).status_code == 400


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1234/a?b=c", "http://[::1]:1234/", "http://localhost/"])
async def test_loopback_addresses_are_allowed(world: World, uri: str) -> None:
    assert (await world.http.get(PATH, params=world.authorization(redirect_uri=uri))).status_code == 200


async def test_addresses_of_the_settings_are_allowed_and_loopback_can_be_forbidden(world: World) -> None:
    system = world.another_process(
        redirect_uris=frozenset({"https://portal.test/back"}), loopback_redirects=False
    )
    async with world.client_of(system) as http:
        listed = world.authorization(redirect_uri="https://portal.test/back")
        assert (await http.get(PATH, params=listed)).status_code == 200
        longer = world.authorization(redirect_uri="https://portal.test/back/more")
        assert (await http.get(PATH, params=longer)).status_code == 400
        assert (await http.get(PATH, params=world.authorization())).status_code == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"scope": "vo:nowhere"}, "invalid_scope"),
        ({"scope": ""}, "invalid_request"),
        ({"scope": 'vo:"é"'}, "invalid_scope"),
    ],
)
async def test_the_program_is_told_what_was_wrong(world: World, changes: dict[str, str], error: str) -> None:
    answer = await world.http.get(PATH, params=world.authorization(**changes))
    assert answer.status_code == 303
    assert _query(answer)["error"] == error
    assert _query(answer)["state"] == "a state"
    assert _query(answer)["error_description"].isascii()


async def test_a_user_can_refuse(world: World) -> None:
    form = {**world.authorization(), "decision": "deny"}
    answer = await world.http.post(f"{PATH}/confirm", data=form)
    assert _query(answer)["error"] == "access_denied"


async def test_a_wrong_password_shows_the_page_again(world: World) -> None:
    form = {**world.authorization(), "username": "ada", "password": "wrong"}
    answer = await world.http.post(f"{PATH}/confirm", data=form)
    assert answer.status_code == 401
    assert "a state" in answer.text
    form["username"] = ""
    assert (await world.http.post(f"{PATH}/confirm", data=form)).status_code == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "another-verifier-that-is-long-enough-for-anybody"}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"redirect_uri": "http://localhost:1/"}, "invalid_grant"),
        ({"client_id": "dirac"}, "invalid_grant"),
        ({"code": "unknown"}, "invalid_grant"),
        ({"code": ""}, "invalid_request"),
    ],
)
async def test_a_code_is_good_for_its_request_only(world: World, changes: dict[str, str], error: str) -> None:
    code = await world.code()
    answer = await world.exchange(**{"code": code, **changes})
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert (await world.exchange(code)).status_code == 200, "the right program still gets its tokens"


async def test_a_code_expires(world: World) -> None:
    code = await world.code()
    world.clock.advance(121)
    answer = await world.exchange(code)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_code_that_is_used_twice_ends_its_session(world: World) -> None:
    code = await world.code()
    tokens = (await world.exchange(code)).json()
    again = await world.exchange(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (await world.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert "identity.code.reused" in await world.events("user", "sub-ada")
