"""Pilots: a secret that is good once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from dirac.systems.identity.models import RegisteredGroup, RegisteredUser
from dirac.systems.identity.ports.pilots import PilotSecretRecord
from dirac.testing.faults import FailNth
from tests.contract.systems.identity.test_revocations import operator

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World

STAMP = "0123456789abcdef" * 2


async def _add(world: World, *stamps: str) -> None:
    pilots = world.system.pilot_secrets
    async with world.units.write() as unit:
        expires = unit.now + timedelta(days=7)
        await unit.pilot_secrets.add_all(
            [PilotSecretRecord(stamp, "astro", pilots.digest(stamp), expires) for stamp in stamps]
        )


async def _exchange(world: World, stamp: str = STAMP, **changes: str) -> httpx.Response:
    secret = world.system.pilot_secrets.secret(stamp)
    login = {"pilot_stamp": stamp, "pilot_secret": secret, "vo": "astro"}
    return await world.http.post("/api/pilots/token", json={**login, **changes})


async def test_a_secret_is_exchanged_for_a_token(world: World) -> None:
    await _add(world, STAMP)
    answer = await _exchange(world)
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 86400
    assert "refresh_token" not in answer.json()
    identity = await world.system.tokens.authenticate(answer.json()["access_token"])
    assert (identity.kind, identity.vo, identity.stamp) == ("pilot", "astro", STAMP)
    assert await world.events("pilot", STAMP) == ["identity.pilot.login"]


async def test_a_lost_answer_is_given_again_but_not_later(world: World) -> None:
    await _add(world, STAMP)
    first = (await _exchange(world)).json()
    world.clock.advance(59)
    assert (await _exchange(world)).status_code == 200
    world.clock.advance(2)
    replayed = await _exchange(world)
    assert replayed.status_code == 401
    assert "used before" in replayed.json()["detail"]
    assert (await world.events("pilot", STAMP))[-1] == "identity.pilot.refused"
    assert (await world.system.tokens.authenticate(first["access_token"])).stamp == STAMP


async def test_pilots_that_start_at_the_same_time(world: World) -> None:
    stamps = [f"{number:032x}" for number in range(10)]
    await _add(world, *stamps)
    answers = await asyncio.gather(*(_exchange(world, stamp) for stamp in stamps for _ in range(2)))
    assert {answer.status_code for answer in answers} == {200}


async def test_adding_a_secret_again_changes_nothing(world: World) -> None:
    await _add(world, STAMP)
    await _exchange(world)
    world.clock.advance(61)
    async with world.units.write() as unit:
        digest = world.system.pilot_secrets.digest(STAMP)
        await unit.pilot_secrets.add(STAMP, "astro", digest, unit.now + timedelta(days=1))
    assert (await _exchange(world)).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [{"pilot_secret": "wrong"}, {"pilot_secret": ""}, {"vo": "bio"}, {"pilot_stamp": "unknown"}, {"vo": ""}],
)
async def test_what_does_not_fit_is_refused(world: World, changes: dict[str, str]) -> None:
    await _add(world, STAMP)
    assert (await _exchange(world, **changes)).status_code == 401
    assert (await _exchange(world)).status_code == 200, "the pilot itself can still log in"


async def test_a_secret_expires(world: World) -> None:
    await _add(world, STAMP)
    world.clock.advance(7 * 86400)
    assert (await _exchange(world)).status_code == 401
    world.clock.advance(3601)
    assert await world.system.cleaning.clean() == 1


async def test_the_secret_of_a_stamp_is_always_the_same(world: World) -> None:
    other = world.another_process(5)
    assert other.pilot_secrets.secret(STAMP) == world.system.pilot_secrets.secret(STAMP)
    assert other.pilot_secrets.secret("another") != other.pilot_secrets.secret(STAMP)


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"pilot_stamp": 1, "pilot_secret": "", "vo": ""}', b"x"])
async def test_what_is_no_login(world: World, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await world.http.post("/api/pilots/token", content=content, headers=headers)
    assert answer.status_code in (400, 422)


async def _issue(world: World, token: str = "", **changes: Any) -> httpx.Response:
    token = token or await world.system.tokens.service_token(["ServiceAdministrator"], 60)
    order = {"site": "LCG.X.ch", "ce": "ce01", "vo": "astro", **changes}
    headers = {"Authorization": f"Bearer {token}"}
    return await world.http.post("/api/pilots/secrets", json=order, headers=headers)


async def _with(world: World, secret: str, stamp: str, vo: str = "astro") -> httpx.Response:
    login = {"pilot_stamp": stamp, "pilot_secret": secret, "vo": vo}
    return await world.http.post("/api/pilots/token", json=login)


async def test_secrets_are_issued_in_bulk_and_each_is_good_for_so_many_pilots(world: World) -> None:
    answer = await _issue(world, count=3, uses=2)
    assert answer.status_code == 201
    first, second, third = answer.json()
    assert len({first["pilot_secret"], second["pilot_secret"], third["pilot_secret"]}) == 3
    assert (first["site"], first["ce"], first["uses"]) == ("LCG.X.ch", "ce01", 2)
    secret = first["pilot_secret"]
    for stamp in ("one", "two"):
        good = await _with(world, secret, stamp)
        assert good.status_code == 200, good.text
        identity = await world.system.tokens.authenticate(good.json()["access_token"])
        assert (identity.kind, identity.stamp, identity.site) == ("pilot", stamp, "LCG.X.ch")
    assert (await _with(world, secret, "three")).status_code == 401, "used up"
    assert (await _with(world, second["pilot_secret"], "three")).status_code == 200
    assert await world.events("pilot", "one") == ["identity.pilot.login"]


async def test_only_digests_of_issued_secrets_are_kept(world: World) -> None:
    secret = (await _issue(world)).json()[0]["pilot_secret"]
    async with world.units.read() as unit:
        (record,) = await unit.issued_secrets.good(None, None, unit.now)
    assert secret not in str(record)


async def test_a_pilot_that_repeats_its_login_uses_a_secret_once(world: World) -> None:
    secret = (await _issue(world, uses=2)).json()[0]["pilot_secret"]
    answers = await asyncio.gather(*(_with(world, secret, "one") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    world.clock.advance(59)
    assert (await _with(world, secret, "one")).status_code == 200
    world.clock.advance(2)
    assert (await _with(world, secret, "one")).status_code == 401
    assert (await _with(world, secret, "two")).status_code == 200


async def test_pilots_that_log_in_at_the_same_time_are_not_more_than_the_uses(world: World) -> None:
    secret = (await _issue(world, uses=3)).json()[0]["pilot_secret"]
    answers = await asyncio.gather(*(_with(world, secret, f"p{number}") for number in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [401] * 5


@pytest.mark.parametrize(
    ("stamp", "vo", "change"),
    [
        ("one", "bio", ""),
        ("", "astro", ""),
        ("a stamp", "astro", ""),
        ("x" * 33, "astro", ""),
        ("one", "astro", "x"),
        ("one", "astro", "."),
        ("one", "astro", "é"),
    ],
)
async def test_issued_secrets_that_do_not_fit(world: World, stamp: str, vo: str, change: str) -> None:
    secret = (await _issue(world)).json()[0]["pilot_secret"]
    answer = await _with(world, secret[: len(secret) - len(change)] + change, stamp, vo)
    assert answer.status_code == 401
    assert (await _with(world, secret, "one")).status_code == 200


async def test_an_issued_secret_does_not_open_another_pilots_door(world: World) -> None:
    await _add(world, STAMP)
    secret = (await _issue(world)).json()[0]["pilot_secret"]
    assert (await _with(world, secret, STAMP)).status_code == 401
    assert (await _exchange(world)).status_code == 200


async def test_an_issued_secret_expires_and_can_be_revoked(world: World) -> None:
    old, new = [row["pilot_secret"] for row in (await _issue(world, count=2, seconds=60)).json()]
    revoked = (await _issue(world)).json()[0]["pilot_secret"]
    assert (await _with(world, old, "one")).status_code == 200
    world.clock.advance(60)
    assert (await _with(world, new, "two")).status_code == 401
    headers = await operator(world)
    order = {"kind": "site", "name": "LCG.X.ch"}
    receipt = await world.http.post("/api/auth/revocations", json=order, headers=headers)
    assert receipt.json()["secrets"] == 1
    assert (await _with(world, revoked, "three")).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"vo": "unknown"}, 400),
        ({"vo": ""}, 400),
        ({"count": 0}, 422),
        ({"count": 1001}, 422),
        ({"uses": 0}, 422),
        ({"seconds": 10}, 422),
        ({"site": ""}, 422),
        ({"more": 1}, 422),
    ],
)
async def test_orders_of_secrets_that_are_refused(world: World, changes: dict[str, Any], status: int) -> None:
    assert (await _issue(world, **changes)).status_code == status


async def test_who_may_issue_secrets(world: World) -> None:
    astro, bio = await world.system.registry.vos()
    groups = (*astro.groups, RegisteredGroup("pilots", ("GenericPilot",)))
    users = (RegisteredUser("ada", "sub-ada", ("astro_user", "pilots")),)
    await world.register(msgspec.structs.replace(astro, groups=groups, users=users), bio)
    plain = (await world.login("vo:astro"))["access_token"]
    factory = (await world.login("vo:astro group:pilots"))["access_token"]
    assert (await _issue(world, plain)).status_code == 403
    assert (await _issue(world, factory, vo="bio")).status_code == 403
    assert (await _issue(world, factory, vo="")).json()[0]["vo"] == "astro"


async def test_a_login_with_an_issued_secret_that_fails_anywhere_can_be_repeated(world: World) -> None:
    faults, number = FailNth(world.database), 0
    secret = (await _issue(world, uses=100)).json()[0]["pilot_secret"]
    for lost in (False, True):
        for number in range(1, 40):
            with faults.failing(number, lost=lost):
                answer = await _with(world, secret, f"p{number}-{lost:d}")
            if not faults.fired:
                break
            assert answer.status_code == 503
            assert (await _with(world, secret, f"p{number}-{lost:d}")).status_code == 200
        assert number > 5, "two looks, the stamp, the use, the event, the commit"
    async with world.units.read() as unit:
        (record,) = await unit.issued_secrets.good(None, None, unit.now)
        pilots = await unit.pilot_secrets.held(None, None, unit.now, 1000)
    assert record.used == len(pilots), "no use was counted twice, and none was forgotten"


async def test_the_tree_of_who_holds_what(world: World) -> None:
    await world.login("vo:bio")
    manager = (await world.login("vo:astro group:astro_admin"))["access_token"]
    await _add(world, STAMP)
    secret = (await _issue(world, uses=5)).json()[0]["pilot_secret"]
    for stamp in ("one", "two"):
        await _with(world, secret, stamp)
        world.clock.advance(1)
    (astro,) = (await world.get("/api/auth/holders", manager)).json()["vos"]
    assert (astro["name"], [user["username"] for user in astro["users"]]) == ("astro", ["ada"])
    assert [session["scope"] for session in astro["users"][0]["sessions"]] == ["vo:astro group:astro_admin"]
    unknown, site = astro["sites"]
    assert (unknown["name"], unknown["unused"]) == ("", 1)
    assert (site["name"], site["logged_in"], site["issued"]) == ("LCG.X.ch", 2, 3)
    assert [pilot["stamp"] for pilot in site["pilots"]] == ["two", "one"]
    few = (await world.get("/api/auth/holders?limit=1&site=LCG.X.ch", manager)).json()
    assert few["complete"] is False
    assert [pilot["stamp"] for pilot in few["vos"][0]["sites"][0]["pilots"]] == ["two"]
    assert (await world.get("/api/auth/holders?vo=bio", manager)).status_code == 403
    token = await world.system.tokens.service_token(["ServiceAdministrator"], 60)
    everything = (await world.get("/api/auth/holders", token)).json()
    assert [vo["name"] for vo in everything["vos"]] == ["astro", "bio"]
    assert everything["complete"] is True
    assert (await world.get("/api/auth/holders", (await world.login())["access_token"])).status_code == 403


async def test_the_tree_costs_the_same_however_many_there_are(world: World) -> None:
    token = await world.system.tokens.service_token(["ServiceAdministrator"], 60)
    faults = FailNth(world.database)
    secret = (await _issue(world, uses=50)).json()[0]["pilot_secret"]
    counts = []
    for number in range(2):
        for each in range(20 * number + 1):
            await world.login(username="bob")
            await _with(world, secret, f"p{number}-{each}")
        with faults.failing(0):
            assert (await world.get("/api/auth/holders", token)).status_code == 200
        counts.append(faults.count)
    assert counts[0] == counts[1]
