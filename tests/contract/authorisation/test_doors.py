"""Who can do something: the answer, and that the application does as the answer says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.authorisation.roles import PEOPLE
from tests.contract.authorisation.world import World, living


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The real application, with alice's job that runs."""
    async with living(tmp_path) as world:
        yield world


async def who(world: World, role: str, verb: str, thing: str) -> Any:
    """Ask as somebody."""
    params = {"verb": verb, "object": thing}
    answer = await world.ask("GET", "/api/auth/who-can", world.tokens[role], params=params)
    return answer.json() if answer.is_success else answer.status_code


def named(found: Any) -> set[tuple[str, str]]:
    """Return VO and name of all that are named."""
    return {(one["vo"], user) for one in found["groups"] for user in one["users"]}


async def test_the_owner_and_the_administrators_can_kill_a_job(world: World) -> None:
    found = await who(world, "owner", "kill", f"job:{world.values['job_id']}")
    assert (found["verb"], found["request"]) == ("jobs_kill_jobs", "POST /api/jobs/kill")
    assert found["open_to"] == ["people with NormalUser or JobAdministrator"]
    assert named(found) == {("astro", "alice"), ("astro", "ada")}


@pytest.mark.parametrize("verb", ["kill", "hold", "delete", "reschedule"])
async def test_who_is_named_can_and_nobody_else(world: World, verb: str) -> None:
    (job,) = await world.submit(1)
    able = named(await who(world, "service", verb, f"job:{job}"))
    for role, (vo, name, *_) in PEOPLE.items():
        (job,) = await world.submit(1)
        answer = await world.ask("POST", f"/api/jobs/{verb}", world.tokens[role], {"job_ids": [job]})
        done = answer.is_success and bool(answer.json()["success"])
        assert done is ((vo, name) in able), role


async def test_an_administrator_is_told_of_all_vos_and_others_of_their_own(world: World) -> None:
    job = f"job:{world.values['job_id']}"
    everybody = named(await who(world, "service", "search", "job"))
    assert {vo for vo, _ in everybody} == {"astro", "bio"}
    assert {vo for vo, _ in named(await who(world, "other", "search", "job"))} == {"bio"}
    assert named(await who(world, "admin", "rollback", "configuration")) == {("astro", "root")}
    assert named(await who(world, "admin", "apply", "configuration")) == {
        *(("astro", "root"), ("astro", "ada")),
        ("bio", "ben"),
    }
    assert named(await who(world, "other", "rollback", "configuration")) == set()
    assert await who(world, "other", "kill", job) == 404, "what is foreign is not there"
    assert await who(world, "noright", "kill", job) == 403


async def test_a_pilot_belongs_to_a_vo(world: World) -> None:
    found = await who(world, "peer", "search", f"pilot:{world.values['stamp']}")
    assert named(found) == {("astro", name) for name in ("alice", "adam", "zoe", "ada", "root")}


@pytest.mark.parametrize(
    ("verb", "thing", "hint"),
    [
        ("explode", "job", "Verbs are:"),
        ("kill", "teapot", "Things are:"),
        ("apply", "configuration:3", "Leave out"),
        ("kill", "job:x", "whole number"),
    ],
)
async def test_a_question_that_makes_no_sense_is_told_what_does(
    world: World, verb: str, thing: str, hint: str
) -> None:
    params = {"verb": verb, "object": thing}
    answer = await world.ask("GET", "/api/auth/who-can", world.tokens["owner"], params=params)
    assert answer.status_code in (400, 422)
    assert hint in answer.json()["detail"]


async def test_what_is_open_says_so(world: World) -> None:
    found = await who(world, "owner", "ready", "health")
    assert found["open_to"] == ["everybody, without a token"]
