"""Revocation: tokens that are refused before their end, and who may have that done."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import event

from dirac.core.errors import UnavailableError
from dirac.systems.identity.logic.assembly import IdentitySystem
from dirac.systems.identity.models import RegisteredUser
from dirac.systems.identity.ports.pilots import PilotSecretRecord
from dirac.testing.faults import FailNth
from tests.contract.systems.identity.conftest import World

STAMP = "0123456789abcdef" * 2
_AFTER = 3  # seconds: a token of the same moment is refused as well, because clocks differ


async def _bearer(world: World, *, vo: str = "astro", group: str = "astro_admin") -> dict[str, str]:
    token = (await world.login(f"vo:{vo} group:{group}"))["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def operator(world: World) -> dict[str, str]:
    """Return the headers of the installation's operator."""
    token = await world.system.tokens.service_token(["ServiceAdministrator"], 60)
    return {"Authorization": f"Bearer {token}"}


async def _revoke(world: World, headers: dict[str, str], kind: str, name: str, **more: str) -> httpx.Response:
    order = {"kind": kind, "name": name, **more}
    return await world.http.post("/api/auth/revocations", json=order, headers=headers)


async def _good(system: IdentitySystem, *tokens: str) -> list[bool]:
    found = []
    async with World.client_of(system) as http:
        for token in tokens:
            answer = await http.get("/api/auth/userinfo", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code in (200, 401)
            found.append(answer.status_code == 200)
    return found


async def _pilot(world: World, stamp: str = STAMP, vo: str = "astro", site: str = "LCG.X.ch") -> str:
    return await world.system.tokens.pilot_token(stamp=stamp, vo=vo, seconds=86400, site=site)


async def _job(world: World, stamp: str = STAMP, owner_sub: str = "sub-ada", site: str = "LCG.X.ch") -> str:
    return await world.system.tokens.job_token(
        job_id=1,
        attempt=1,
        vo="astro",
        owner_sub=owner_sub,
        owner="ada",
        group="astro_user",
        stamp=stamp,
        seconds=86400,
        site=site,
    )


async def _secret(world: World, stamp: str, *, site: str = "LCG.X.ch", vo: str = "astro") -> None:
    async with world.units.write() as unit:
        digest = world.system.pilot_secrets.digest(stamp)
        ends = unit.now + timedelta(days=7)
        await unit.pilot_secrets.add_all([PilotSecretRecord(stamp, vo, digest, ends, site=site, ce="ce01")])


async def _login_of(world: World, stamp: str) -> int:
    login = {"pilot_stamp": stamp, "pilot_secret": world.system.pilot_secrets.secret(stamp), "vo": "astro"}
    return (await world.http.post("/api/pilots/token", json=login)).status_code


async def test_an_access_token_of_any_kind_can_be_revoked_by_its_bearer(world: World) -> None:
    user = (await world.login())["access_token"]
    tokens = [user, await _pilot(world), await _job(world)]
    other = await _pilot(world)
    for token in tokens:
        answer = await world.http.post("/api/auth/revoke", data={"token": token})
        assert (answer.status_code, answer.json()) == (200, "Refresh token revoked")
    assert await _good(world.system, *tokens, other) == [False, False, False, True]


async def test_with_a_session_end_its_access_tokens(world: World) -> None:
    first, other = await world.login(), await world.login()
    second = (await world.refresh(first["refresh_token"])).json()
    await world.http.post("/api/auth/revoke", data={"token": second["refresh_token"]})
    tokens = (first["access_token"], second["access_token"], other["access_token"])
    assert await _good(world.system, *tokens) == [False, False, True]


async def test_a_thief_of_a_refresh_token_keeps_no_access_token(world: World) -> None:
    stolen = await world.login()
    thiefs = (await world.refresh(stolen["refresh_token"])).json()
    world.clock.advance(31)
    await world.refresh(stolen["refresh_token"])
    world.clock.advance(5)
    assert await _good(world.system, thiefs["access_token"]) == [False]


async def test_other_processes_refuse_within_seconds(world: World) -> None:
    token, other = await _pilot(world), world.another_process(3)
    assert await _good(other, token) == [True]
    answer = await _revoke(world, await _bearer(world), "pilot", STAMP)
    assert answer.json()["within_seconds"] == 5
    assert await _good(world.system, token) == [False], "the one that was asked, at once"
    world.clock.advance(5)
    assert await _good(other, token) == [False]


async def test_a_check_asks_the_database_nothing(world: World) -> None:
    token = await _pilot(world)
    await world.system.authenticate(token)
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(world.database.engine.sync_engine, "before_cursor_execute", note)
    for _ in range(100):
        await world.system.authenticate(token)
    world.clock.advance(5)
    await world.system.authenticate(token)
    event.remove(world.database.engine.sync_engine, "before_cursor_execute", note)
    assert len([text for text in statements if "identity_revocation" in text]) == 1
    assert len([text for text in statements if "SELECT" in text]) == 1


async def test_a_pilot_with_its_payload(world: World) -> None:
    await _secret(world, STAMP)
    tokens = [
        await _pilot(world),
        await _job(world),
        await _pilot(world, "other"),
        await _job(world, "other"),
    ]
    answer = await _revoke(world, await _bearer(world), "pilot", STAMP)
    assert (answer.json()["secrets"], answer.json()["vo"]) == (1, "astro")
    assert await _good(world.system, *tokens) == [False, False, True, True]
    assert await _login_of(world, STAMP) == 401
    assert await world.events("pilot", STAMP) == ["identity.pilot.revoked"]


async def test_a_site_in_one_vo_and_in_all(world: World) -> None:
    await _secret(world, STAMP)
    await _secret(world, "elsewhere", site="LCG.Y.ch")
    node = await world.system.nodes.issue("LCG.X.ch", "ce01")
    tokens = [
        await _pilot(world),
        await _job(world),
        await _pilot(world, vo="bio"),
        await _pilot(world, site="LCG.Y.ch"),
    ]
    answer = await _revoke(world, await _bearer(world), "site", "LCG.X.ch")
    assert (answer.json()["secrets"], answer.json()["nodes"]) == (1, 0)
    assert await _good(world.system, *tokens) == [False, False, True, True]
    assert await _login_of(world, STAMP) == 401
    assert await _login_of(world, "elsewhere") == 200
    answer = await _revoke(world, await operator(world), "site", "LCG.X.ch")
    assert (answer.json()["vo"], answer.json()["nodes"]) == ("", 1)
    assert await _good(world.system, *tokens, node) == [False, False, False, True, False]


async def test_a_user_with_logins_and_running_jobs(world: World) -> None:
    bob, bio = await world.login(username="bob"), await world.login("vo:bio")
    ada = await world.login()
    headers = await _bearer(world)
    mine, others = await _job(world, owner_sub="sub-bob"), await _job(world)
    answer = await _revoke(world, headers, "user", "bob")
    assert (answer.json()["name"], answer.json()["sessions"]) == ("sub-bob", 1)
    tokens = (bob["access_token"], mine, others, ada["access_token"], bio["access_token"])
    assert await _good(world.system, *tokens) == [False, False, True, True, True]
    assert (await world.refresh(bob["refresh_token"])).json()["error"] == "invalid_grant"
    world.clock.advance(_AFTER)
    again = await world.login(username="bob")
    assert await _good(world.system, again["access_token"]) == [True], "nobody is shut out"


async def test_a_whole_vo(world: World) -> None:
    ada, bio = await world.login(), await world.login("vo:bio")
    await _secret(world, STAMP)
    tokens = [ada["access_token"], await _pilot(world), await _job(world), bio["access_token"]]
    answer = await _revoke(world, await operator(world), "vo", "astro")
    assert (answer.json()["sessions"], answer.json()["secrets"]) == (1, 1)
    assert await _good(world.system, *tokens) == [False, False, False, True]
    assert (await world.refresh(ada["refresh_token"])).status_code == 400
    assert await _login_of(world, STAMP) == 401


@pytest.mark.parametrize(
    ("kind", "name", "more", "status"),
    [
        ("vo", "bio", {}, 403),
        ("vo", "", {}, 422),
        ("user", "ada", {"vo": "bio"}, 403),
        ("site", "LCG.X.ch", {"vo": "bio"}, 403),
        ("pilot", "x", {"vo": "bio"}, 403),
        ("host", "x", {}, 422),
        ("vo", "astro", {"vo": "bio"}, 400),
        ("vo", "astro", {}, 200),
    ],
)
async def test_managers_revoke_in_their_own_vo(
    world: World, kind: str, name: str, more: dict[str, str], status: int
) -> None:
    theirs = (await world.login("vo:bio"))["access_token"]
    assert (await _revoke(world, await _bearer(world), kind, name, **more)).status_code == status
    assert await _good(world.system, theirs) == [True]


async def test_who_may_not_revoke(world: World) -> None:
    plain = await _bearer(world, group="astro_user")
    for headers in (plain, {"Authorization": f"Bearer {await _pilot(world)}"}):
        assert (await _revoke(world, headers, "pilot", STAMP)).status_code == 403
    assert (await _revoke(world, {}, "pilot", STAMP)).status_code == 401
    operators = await _revoke(world, await operator(world), "user", "ada")
    assert operators.status_code == 400, "of which VO?"


async def test_those_who_look_after_pilots_do_not_end_logins(world: World) -> None:
    astro = next(vo for vo in await world.system.registry.vos() if vo.name == "astro")
    groups = tuple(
        msgspec.structs.replace(group, properties=("Operator",)) if group.name == "astro_user" else group
        for group in astro.groups
    )
    await world.register(msgspec.structs.replace(astro, groups=groups))
    headers = await _bearer(world, group="astro_user")
    assert (await _revoke(world, headers, "site", "LCG.X.ch")).status_code == 200
    assert (await _revoke(world, headers, "user", "bob")).status_code == 403
    assert (await _revoke(world, headers, "vo", "astro")).status_code == 403


@pytest.mark.parametrize("gone", [True, False], ids=["removed", "suspended"])
async def test_the_tokens_of_who_is_shut_out_are_refused_within_seconds(world: World, gone: bool) -> None:
    bob, ada = await world.login(username="bob"), await world.login()
    run = await _job(world, owner_sub="sub-bob")
    assert await _good(world.system, bob["access_token"]) == [True]
    astro, bio = await world.system.registry.vos()
    others = tuple(user for user in astro.users if user.username != "bob")
    shut_out = () if gone else (RegisteredUser("bob", "sub-bob", ("astro_user",), suspended=True),)
    await world.register(msgspec.structs.replace(astro, users=(*others, *shut_out)), bio)
    world.clock.advance(5)
    tokens = (bob["access_token"], ada["access_token"], run)
    assert await _good(world.system, *tokens) == [False, True, True], "runs go on: they are killed, or end"
    await world.register(astro, bio)
    world.clock.advance(_AFTER)
    assert (await world.refresh(bob["refresh_token"])).status_code == 200, "let in again"


async def test_when_the_database_is_away_what_is_known_counts(world: World) -> None:
    revoked, good, faults = await _pilot(world), await _pilot(world, "other"), FailNth(world.database)
    await _revoke(world, await _bearer(world), "pilot", STAMP)
    assert await _good(world.system, revoked, good) == [False, True]
    world.clock.advance(5)
    with faults.failing(1):
        assert await _good(world.system, revoked, good) == [False, True]
    assert faults.fired
    fresh = world.another_process(4)
    with faults.failing(1), pytest.raises(UnavailableError):
        await fresh.authenticate(good)


async def test_a_revocation_that_fails_anywhere_changes_nothing_and_can_be_repeated(world: World) -> None:
    faults, number = FailNth(world.database), 0
    headers = await operator(world)
    for number in range(1, 40):
        await _secret(world, f"stamp{number}")
        login = await world.login()
        token = await _pilot(world, f"stamp{number}")
        world.system.revocations.expect()
        await world.system.authenticate(login["access_token"])
        with faults.failing(number):
            answer = await _revoke(world, headers, "vo", "astro")
        if not faults.fired:
            break
        assert answer.status_code == 503
        assert await _good(world.system, token, login["access_token"]) == [True, True]
        answer = await _revoke(world, headers, "vo", "astro")
        assert (answer.status_code, answer.json()["sessions"]) == (200, 1)
        assert await _good(world.system, token, login["access_token"]) == [False, False]
        world.clock.advance(_AFTER)
    assert number > 5, "revocation, sessions, secrets of two kinds, event, commit"


async def test_revocations_are_dropped_when_the_last_token_has_ended(world: World) -> None:
    await _revoke(world, await _bearer(world), "pilot", STAMP)
    world.clock.advance(14 * 86400 + 3700)
    await world.system.cleaning.clean()
    async with world.units.read() as unit:
        assert await unit.revocations.all(unit.now - timedelta(days=30)) == []
