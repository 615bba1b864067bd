"""Every route as every role, compared with the reviewed table; and tokens that no route may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from dirac.systems.identity.logic.rights import allows, used, with_properties
from dirac.systems.identity.models import Identity, Kind, Property
from dirac.systems.workload import policy as workload_policy
from dirac.systems.workload.policy import Visibility
from dirac.transport.routing import Allowed
from tests.acceptance.tokens import forge_all
from tests.contract.authorisation.matrix import (
    MEANINGS,
    TABLE,
    differences,
    guarded,
    login,
    observe,
    policy_of,
    read,
    routes,
)
from tests.contract.authorisation.roles import INSTALLATION, ROLES, VO_ADMINISTRATOR
from tests.contract.authorisation.world import World, living
from tests.loading import load

KINDS: tuple[Kind, ...] = ("user", "pilot", "job", "service", "node")


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One loop for the world, which is furnished once."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def world(loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The real application, with alice's job that runs."""
    context = living(tmp_path_factory.mktemp("state"))
    yield loop.run_until_complete(context.__aenter__())
    loop.run_until_complete(context.__aexit__(None, None, None))


def test_every_cell_is_as_reviewed(world: World, loop: asyncio.AbstractEventLoop) -> None:
    seen = {route: loop.run_until_complete(observe(world, route)) for route in guarded(world.app)}
    found = list(differences(read(TABLE.read_text("utf-8")), seen))
    assert not found, "\n".join(
        [
            "the application and the reviewed table differ:",
            *found,
            "See also: python -m tests.contract.authorisation",
        ]
    )


def test_a_route_without_a_row_is_named_with_the_row_to_add() -> None:
    seen = {"GET /api/new": dict.fromkeys(ROLES, "-")}
    (said,) = differences({}, seen)
    assert said.startswith("no row for GET /api/new; if this is right, add:\nGET /api/new ")
    assert read(f"route {' '.join(ROLES)}\n{said.splitlines()[1]}") == seen
    (said,) = differences(seen, {"GET /api/new": {**seen["GET /api/new"], "peer": "+"}})
    assert said == f"GET /api/new as peer: reviewed -, but it is + ({MEANINGS['+']})"


def test_no_route_takes_a_token_that_is_none(world: World, loop: asyncio.AbstractEventLoop) -> None:
    """Expired, of another issuer, for another audience, not signed, signed with the public key, ..."""
    forged = forge_all(world.installation.settings)

    async def accepted() -> list[str]:
        found = []
        for route in guarded(world.app):
            method, path = route.split()
            for name, token in forged.items():
                status = (await world.ask(method, path, token)).status_code
                if status != 401:
                    found.append(f"{route}, a token {name}: {status}")
        return found

    assert len(forged) > 12
    assert loop.run_until_complete(accepted()) == []


def test_a_suspended_user_has_no_token_and_gets_no_other(
    world: World, loop: asyncio.AbstractEventLoop
) -> None:
    async def refreshed(token: str) -> httpx.Response:
        form = {"grant_type": "refresh_token", "client_id": "dirac", "refresh_token": token}
        return await world.http.post("/api/auth/token", data=form)

    async def bob(given: dict[str, str]) -> int:
        asked = await world.ask("POST", "/api/jobs/search", given["access_token"], {"search": []})
        return asked.status_code

    async def answers() -> tuple[list[int], httpx.Response]:
        record = await login(world, "bio", "bob", "bio_user")
        given = (await refreshed(world.installation.identity.tokens.refresh_token(record))).json()
        before = await bob(given)
        tree = (await world.ask("GET", "/api/config/tree", world.tokens["service"])).json()["text"]
        suspended = tree.replace("      bob:\n", "      bob:\n        suspended: true\n").replace(
            "bob: {", "bob: {suspended: true, "
        )
        applied = await world.ask("POST", "/api/config/apply", world.tokens["service"], {"text": suspended})
        assert applied.json()["changes"], applied.text
        world.installation.identity.revocations.expect()  # or wait for `revocation_refresh_seconds`
        after = await bob(given)
        second = await refreshed(given["refresh_token"])
        await world.ask("POST", "/api/config/apply", world.tokens["service"], {"text": tree})
        return [before, after], second

    statuses, second = loop.run_until_complete(answers())
    assert statuses == [200, 401]
    assert second.status_code == 400
    assert "suspended" in second.text


