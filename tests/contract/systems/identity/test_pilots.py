"""Pilots: a secret that is good once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from dirac.systems.identity.ports import PilotSecretRecord

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
