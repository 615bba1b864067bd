"""Clients that prove who they are with a key: private_key_jwt (RFC 7523)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from tests.contract.systems.identity.conftest import ISSUER
from tests.contract.systems.identity.test_revocations import operator

if TYPE_CHECKING:
    import httpx

    from tests.contract.systems.identity.conftest import World

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEYS: dict[str, Key] = {
    "ES256": ECKey.generate_key("P-256", {"kid": "es"}),
    "RS256": RSAKey.generate_key(2048, {"kid": "rs"}),
}
STRANGER = ECKey.generate_key("P-256", {"kid": "es"})


async def _registration(world: World, jwks: Any, **changes: Any) -> httpx.Response:
    wanted = {"client_id": "portal", "vo": "astro", "properties": ["NormalUser"], "jwks": jwks, **changes}
    return await world.http.post("/api/auth/clients", json=wanted, headers=await operator(world))


@pytest.fixture
async def portal(world: World) -> World:
    """Return an installation that knows a client by its keys."""
    public = [key.as_dict(private=False) for key in KEYS.values()]
    answer = await _registration(world, {"keys": public})
    assert answer.status_code == 201, answer.text
    assert "client_secret" not in answer.json()
    return world


def _claims(world: World, **changes: Any) -> dict[str, Any]:
    now = int(world.clock.now().timestamp())
    claims = {"iss": "portal", "sub": "portal", "aud": ISSUER, "exp": now + 60, "jti": "1"} | changes
    return {name: value for name, value in claims.items() if value is not None}


def _signed(world: World, key: Key = KEYS["ES256"], alg: str = "ES256", **changes: Any) -> str:
    header = {"alg": alg, "kid": key.kid}
    return jwt.encode(header, _claims(world, **changes), key, algorithms=[alg])


async def _shown(world: World, assertion: str, **more: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_assertion_type": TYPE, "client_assertion": assertion}
    return await world.http.post("/api/auth/token", data=form | more)


@pytest.mark.parametrize("name", list(KEYS))
async def test_a_client_is_known_by_each_of_its_keys(portal: World, name: str) -> None:
    answer = await _shown(portal, _signed(portal, KEYS[name], name), client_id="portal")
    assert answer.status_code == 200, answer.text
    identity = await portal.system.authenticate(answer.json()["access_token"])
    assert identity.subject == "astro:client:portal"


async def test_the_token_endpoint_may_be_the_audience_and_others_may_be_asked(portal: World) -> None:
    shown = {
        "client_assertion_type": TYPE,
        "client_assertion": _signed(portal, aud=[f"{ISSUER}/api/auth/token"]),
    }
    asked = await portal.http.post("/api/auth/introspect", data={"token": "x", **shown})
    assert (asked.status_code, asked.json()) == (200, {"active": False})


async def test_an_assertion_is_good_once_however_many_show_it_at_once(portal: World) -> None:
    assertion = _signed(portal)
    answers = await asyncio.gather(*(_shown(portal, assertion) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    assert (await _shown(portal, _signed(portal, jti="2"))).status_code == 200
    portal.clock.advance(3600 + 61)
    assert await portal.system.cleaning.clean() >= 2, "what was shown is forgotten when it is over"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"sub": "other"},
        {"aud": "https://elsewhere"},
        {"aud": [ISSUER, "https://elsewhere"]},
        {"aud": None},
        {"exp": None},
        {"exp": 1},
        {"exp": 4_000_000_000},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 256},
        {"nbf": 4_000_000_000},
        {"iat": 4_000_000_000},
    ],
)
async def test_what_an_assertion_has_to_say(portal: World, changes: dict[str, Any]) -> None:
    answer = await _shown(portal, _signed(portal, **changes))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text
    assert (await _shown(portal, _signed(portal))).status_code == 200, "nothing of it was noted"


async def test_keys_of_others_and_of_other_kinds_open_no_door(portal: World) -> None:
    public = OctKey.import_key(KEYS["RS256"].as_dict(private=False)["n"])
    confused = jwt.encode({"alg": "HS256", "kid": "rs"}, _claims(portal), public, algorithms=["HS256"])
    unsigned = f"eyJhbGciOiJub25lIn0.{_signed(portal).split('.')[1]}."
    for assertion in (_signed(portal, STRANGER), confused, unsigned, "x", "a.b.c", ".", "é.é.é"):
        answer = await _shown(portal, assertion)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), assertion


async def test_what_is_shown_is_one_thing(portal: World) -> None:
    two_ways = await _shown(portal, _signed(portal), client_secret="x", client_id="portal")
    assert (two_ways.status_code, two_ways.json()["error"]) == (400, "invalid_request")
    for more in ({"client_id": "dirac"}, {"client_assertion_type": "x"}, {"client_assertion": ""}):
        assert (await _shown(portal, _signed(portal), **more)).status_code == 401
    with_secret = {"grant_type": "client_credentials", "client_id": "portal", "client_secret": "x"}
    assert (await portal.http.post("/api/auth/token", data=with_secret)).status_code == 401


async def test_a_client_that_was_removed_is_not_known(portal: World) -> None:
    await portal.http.delete("/api/auth/clients/portal", headers=await operator(portal))
    assert (await _shown(portal, _signed(portal))).status_code == 401


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        {"keys": []},
        {"keys": [KEYS["ES256"].as_dict(private=True)]},
        {"keys": [{"kty": "oct", "k": "AAAA"}]},
        {"keys": [KEYS["ES256"].as_dict(private=False)] * 11},
        {"keys": [{"kty": "RSA", "n": "A" * 40_000, "e": "AQAB"}]},
        {"keys": ["x"]},
    ],
)
async def test_keys_that_are_of_no_use_are_refused(world: World, jwks: Any) -> None:
    answer = await _registration(world, jwks)
    assert answer.status_code == 400, answer.text
    assert (await world.http.get("/api/auth/clients", headers=await operator(world))).json() == []