def _policies(world: World) -> dict[str, Allowed]:
    found = {name: policy_of(route) for name, route in routes(world.app).items()}
    return {name: guard for name, guard in found.items() if isinstance(guard, Allowed)}


def person(kind: Kind = "user", vo: str = "astro", *properties: Property) -> Identity:
    """Return somebody."""
    return Identity(
        vo=vo,
        sub="somebody",
        username="somebody",
        group="group",
        properties=frozenset(map(str, properties)),
        kind=kind,
        token_id="token",
        expires=datetime(2027, 1, 1, tzinfo=UTC),
    )


def _identities() -> Iterator[Identity]:
    """Yield identities of every kind with every set of properties."""
    for kind in KINDS:
        for vo in ("", "astro"):
            somebody = person(kind, vo)
            for count in range(len(Property) + 1):
                for properties in combinations(Property, count):
                    yield with_properties(somebody, properties)


def test_removing_a_right_never_turns_a_refusal_into_an_answer(world: World) -> None:
    """All policies of all routes, all kinds of bearers, all sets of properties: each time one less."""
    policies = {guard.policy: name for name, guard in _policies(world).items()}
    assert len(policies) > 15
    allowed = {
        (policy, one.kind, one.vo, one.properties): allows(policy, one)
        for one in _identities()
        for policy in policies
    }
    wrong = [
        f"{policies[policy]}: {kind} of {vo!r} with {sorted(properties)}, but not with {name} as well"
        for (policy, kind, vo, properties), answer in allowed.items()
        for name in sorted(set(map(str, Property)) - properties)
        if answer and not allowed[policy, kind, vo, properties | {name}]
    ]
    assert wrong == []
    assert set(allowed.values()) == {True, False}


@pytest.mark.parametrize("reach", [workload_policy.readable, workload_policy.changeable])
def test_removing_a_right_never_shows_more(reach: Callable[[Identity], Visibility]) -> None:
    def wide(visible: Visibility) -> tuple[bool, bool]:
        return visible.vo is None, visible.owner_sub is None

    seen = {(one.kind, one.vo, one.properties): wide(reach(one)) for one in _identities()}
    for (kind, vo, properties), (all_vos, all_owners) in seen.items():
        for name in properties:
            less = seen[kind, vo, properties - {name}]
            assert less[0] <= all_vos, (kind, properties, name)
            assert less[1] <= all_owners, (kind, properties, name)


def test_the_committed_page_is_up_to_date() -> None:
    program = load("docs/developer/authorisation.py")
    committed = Path(program.PAGE).read_text("utf-8")
    assert committed == program.render(), "run python docs/developer/authorisation.py"


def test_the_page_names_every_route(world: World) -> None:
    page = (Path(__file__).parents[3] / "docs/operator/authorisation.md").read_text("utf-8")
    absent = [
        name
        for name, route in routes(world.app).items()
        if isinstance(route, APIRoute) and f"`{name}`" not in page
    ]
    assert absent == []


def test_the_properties_that_a_door_asked_for(world: World) -> None:
    root, ada = person("user", "astro", *INSTALLATION), person("user", "astro", *VO_ADMINISTRATOR)
    policies = _policies(world)
    assert used(policies["POST /api/config/apply"].policy, root) == ["ServiceAdministrator"]
    assert used(policies["POST /api/jobs/kill"].policy, ada) == ["JobAdministrator", "NormalUser"]
    assert used(policies["GET /api/auth/userinfo"].policy, root) == []
