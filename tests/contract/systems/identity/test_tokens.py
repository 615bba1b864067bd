"""Tokens: who is let in, who is not, and how keys are replaced."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, OKPKey

from dirac.core.errors import UnauthenticatedError, UnavailableError
from dirac.systems.identity.logic.tokens import ALGORITHM

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World

DAY = 86400


def _parts(token: str) -> list[dict[str, Any]]:
    return [
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2]
    ]


def _encode(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_the_claims_of_a_users_token(world: World) -> None:
    token = (await world.login())["access_token"]
    header, claims = _parts(token)
    assert header["alg"] == "EdDSA"
    assert header["typ"] == "JWT"
    now = int(world.clock.now().timestamp())
    assert claims.pop("jti")[14] == "7"
    assert claims.pop("sid")[14] == "7"
    assert claims == {
        "iss": "https://dirac.test",
        "aud": "dirac",
        "sub": "astro:sub-ada",
        "iat": now,
        "nbf": now,
        "exp": now + 1200,
        "kind": "user",
        "vo": "astro",
        "dirac_group": "astro_user",
        "dirac_properties": ["NormalUser"],
        "preferred_username": "ada",
        "dirac_policies": {},
    }


async def test_anybody_can_verify_a_token_with_the_published_keys(world: World) -> None:
    token = (await world.login())["access_token"]
    published = (await world.http.get("/.well-known/jwks.json")).json()
    assert all(key["key_ops"] == ["verify"] and "d" not in key for key in published["keys"])
    (key,) = [OKPKey.import_key({k: key[k] for k in ("kty", "crv", "x")}) for key in published["keys"]]
    with pytest.warns(match="RFC 9864"):
        decoded = jwt.decode(token, key, algorithms=[ALGORITHM])
    assert decoded.claims["sub"] == "astro:sub-ada"


async def test_the_identity_of_each_kind(world: World) -> None:
    tokens = world.system.tokens
    pilot = await tokens.authenticate(await tokens.pilot_token(stamp="f" * 32, vo="astro", seconds=60))
    assert (pilot.kind, pilot.subject, pilot.stamp) == ("pilot", f"astro:pilot:{'f' * 32}", "f" * 32)
    assert pilot.properties == {"GenericPilot"}
    job = await tokens.authenticate(
        await tokens.job_token(
            job_id=12,
            attempt=3,
            vo="astro",
            owner_sub="sub-ada",
            owner="ada",
            group="astro_user",
            stamp="f" * 32,
            seconds=60,
        )
    )
    assert (job.kind, job.sub, job.job_id, job.attempt) == ("job", "job:12:3", 12, 3)
    assert (job.owner_sub, job.username, job.group) == ("sub-ada", "ada", "astro_user")
    assert job.properties == frozenset()
    service = await tokens.authenticate(await tokens.service_token(["ServiceAdministrator"], 60))
    assert (service.kind, service.vo, service.sub) == ("service", "", "installation")
    assert service.subject == ":installation"


async def test_no_token_lives_longer_than_any_may(world: World) -> None:
    tokens = world.system.tokens
    token = await tokens.pilot_token(stamp="a", vo="astro", seconds=10**9)
    identity = await tokens.authenticate(token)
    assert (identity.expires - world.clock.now()).total_seconds() == 14 * DAY


async def _refused(world: World, token: str) -> str:
    answer = await world.get("/api/auth/userinfo", token)
    assert answer.status_code == 401, token
    assert answer.headers["www-authenticate"] == "Bearer"
    return str(answer.json()["detail"])


async def test_an_expired_token_is_refused(world: World) -> None:
    token = (await world.login())["access_token"]
    world.clock.advance(1200)
    assert "expired" in await _refused(world, token)


async def test_a_token_that_was_good_is_refused_when_it_or_its_key_has_ended(world: World) -> None:
    token = (await world.login())["access_token"]
    for _ in range(2):
        assert (await world.get("/api/auth/userinfo", token)).status_code == 200
    world.clock.advance(1200)
    assert "expired" in await _refused(world, token)
    token = (await world.login())["access_token"]
    assert (await world.get("/api/auth/userinfo", token)).status_code == 200
    world.system.keys._keys.clear()  # as when it was dropped
    assert "not signed by this installation" in await _refused(world, token)


async def test_a_token_of_the_future_is_refused(world: World) -> None:
    token = (await world.login())["access_token"]
    world.clock.advance(-100)
    assert "not valid yet" in await _refused(world, token)


@pytest.mark.parametrize("changes", [{"issuer": "https://other.test"}, {"audience": "other"}])
async def test_a_token_for_another_service_is_refused(world: World, changes: dict[str, str]) -> None:
    other = world.another_process(1, **changes)
    await other.keys.prepare()
    token = await other.tokens.service_token([], 60)
    assert "another service" in await _refused(world, token)


async def test_garbage_and_forgeries_are_refused(world: World) -> None:
    token = (await world.login())["access_token"]
    header, claims = _parts(token)
    head, body, signature = token.split(".")
    forged = _encode({**claims, "dirac_properties": ["ServiceAdministrator"]})
    public = (await world.http.get("/.well-known/jwks.json")).json()["keys"][0]["x"]
    hmac_key = OctKey.import_key(base64.urlsafe_b64decode(public + "="))
    confused = jwt.encode({"alg": "HS256", "kid": header["kid"]}, claims, hmac_key)
    own_key = OKPKey.generate_key("Ed25519")
    tokens = [
        "rubbish",
        "..",
        "a.b.c",
        f"{head}.{body}.",
        f"{head}.{forged}.{signature}",
        f"{head}.{body}.{'A' * len(signature)}",
        f"{_encode({'alg': 'none'})}.{body}.",
        f"{_encode({**header, 'alg': 'none'})}.{body}.",
        f"{_encode({**header, 'alg': 'none'})}.{body}.{signature}",
        f"{_encode({**header, 'kid': 'unknown'})}.{body}.{signature}",
        f"{_encode({**header, 'kid': 5})}.{body}.{signature}",
        f"{_encode({**header, 'crit': ['x'], 'x': 1})}.{body}.{signature}",
        f"{_encode([])}.{body}.{signature}",  # type: ignore[arg-type]  # garbage on purpose
        confused,
        jwt.encode({"alg": "Ed25519", "kid": header["kid"]}, claims, own_key, algorithms=["Ed25519"]),
        "x" * 10_000,
    ]
    for garbage in tokens:
        await _refused(world, garbage)
    for scheme in ("", "Basic abc", "Bearer", "Bearer "):
        answer = await world.http.get("/api/auth/userinfo", headers={"Authorization": scheme})
        assert answer.status_code == 401
    latin = await world.http.get("/api/auth/userinfo", headers={b"Authorization": b"Bearer \xe9.\xe9.\xe9"})
    assert latin.status_code == 401
    assert (await world.get("/api/auth/userinfo", token)).status_code == 200


async def test_a_key_is_replaced_without_anybody_noticing(world: World) -> None:
    other = world.another_process(1)
    await other.keys.prepare()
    assert len(await other.keys.published()) == 1, "the first key is everybody's"
    old = (await world.login())["access_token"]
    assert await world.system.keys.rotate() is False
    world.clock.advance(31 * DAY)
    assert await world.system.keys.rotate() is True
    still_old = (await world.login())["access_token"]
    assert _parts(still_old)[0]["kid"] == _parts(old)[0]["kid"], "others must learn the new key first"
    assert len((await world.http.get("/.well-known/jwks.json")).json()["keys"]) == 2
    world.clock.advance(301)
    new = (await world.login())["access_token"]
    assert _parts(new)[0]["kid"] != _parts(old)[0]["kid"]
    assert (await other.tokens.authenticate(new)).username == "ada"
    assert (await other.tokens.authenticate(still_old)).username == "ada"
    world.clock.advance(16 * DAY)
    await world.system.keys.rotate()
    assert [key.kid for key in await other.keys.published()] == [_parts(new)[0]["kid"]]


async def test_another_process_meets_a_key_it_does_not_know(world: World) -> None:
    other = world.another_process(1)
    await other.keys.prepare()
    world.clock.advance(2)
    await world.system.keys.rotate(at_once=True)
    token = (await world.login())["access_token"]
    assert (await other.tokens.authenticate(token)).username == "ada"


async def test_a_key_that_another_master_key_sealed_is_not_trusted(world: World) -> None:
    stranger = world.another_process(1, master_key=b"another key of 32 bytes at least")
    with pytest.raises(UnavailableError):
        await stranger.tokens.service_token([], 60)
    await stranger.keys.prepare()
    token = await stranger.tokens.service_token(["ServiceAdministrator"], 60)
    world.clock.advance(61)
    await _refused(world, token)
    with pytest.raises(UnauthenticatedError):
        await stranger.tokens.authenticate((await world.login())["access_token"])


async def test_every_token_of_every_published_key_has_an_identifier(world: World) -> None:
    keys = KeySet.import_key_set((await world.http.get("/.well-known/jwks.json")).json())
    assert all(key.kid for key in keys.keys)
