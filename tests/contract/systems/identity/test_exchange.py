"""Token exchange: less than one has, and for whom a trusted service acts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from dirac.core.errors import UnauthenticatedError
from dirac.systems.identity.logic.discovery import EXCHANGE_GRANT
from dirac.systems.identity.logic.exchange import ACCESS_TOKEN, SUBJECT
from dirac.systems.identity.models import RegisteredUser
from dirac.testing.faults import FailNth
from tests.contract.systems.identity.test_clients import register

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World


async def _exchange(
    world: World, subject: str, auth: tuple[str, str] | None = None, **changes: str
) -> httpx.Response:
    form = {"subject_token": subject, "subject_token_type": ACCESS_TOKEN, "grant_type": EXCHANGE_GRANT}
    if auth is None:
        form["client_id"] = "myDIRACClientID"
    chosen = {key: value for key, value in {**form, **changes}.items() if value}
    return await world.http.post("/api/auth/token", data=chosen, auth=auth or httpx.USE_CLIENT_DEFAULT)


async def _admin(world: World) -> str:
    token: str = (await world.login("vo:astro group:astro_admin"))["access_token"]
    return token


def _error(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["error"]


async def test_a_token_for_less(world: World) -> None:
    answer = await _exchange(world, await _admin(world), scope="property:NormalUser")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["issued_token_type"], body["token_type"]) == (ACCESS_TOKEN, "Bearer")
    assert body["scope"] == "vo:astro group:astro_admin property:NormalUser"
    assert "refresh_token" not in body
    claims = await world.system.tokens.claims(body["access_token"])
    assert (claims.sub, claims.dirac_properties, claims.act) == ("astro:sub-ada", ["NormalUser"], None)
    nothing = await _exchange(world, await _admin(world), scope="vo:astro group:astro_admin")
    assert (await world.system.tokens.claims(nothing.json()["access_token"])).dirac_properties == []


async def test_without_a_scope_it_is_the_same_as_before_for_no_longer(world: World) -> None:
    subject = await _admin(world)
    world.clock.advance(1100)
    body = (await _exchange(world, subject)).json()
    assert body["expires_in"] == 100
    before, after = (
        await world.system.tokens.claims(subject),
        await world.system.tokens.claims(body["access_token"]),
    )
    assert (after.dirac_properties, after.exp, after.sid) == (before.dirac_properties, before.exp, before.sid)


@pytest.mark.parametrize(
    "scope",
    ["property:Operator", "vo:bio", "group:astro_user", "vo:astro property:ServiceAdministrator", ":"],
)
async def test_never_for_more(world: World, scope: str) -> None:
    assert _error(await _exchange(world, await _admin(world), scope=scope)) == (400, "invalid_scope")


async def test_what_was_given_up_does_not_come_back(world: World) -> None:
    less = (await _exchange(world, await _admin(world), scope="property:NormalUser")).json()["access_token"]
    assert _error(await _exchange(world, less, scope="property:JobAdministrator")) == (400, "invalid_scope")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token": "rubbish"}, "invalid_request"),
        ({"subject_token_type": ""}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"audience": "https://elsewhere.example"}, "invalid_target"),
        ({"resource": "https://dirac.test.elsewhere.example/"}, "invalid_target"),
        ({"client_id": "unknown"}, "invalid_client"),
        ({"client_id": ""}, "invalid_request"),
    ],
)
async def test_requests_that_are_refused(world: World, changes: dict[str, str], error: str) -> None:
    assert _error(await _exchange(world, await _admin(world), **changes)) == (400, error)


async def test_targets_that_are_ours(world: World) -> None:
    subject = await _admin(world)
    for changes in ({"audience": "dirac"}, {"resource": "https://dirac.test/api/jobs"}):
        assert (await _exchange(world, subject, **changes)).status_code == 200


async def test_what_is_not_exchanged(world: World) -> None:
    tokens = world.system.tokens
    login = await world.login()
    pilot = await tokens.pilot_token(stamp="p", vo="astro", seconds=600)
    for subject in (pilot, login["refresh_token"]):
        assert _error(await _exchange(world, subject)) == (400, "invalid_request")
    await world.http.post("/api/auth/revoke", data={"token": login["refresh_token"]})
    assert _error(await _exchange(world, login["access_token"])) == (400, "invalid_request")


@pytest.mark.parametrize(
    "user",
    [
        RegisteredUser("ada", "sub-ada", ("astro_user", "astro_admin"), suspended=True),
        RegisteredUser("ada", "sub-ada", ("astro_user",)),
    ],
    ids=["suspended", "out of the group"],
)
async def test_who_may_no_longer_cannot_exchange(world: World, user: RegisteredUser) -> None:
    subject = await _admin(world)
    vos = [vo for vo in await world.system.registry.vos() if vo.name == "astro"]
    await world.register(msgspec.structs.replace(vos[0], users=(user,)))
    assert _error(await _exchange(world, subject)) == (400, "invalid_request")


async def test_what_was_exchanged_ends_with_what_it_was_exchanged_for(world: World) -> None:
    login = await world.login("vo:astro group:astro_admin")
    first = (await _exchange(world, login["access_token"])).json()["access_token"]
    second = (await _exchange(world, first)).json()["access_token"]
    await world.http.post("/api/auth/revoke", data={"token": login["access_token"]})
    for token in (login["access_token"], first, second):
        with pytest.raises(UnauthenticatedError, match="revoked"):
            await world.system.tokens.authenticate(token)
    assert (await world.refresh(login["refresh_token"])).status_code == 200, "the session goes on"


async def test_a_trusted_service_acts_for_a_user(world: World) -> None:
    client = await register(world)
    answer = await _exchange(
        world, "astro:sub-ada", client, subject_token_type=SUBJECT, scope="vo:astro group:astro_admin"
    )
    assert answer.status_code == 200, answer.text
    claims = await world.system.tokens.claims(answer.json()["access_token"])
    assert (claims.sub, claims.kind, claims.client_id) == ("astro:sub-ada", "user", "storage")
    assert claims.act == {"sub": "astro:client:storage"}
    assert claims.dirac_properties == ["JobAdministrator", "NormalUser"], "not what manages others' tokens"
    assert answer.json()["scope"].endswith("property:JobAdministrator property:NormalUser")
    assert "identity.token.exchanged" in await world.events("user", "sub-ada")


@pytest.mark.parametrize(
    ("subject", "changes", "error"),
    [
        ("astro:sub-sam", {}, "invalid_request"),
        ("astro:nobody", {}, "invalid_request"),
        ("bio:sub-ada", {}, "invalid_request"),
        ("nonsense", {}, "invalid_request"),
        ("astro:sub-bob", {"scope": "vo:astro group:astro_admin"}, "invalid_request"),
        ("astro:sub-bob", {"scope": "vo:bio"}, "invalid_scope"),
        ("astro:sub-bob", {"scope": "vo:astro property:Nonsense"}, "invalid_scope"),
    ],
)
async def test_a_trusted_service_acts_for_nobody_else(
    world: World, subject: str, changes: dict[str, str], error: str
) -> None:
    client = await register(world)
    answer = await _exchange(world, subject, client, subject_token_type=SUBJECT, **changes)
    assert _error(answer) == (400, error)


async def test_services_that_are_not_trusted_act_for_nobody(world: World) -> None:
    plain = await register(world, client_id="plain", properties=["NormalUser"])
    for auth in (plain, None):
        answer = await _exchange(world, "astro:sub-ada", auth, subject_token_type=SUBJECT)
        assert _error(answer) == (400, "unauthorized_client")


async def test_a_client_that_exchanges_a_users_token_is_named_in_it(world: World) -> None:
    bio = await register(world, client_id="bio", vo="bio")
    assert _error(await _exchange(world, await _admin(world), bio)) == (400, "invalid_request")
    body = (await _exchange(world, await _admin(world), await register(world))).json()
    first = await world.system.tokens.claims(body["access_token"])
    assert (first.act, first.client_id) == ({"sub": "astro:client:storage"}, "storage")
    installation = await register(world, client_id="relay", vo="")
    second = (await _exchange(world, body["access_token"], installation)).json()["access_token"]
    chain = (await world.system.tokens.claims(second)).act
    assert chain == {"sub": ":client:relay", "act": {"sub": "astro:client:storage"}}


async def test_an_exchange_that_fails_anywhere_can_be_repeated(world: World) -> None:
    client, faults = await register(world), FailNth(world.database)
    subject, number = await _admin(world), 0
    cases: list[tuple[str, tuple[str, str] | None, dict[str, str]]] = [
        (subject, None, {}),
        ("astro:sub-ada", client, {"subject_token_type": SUBJECT}),
    ]
    for who, auth, changes in cases:
        for number in range(1, 30):
            with faults.failing(number):
                answer = await _exchange(world, who, auth, **changes)
            if not faults.fired:
                break
            assert _error(answer) == (503, "temporarily_unavailable")
            assert (await _exchange(world, who, auth, **changes)).status_code == 200
        assert number > 2, "a statement and a commit at least"
        assert answer.status_code == 200
