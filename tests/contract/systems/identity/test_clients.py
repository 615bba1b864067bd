"""Confidential clients: registered, known again, removed; what they are told of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.contract.systems.identity.test_revocations import operator

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World

SCOPE_ERROR = (400, "invalid_scope")


async def register(world: World, **changes: Any) -> tuple[str, str]:
    """Register a client and return its name and secret."""
    wanted = {"client_id": "storage", "vo": "astro", "properties": ["NormalUser", "TrustedHost"], **changes}
    answer = await world.http.post("/api/auth/clients", json=wanted, headers=await operator(world))
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], answer.json()["client_secret"]


async def _grant(world: World, auth: tuple[str, str] | None = None, **form: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", **form}
    return await world.http.post("/api/auth/token", data=form, auth=auth or httpx.USE_CLIENT_DEFAULT)


async def _introspect(world: World, token: str, auth: tuple[str, str]) -> dict[str, Any]:
    answer = await world.http.post("/api/auth/introspect", data={"token": token}, auth=auth)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


async def test_a_client_gets_a_token_of_its_own(world: World) -> None:
    name, secret = await register(world)
    answer = await _grant(world, (name, secret))
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 3600
    assert answer.json()["scope"] == "vo:astro property:NormalUser property:TrustedHost"
    assert "refresh_token" not in answer.json()
    identity = await world.system.tokens.authenticate(answer.json()["access_token"])
    assert (identity.kind, identity.subject) == ("service", "astro:client:storage")
    in_form = await _grant(world, client_id=name, client_secret=secret, scope="vo:astro property:NormalUser")
    assert in_form.json()["scope"] == "vo:astro property:NormalUser"
    identity = await world.system.tokens.authenticate(in_form.json()["access_token"])
    assert identity.properties == {"NormalUser"}


@pytest.mark.parametrize("scope", ["property:JobAdministrator", "vo:bio", "group:astro_user", "x", "vo:"])
async def test_a_client_gets_no_more_than_it_may_have(world: World, scope: str) -> None:
    answer = await _grant(world, await register(world), scope=scope)
    assert (answer.status_code, answer.json()["error"]) == SCOPE_ERROR


async def test_only_a_digest_of_the_secret_is_kept(world: World) -> None:
    name, secret = await register(world)
    async with world.units.read() as unit:
        record = await unit.clients.find(name)
    assert record is not None
    assert secret not in str(record)
    listed = await world.http.get("/api/auth/clients", headers=await operator(world))
    assert [row["client_id"] for row in listed.json()] == [name]
    assert secret not in listed.text
    assert await world.events("client", name) == ["identity.client.registered"]


async def test_who_does_not_prove_who_it_is(world: World) -> None:
    name, secret = await register(world)
    for auth in ((name, "wrong"), ("nobody", secret), (name, secret.upper()), ("STORAGE", secret), ("", "")):
        answer = await _grant(world, auth)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic ")
    for form in ({}, {"client_id": name}, {"client_id": name, "client_secret": "x" * 5000}):
        answer = await _grant(world, **form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    twice = await _grant(world, (name, secret), client_id=name, client_secret=secret)
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")
    other = await _grant(world, (name, secret), client_id="dirac")
    assert (other.status_code, other.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic AAAA", "Basic //8=", "Basic é", "Bearer x"])
async def test_headers_that_say_nothing(world: World, header: str) -> None:
    await register(world)
    answer = await world.http.post(
        "/api/auth/token",
        data={"grant_type": "client_credentials"},
        headers={"Authorization": header.encode()},
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_id": "dirac"}, 409),
        ({"client_id": "storage"}, 409),
        ({"vo": "unknown"}, 400),
        ({"properties": ["ServiceAdministrator"]}, 400),
        ({"properties": ["Everything"]}, 422),
        ({"client_id": "two words"}, 422),
        ({"client_id": ""}, 422),
    ],
)
async def test_clients_that_cannot_be_registered(world: World, changes: dict[str, Any], status: int) -> None:
    await register(world)
    wanted = {"client_id": "another", "vo": "astro", "properties": [], **changes}
    answer = await world.http.post("/api/auth/clients", json=wanted, headers=await operator(world))
    assert answer.status_code == status


async def test_only_operators_register_clients(world: World) -> None:
    token = (await world.login("vo:astro group:astro_admin"))["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    wanted = {"client_id": "mine"}
    assert (await world.http.post("/api/auth/clients", json=wanted, headers=headers)).status_code == 403
    assert (await world.http.get("/api/auth/clients", headers=headers)).status_code == 403
    assert (await world.http.delete("/api/auth/clients/x", headers=headers)).status_code == 403


async def test_the_tokens_of_a_removed_client_are_refused(world: World) -> None:
    name, secret = await register(world)
    token = (await _grant(world, (name, secret))).json()["access_token"]
    assert (await world.get("/api/auth/userinfo", token)).status_code == 200
    removed = await world.http.delete(f"/api/auth/clients/{name}", headers=await operator(world))
    assert removed.status_code == 204
    assert (await world.get("/api/auth/userinfo", token)).status_code == 401
    assert (await _grant(world, (name, secret))).status_code == 401
    again = await world.http.delete(f"/api/auth/clients/{name}", headers=await operator(world))
    assert again.status_code == 404


async def test_introspection_tells_what_a_token_is_good_for(world: World) -> None:
    auth = await register(world)
    tokens = await world.login("vo:astro group:astro_admin property:NormalUser")
    found = await _introspect(world, tokens["access_token"], auth)
    now = int(world.clock.now().timestamp())
    assert found.pop("jti")
    assert found == {
        "active": True,
        "scope": "vo:astro group:astro_admin property:JobAdministrator property:NormalUser"
        " property:ProxyManagement",
        "username": "ada",
        "token_type": "Bearer",
        "exp": now + 1200,
        "iat": now,
        "nbf": now,
        "sub": "astro:sub-ada",
        "aud": "dirac",
        "iss": "https://dirac.test",
        "vo": "astro",
        "kind": "user",
        "dirac_group": "astro_admin",
        "dirac_properties": ["JobAdministrator", "NormalUser", "ProxyManagement"],
    }
    refresh = await _introspect(world, tokens["refresh_token"], auth)
    assert (refresh["active"], refresh["client_id"], refresh["exp"]) == (True, "myDIRACClientID", now + 43200)
    job = await world.system.tokens.job_token(
        job_id=7,
        attempt=2,
        vo="astro",
        owner_sub="sub-bob",
        owner="bob",
        group="g",
        stamp="p",
        seconds=60,
    )
    told = await _introspect(world, job, auth)
    assert (told["kind"], told["job_id"], told["attempt"], told["pilot_stamp"]) == ("job", 7, 2, "p")


async def test_introspection_says_no_more_than_inactive_of_the_others(world: World) -> None:
    auth = await register(world)
    bio, over = await world.login("vo:bio"), await world.login()
    for token in (bio["access_token"], bio["refresh_token"], "rubbish", "a.b.c", "é"):
        assert await _introspect(world, token, auth) == {"active": False}
    await world.http.post("/api/auth/revoke", data={"token": over["refresh_token"]})
    for token in (over["access_token"], over["refresh_token"]):
        assert await _introspect(world, token, auth) == {"active": False}
    old = (await world.login())["access_token"]
    world.clock.advance(1200)
    assert await _introspect(world, old, auth) == {"active": False}


async def test_introspection_is_for_clients_that_prove_who_they_are(world: World) -> None:
    name, _ = await register(world)
    token = (await world.login())["access_token"]
    for auth in ((name, "wrong"), None):
        answer = await world.http.post(
            "/api/auth/introspect", data={"token": token}, auth=auth or httpx.USE_CLIENT_DEFAULT
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    missing = await world.http.post(
        "/api/auth/introspect", data={}, auth=(await register(world, client_id="b"))
    )
    assert (missing.status_code, missing.json()["error"]) == (400, "invalid_request")


async def test_the_metadata_name_all_of_it(world: World) -> None:
    found = (await world.http.get("/.well-known/oauth-authorization-server")).json()
    assert found == (await world.http.get("/.well-known/openid-configuration")).json()
    assert found["introspection_endpoint"] == "https://dirac.test/api/auth/introspect"
    assert "client_secret_basic" in found["token_endpoint_auth_methods_supported"]
    for grant in found["grant_types_supported"]:
        answer = await world.http.post("/api/auth/token", data={"grant_type": grant})
        assert answer.json()["error"] != "unsupported_grant_type", grant
