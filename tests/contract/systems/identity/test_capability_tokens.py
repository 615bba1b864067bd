"""Tokens for storage and computing elements: who gets them, and that others can verify them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jwt as pyjwt
import msgspec
import pytest
import scitokens
from joserfc import jwt
from joserfc.jwk import KeySet

from dirac.resources.identity.outside import ProviderSettings
from dirac.systems.identity.logic.capabilities import ANY_AUDIENCE, CapabilityRules
from dirac.systems.identity.logic.compact import decoded
from dirac.systems.identity.logic.discovery import EXCHANGE_GRANT
from dirac.systems.identity.logic.exchange import ACCESS_TOKEN
from dirac.systems.identity.logic.provider_claims import LoginRules
from tests.contract.systems.identity.conftest import ASTRO, BIO, ISSUER

if TYPE_CHECKING:
    import httpx

    from tests.contract.systems.identity.conftest import World

SE = "https://se.example.org"
RULES = CapabilityRules(
    audiences=(SE, ANY_AUDIENCE),
    groups={
        "astro_user": {
            "storage.read": ("/astro",),
            "storage.modify": ("/astro/user",),
            "compute.create": (),
        },
    },
    seconds=900,
)


@pytest.fixture
def grid(world: World) -> World:
    """Return an installation whose VO astro has tokens for elements."""
    world.rules["astro"] = LoginRules(capabilities=RULES)
    return world


async def _asked(grid: World, token: str, scope: str, **more: str) -> httpx.Response:
    form = {"subject_token": token, "subject_token_type": ACCESS_TOKEN, "scope": scope, "audience": SE}
    return await grid.token(grant_type=EXCHANGE_GRANT, **{**form, **more})


async def _given(grid: World, scope: str, **more: str) -> dict[str, Any]:
    answer = await _asked(grid, (await grid.login())["access_token"], scope, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _of_a_run(grid: World) -> str:
    return await grid.system.tokens.job_token(
        job_id=7,
        attempt=1,
        vo="astro",
        owner_sub="sub-ada",
        owner="ada",
        group="astro_user",
        stamp="s",
        seconds=86400,
    )


async def _claims(grid: World, token: str, vo: str = "astro") -> dict[str, Any]:
    """Verify a token with what the issuer publishes, and a library that is not ours."""
    issuer = (await grid.http.get(f"/vo/{vo}/.well-known/openid-configuration")).json()
    keys = KeySet.import_key_set((await grid.http.get(issuer["jwks_uri"])).json())
    found = jwt.decode(token, keys, algorithms=["ES256"])
    assert found.claims["iss"] == issuer["issuer"] == f"{ISSUER}/vo/{vo}"
    return dict(found.claims)


async def test_a_token_has_the_claims_of_the_profile(grid: World) -> None:
    given = await _given(grid, "storage.read:/astro/raw/ compute.create")
    assert given["expires_in"] == 900
    assert given["scope"] == "compute.create storage.read:/astro/raw"
    claims = await _claims(grid, given["access_token"])
    now = int(grid.clock.now().timestamp())
    assert claims.pop("jti")
    assert claims == {
        "wlcg.ver": "1.0",
        "iss": f"{ISSUER}/vo/astro",
        "sub": "sub-ada",
        "aud": SE,
        "iat": now,
        "nbf": now,
        "exp": now + 900,
        "scope": "compute.create storage.read:/astro/raw",
    }
    assert "identity.token.capability" in await grid.events("user", "sub-ada")


async def test_the_library_of_storage_elements_takes_it(grid: World) -> None:
    token = (await _given(grid, "storage.read:/astro/raw"))["access_token"]
    (key,) = (await grid.http.get("/vo/astro/.well-known/jwks.json")).json()["keys"]
    # PyJWT is what it verifies with; its clock is not ours.
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = pyjwt.decode(token, pyjwt.PyJWK(key), algorithms=["ES256"], audience=SE, options=options)
    shown = scitokens.SciToken()
    for name, value in (claims | {"iat": time.time(), "nbf": 0, "exp": time.time() + 900}).items():
        shown[name] = value
    door = scitokens.Enforcer(f"{ISSUER}/vo/astro", audience=SE)
    door.add_validator("wlcg.ver", lambda version: version == "1.0")  # it knows the claims of SciTokens only
    assert door.test(shown, "storage.read", "/astro/raw/file"), door.last_failure
    assert not door.test(shown, "storage.read", "/astro/other")
    assert not door.test(shown, "storage.modify", "/astro/raw/file")
    for issuer, audience in ((f"{ISSUER}/vo/bio", SE), (f"{ISSUER}/vo/astro", "https://other")):
        other = scitokens.Enforcer(issuer, audience=audience)
        other.add_validator("wlcg.ver", lambda _version: True)
        assert not other.test(shown, "storage.read", "/astro/raw/file")


async def test_groups_are_told_on_request(grid: World) -> None:
    claims = await _claims(grid, (await _given(grid, "wlcg.groups"))["access_token"])
    assert claims["wlcg.groups"] == ["/astro", "/astro/astro_user"]


@pytest.mark.parametrize(
    "scope",
    [
        "storage.read:/",
        "storage.read:/astronomy",
        "storage.read:/bio",
        "storage.create:/astro/raw",
        "storage.stage:/astro",
        "compute.cancel",
    ],
)
async def test_more_than_the_configuration_gives_is_refused(grid: World, scope: str) -> None:
    answer = await _asked(grid, (await grid.login())["access_token"], f"storage.read:/astro {scope}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope"), answer.text


_UNCLEAR = (
    *("", "astro", "/astro/../bio", "/astro//x", "/astro/./x"),
    *("/astro/%2e%2e/bio", "/astro/x\\..", "/astro/.."),
)


@pytest.mark.parametrize("path", _UNCLEAR)
async def test_paths_that_could_be_read_in_another_way_are_refused(grid: World, path: str) -> None:
    answer = await _asked(grid, (await grid.login())["access_token"], f"storage.read:{path}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope"), answer.text


async def test_what_may_change_may_create(grid: World) -> None:
    given = await _given(grid, "storage.create:/astro/user/ada")
    assert given["scope"] == "storage.create:/astro/user/ada"


@pytest.mark.parametrize(
    ("audience", "resource"), [("https://elsewhere", ""), ("", ""), (SE, ANY_AUDIENCE), ("dirac", "")]
)
async def test_other_audiences_get_none(grid: World, audience: str, resource: str) -> None:
    token = (await grid.login())["access_token"]
    answer = await _asked(grid, token, "storage.read:/astro", audience=audience, resource=resource)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target"), answer.text


async def test_resource_names_the_audience_as_well(grid: World) -> None:
    given = await _given(grid, "storage.read:/astro", audience="", resource=ANY_AUDIENCE)
    assert (await _claims(grid, given["access_token"]))["aud"] == ANY_AUDIENCE


async def test_groups_and_vos_without_rules_get_none(grid: World) -> None:
    admin = (await grid.login("vo:astro group:astro_admin"))["access_token"]
    assert (await _asked(grid, admin, "storage.read:/astro")).json()["error"] == "invalid_scope"
    other = (await grid.login("vo:bio"))["access_token"]
    assert (await _asked(grid, other, "storage.read:/astro")).json()["error"] == "invalid_target"
    assert (await grid.http.get("/vo/bio/.well-known/openid-configuration")).status_code == 404
    assert (await grid.http.get("/vo/bio/.well-known/jwks.json")).status_code == 404


async def test_who_has_left_the_group_gets_none(grid: World) -> None:
    token = (await grid.login())["access_token"]
    users = (msgspec.structs.replace(ASTRO.users[0], groups=("astro_admin",)), *ASTRO.users[1:])
    await grid.register(msgspec.structs.replace(ASTRO, users=users), BIO)
    answer = await _asked(grid, token, "storage.read:/astro")
    assert answer.status_code == 400, answer.text


async def test_a_run_gets_what_its_owner_may_and_pilots_get_none(grid: World) -> None:
    run = await _of_a_run(grid)
    answer = await _asked(grid, run, "storage.create:/astro/user/ada")
    assert (await _claims(grid, answer.json()["access_token"]))["sub"] == "sub-ada"
    assert (await _asked(grid, run, "wlcg.groups")).status_code == 400, "that is more than what it needs"
    pilot = await grid.system.tokens.pilot_token(stamp="s", vo="astro", seconds=600)
    assert (await _asked(grid, pilot, "storage.read:/astro")).status_code == 400


async def test_it_opens_no_door_here(grid: World) -> None:
    given = await _given(grid, "storage.read:/astro")
    assert (await grid.get("/api/auth/userinfo", given["access_token"])).status_code == 401
    again = await _asked(grid, given["access_token"], "storage.read:/astro")
    assert (again.status_code, again.json()["error"]) == (400, "invalid_request")
    keys = (await grid.http.get("/.well-known/jwks.json")).json()["keys"]
    assert {key["kty"] for key in keys} == {"OKP"}, "nor do ours open elements"


async def test_keys_change_with_those_of_the_installation(grid: World) -> None:
    before = (await _given(grid, "storage.read:/astro"))["access_token"]
    assert await grid.system.keys.rotate(at_once=True)
    after = (await _given(grid, "storage.read:/astro"))["access_token"]
    heads = [msgspec.json.decode(decoded(token.encode().partition(b".")[0])) for token in (before, after)]
    assert heads[0]["kid"] != heads[1]["kid"]
    for token in (before, after):
        await _claims(grid, token)


async def test_a_provider_that_issues_them_is_asked_once(grid: World) -> None:
    provider = ProviderSettings(issuer="https://iam.example.org", client_id="dirac")
    from_there = CapabilityRules(audiences=(SE,), groups=RULES.groups, from_provider=True)
    grid.rules["astro"] = LoginRules(provider=provider, capabilities=from_there, admits="declared")
    run = await _of_a_run(grid)
    first = (await _asked(grid, run, "storage.read:/astro")).json()
    assert first["access_token"] == f"1|storage.read:/astro|{SE}"
    grid.clock.advance(2600)
    again = (await _asked(grid, run, "storage.read:/astro")).json()
    assert (again["access_token"], again["expires_in"]) == (first["access_token"], 1000)
    other = (await _asked(grid, run, "storage.read:/astro/raw")).json()
    assert other["access_token"].startswith("2|")
    grid.clock.advance(200)
    renewed = (await _asked(grid, run, "storage.read:/astro")).json()
    assert renewed["access_token"].startswith("3|"), "it had less than a quarter of its life left"
    grid.outside[provider.issuer].away = True
    assert (await _asked(grid, run, "storage.read:/astro")).status_code == 200
    refused = await _asked(grid, run, "compute.create")
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
