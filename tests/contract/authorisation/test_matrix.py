"""Every route as every role, compared with the reviewed table; and tokens that no route may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.routing import APIRoute

from dirac.systems.identity.logic.rights import allows, used, with_properties
from dirac.systems.identity.models import Identity, Kind, Place, Property
from dirac.systems.workload import policy as workload_policy
from dirac.systems.workload.policy import Visibility
from dirac.transport.routing import Allowed
from tests.contract.authorisation.matrix import (
    MEANINGS,
    STATES,
    TABLE,
    differences,
    observe_all,
    policy_of,
    read,
    routes,
)
from tests.contract.authorisation.roles import INSTALLATION, ROLES, VO_ADMINISTRATOR
from tests.contract.authorisation.states import observe_states
from tests.contract.authorisation.world import World
from tests.loading import load

KINDS: tuple[Kind, ...] = ("user", "pilot", "job", "service", "node")
_FEW = 3
PLACE = Place("DIRAC.Observatory.org", "farm")


@pytest.mark.parametrize(("table", "look"), [(TABLE, observe_all), (STATES, observe_states)])
def test_every_cell_is_as_reviewed(
    world: World, loop: asyncio.AbstractEventLoop, table: Path, look: Callable[[World], Any]
) -> None:
    seen = loop.run_until_complete(look(world))
    found = list(differences(read(table.read_text("utf-8")), seen, table))
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
    """Yield identities of every kind, with few properties and with nearly all: no rule asks for more."""
    sets = [set(few) for count in range(_FEW + 1) for few in combinations(Property, count)]
    for kind in KINDS:
        for vo in ("", "astro"):
            for properties in [*sets, *(set(Property) - few for few in sets)]:
                yield with_properties(person(kind, vo), properties)
            for properties in sets[: len(Property) + 1]:
                one = with_properties(person(kind, vo), properties)
                yield msgspec.structs.replace(one, manages=frozenset({PLACE}))


def test_removing_a_right_never_turns_a_refusal_into_an_answer(world: World) -> None:
    """All policies of all routes, all kinds of bearers, all sets of properties: each time one less."""
    policies = {guard.policy: name for name, guard in _policies(world).items()}
    assert len(policies) > 15
    allowed = {
        (policy, one.kind, one.vo, one.properties): allows(policy, one)
        for one in _identities()
        if not one.manages
        for policy in policies
    }
    for one in _identities():
        less = msgspec.structs.replace(one, manages=frozenset())
        for policy, name in policies.items():
            assert allows(policy, one) or not allows(policy, less), (name, one)
    wrong = [
        f"{policies[policy]}: {kind} of {vo!r} with {sorted(properties)}, but not with {name} as well"
        for (policy, kind, vo, properties), answer in allowed.items()
        for name in sorted(set(map(str, Property)) - properties)
        if answer and not allowed.get((policy, kind, vo, properties | {name}), True)
    ]
    assert wrong == []
    assert set(allowed.values()) == {True, False}


def test_a_limited_proxy_opens_no_door_that_a_full_one_does_not(world: World) -> None:
    policies = {guard.policy: name for name, guard in _policies(world).items()}
    for one in _identities():
        limited = msgspec.structs.replace(one, limited=True)
        for policy, name in policies.items():
            assert allows(policy, one) or not allows(policy, limited), (name, one)


def test_who_looks_after_less_sees_less() -> None:
    one = person("user", "astro", Property.NORMAL_USER)
    few, more = (
        frozenset({PLACE}),
        frozenset({PLACE, Place("DIRAC.Observatory.org"), Place("LCG.A.ch", "ce")}),
    )
    seen = [
        workload_policy.readable_pilots(msgspec.structs.replace(one, manages=each))
        for each in (frozenset(), few, more)
    ]
    assert [set(each.places) for each in seen] == [set(), few, more]
    assert {each.vo for each in seen} == {"astro"}
    for each in (few, more):
        manager = msgspec.structs.replace(one, manages=each)
        assert workload_policy.readable(manager) == workload_policy.readable(one), "not jobs"


@pytest.mark.parametrize("reach", [workload_policy.readable, workload_policy.changeable])
def test_removing_a_right_never_shows_more(reach: Callable[[Identity], Visibility]) -> None:
    def wide(visible: Visibility) -> tuple[bool, bool]:
        return visible.vo is None, visible.owner_sub is None

    seen = {(one.kind, one.vo, one.properties): wide(reach(one)) for one in _identities() if not one.manages}
    for (kind, vo, properties), (all_vos, all_owners) in seen.items():
        for name in properties:
            less = seen.get((kind, vo, properties - {name}), (False, False))
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
