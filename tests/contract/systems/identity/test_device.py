"""Logins of devices without a browser (RFC 8628)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World


async def test_a_login_from_begin_to_end(world: World) -> None:
    flow = await world.device("vo:astro group:astro_admin")
    assert flow["verification_uri"] == "https://dirac.test/api/auth/device"
    assert flow["verification_uri_complete"].endswith(f"?user_code={flow['user_code']}")
    assert (flow["expires_in"], flow["interval"]) == (600, 2)
    pending = await world.redeem(flow)
    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    page = await world.http.get(flow["verification_uri_complete"])
    assert page.status_code == 200
    shown = f"{flow['user_code'][:4]}-{flow['user_code'][4:]}"
    assert all(text in page.text for text in (shown, "astro_admin", "myDIRACClientID"))
    confirmed = await world.confirm(flow["user_code"])
    assert confirmed.status_code == 303
    finished = await world.http.get(confirmed.headers["location"])
    assert "You are logged in" in finished.text
    answer = await world.redeem(flow)
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 1200)
    info = (await world.get("/api/auth/userinfo", tokens["access_token"])).json()
    assert info == {
        "sub": "astro:sub-ada",
        "vo": "astro",
        "dirac_group": "astro_admin",
        "policies": {},
        "properties": ["JobAdministrator", "NormalUser", "ProxyManagement"],
        "preferred_username": "ada",
    }
    assert "identity.login.confirmed" in await world.events("user", "sub-ada")


async def test_a_device_code_is_good_once(world: World) -> None:
    flow = await world.device()
    await world.confirm(flow["user_code"])
    assert (await world.redeem(flow)).status_code == 200
    again = await world.redeem(flow)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


async def test_parameters_may_be_in_the_form(world: World) -> None:
    answer = await world.http.post("/api/auth/device", data={"client_id": "dirac", "scope": "vo:bio"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"scope": "vo:astro"}, "invalid_request"),
        ({"client_id": "stranger", "scope": "vo:astro"}, "invalid_client"),
        ({"client_id": "dirac"}, "invalid_request"),
        ({"client_id": "dirac", "scope": "group:astro_user"}, "invalid_scope"),
        ({"client_id": "dirac", "scope": "vo:astro vo:bio"}, "invalid_scope"),
        ({"client_id": "dirac", "scope": "vo:nowhere"}, "invalid_scope"),
        ({"client_id": "dirac", "scope": "vo:ASTRO"}, "invalid_scope"),
        ({"client_id": "dirac", "scope": "vo:astro group:bio_user"}, "invalid_scope"),
        ({"client_id": "dirac", "scope": "vo:astro property:ServiceAdministrator"}, "invalid_scope"),
        ({"client_id": "dirac", "scope": "vo:astro openid"}, "invalid_scope"),
        ({"client_id": "dirac", "scope": "x" * 5000}, "invalid_request"),
    ],
)
async def test_what_cannot_be_granted_is_refused_at_once(
    world: World, parameters: dict[str, str], error: str
) -> None:
    answer = await world.http.post("/api/auth/device", data=parameters)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["detail"] == answer.json()["error_description"]


async def test_nul_and_files_in_a_form_are_refused(world: World) -> None:
    nul = await world.http.post("/api/auth/device", data={"client_id": "dirac", "scope": "vo:as\x00tro"})
    assert (nul.status_code, nul.json()["error"]) == (400, "invalid_request")
    file = await world.http.post("/api/auth/token", files={"grant_type": b"device"})
    assert (file.status_code, file.json()["error"]) == (400, "invalid_request")
    broken = await world.http.post(
        "/api/auth/token", content=b"rubbish", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert (broken.status_code, broken.json()["error"]) == (400, "invalid_request")


async def test_an_impatient_device_is_told_to_slow_down(world: World) -> None:
    flow = await world.device()
    assert (await world.redeem(flow)).json()["error"] == "authorization_pending"
    world.clock.advance(1)
    assert (await world.redeem(flow)).json()["error"] == "slow_down"
    world.clock.advance(3)
    assert (await world.redeem(flow)).json()["error"] == "slow_down", "the interval has grown by 5 seconds"
    world.clock.advance(12)
    assert (await world.redeem(flow)).json()["error"] == "authorization_pending"


async def test_a_login_expires(world: World) -> None:
    flow = await world.device()
    world.clock.advance(601)
    assert (await world.redeem(flow)).json()["error"] == "expired_token"
    late = await world.confirm(flow["user_code"])
    assert late.status_code == 404
    assert "start the login again" in late.text


async def test_a_login_can_be_refused(world: World) -> None:
    flow = await world.device()
    assert "refused" in (await world.confirm(flow["user_code"], decision="deny")).text
    assert (await world.redeem(flow)).json()["error"] == "access_denied"
    assert (await world.confirm(flow["user_code"])).status_code == 404


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"device_code": "unknown"}, "invalid_grant"),
    ],
)
async def test_a_device_code_that_is_none(world: World, form: dict[str, str], error: str) -> None:
    answer = await world.token(grant_type="urn:ietf:params:oauth:grant-type:device_code", **form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_a_device_code_is_good_for_its_client_only(world: World) -> None:
    flow = await world.device()
    await world.confirm(flow["user_code"])
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": flow["device_code"]}
    assert (await world.token(**form, client_id="dirac")).json()["error"] == "invalid_grant"
    assert (await world.token(**form, client_id="stranger")).json()["error"] == "invalid_client"
    assert (await world.redeem(flow)).status_code == 200


@pytest.mark.parametrize("form", [{}, {"grant_type": "password"}, {"grant_type": "implicit"}])
async def test_other_grants_are_refused(world: World, form: dict[str, str]) -> None:
    answer = await world.token(**form)
    assert answer.status_code == 400
    assert answer.json()["error"] == ("unsupported_grant_type" if form else "invalid_request")


async def test_a_wrong_password_shows_the_page_again(world: World) -> None:
    flow = await world.device()
    wrong = await world.confirm(flow["user_code"], "ada", "not the password")
    assert wrong.status_code == 401
    assert "password is wrong" in wrong.text
    assert 'value="ada"' in wrong.text
    unknown = await world.confirm(flow["user_code"], "nobody", "not the password")
    assert unknown.status_code == 401
    assert unknown.text.replace("nobody", "ada") == wrong.text, "who exists is not told"
    assert (await world.confirm(flow["user_code"])).status_code == 303


async def test_a_program_gets_errors_as_json(world: World) -> None:
    flow = await world.device()
    wrong = await world.http.post(
        "/api/auth/device/confirm",
        data={"user_code": flow["user_code"], "username": "ada", "password": "wrong"},
        headers={"Accept": "application/json"},
    )
    assert (wrong.status_code, wrong.json()["error"]) == (401, "unauthenticated")
    empty = await world.http.post(
        "/api/auth/device/confirm",
        data={"user_code": flow["user_code"]},
        headers={"Accept": "application/json"},
    )
    assert empty.status_code == 400
    assert "username" in empty.json()["detail"]


async def test_markup_in_a_name_is_shown_as_text(world: World) -> None:
    flow = await world.device()
    page = await world.confirm(flow["user_code"], '"><script>alert(1)</script>', "wrong")
    assert page.status_code == 401
    assert "<script" not in page.text


async def test_suspended_users_and_strangers_of_a_group_are_turned_away(world: World) -> None:
    flow = await world.device()
    suspended = await world.confirm(flow["user_code"], "sam", "password-sam")
    assert suspended.status_code == 403
    assert "suspended" in suspended.text
    flow = await world.device("vo:astro group:astro_admin")
    outsider = await world.confirm(flow["user_code"], "bob", "password-bob")
    assert outsider.status_code == 403
    flow = await world.device("vo:astro property:JobAdministrator")
    assert (await world.confirm(flow["user_code"], "bob", "password-bob")).status_code == 403


async def test_a_property_of_another_of_ones_groups_can_be_had(world: World) -> None:
    tokens = await world.login("vo:astro property:JobAdministrator")
    info = (await world.get("/api/auth/userinfo", tokens["access_token"])).json()
    assert info["properties"] == ["JobAdministrator", "NormalUser"]
    assert info["dirac_group"] == "astro_user"


async def test_a_user_who_is_suspended_between_confirmation_and_token_gets_none(world: World) -> None:
    flow = await world.device()
    await world.confirm(flow["user_code"])
    await world.register()
    answer = await world.redeem(flow)
    assert (answer.status_code, answer.json()["error"]) == (400, "access_denied")


async def test_guessing_passwords_is_slowed_down_for_that_user_only(world: World) -> None:
    flow = await world.device()
    for _ in range(10):
        assert (await world.confirm(flow["user_code"], "ada", "a guess")).status_code == 401
    refused = await world.confirm(flow["user_code"])
    assert refused.status_code == 429, "even the right one"
    assert "Try again in 5 seconds" in refused.text
    other = await world.device()
    assert (await world.confirm(other["user_code"], "bob", "password-bob")).status_code == 303
    world.clock.advance(6)
    assert (await world.confirm(flow["user_code"], "ada", "a guess")).status_code == 401
    world.clock.advance(6)
    assert (await world.confirm(flow["user_code"])).status_code == 429, "the wait doubles"
    world.clock.advance(6)
    assert (await world.confirm(flow["user_code"])).status_code == 303
    events = await world.events("user", "sub-ada")
    assert events.count("identity.login.refused") == 11


async def test_guesses_at_the_same_time_all_count(world: World) -> None:
    flow = await world.device()
    guesses = [world.confirm(flow["user_code"], "ada", f"guess {number}") for number in range(10)]
    assert {answer.status_code for answer in await asyncio.gather(*guesses)} == {401}
    assert (await world.confirm(flow["user_code"])).status_code == 429, "even the right one"


async def test_the_page_asks_for_a_code_that_is_missing_or_wrong(world: World) -> None:
    empty = await world.http.get("/api/auth/device")
    assert empty.status_code == 200
    assert 'name="user_code"' in empty.text
    wrong = await world.http.get("/api/auth/device", params={"user_code": "BCDF-GHJK"})
    assert wrong.status_code == 404
    flow = await world.device()
    typed = f" {flow['user_code'][:4].lower()}-{flow['user_code'][4:].lower()} "
    assert (await world.http.get("/api/auth/device", params={"user_code": typed})).status_code == 200


async def test_pages_cannot_be_framed_and_load_nothing(world: World) -> None:
    flow = await world.device()
    page = await world.http.get(flow["verification_uri_complete"])
    policy = page.headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "style-src 'sha256-"):
        assert part in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"


async def test_no_outside_provider_is_waited_for(world: World) -> None:
    for state in ("", "y", "A" * 43):
        answer = await world.http.get("/api/auth/device/complete", params={"code": "x", "state": state})
        assert answer.status_code == 404
