"""Who looks after a site, or a computing element: what they see and may do there, on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from dirac.db.engine import DatabaseUnits
from dirac.systems.identity.ports.pilots import PilotSecretRecord
from dirac.systems.identity.store import IdentityUnit
from tests.contract.authorisation.roles import FOREIGN, NODE_CE, OTHER, OWN, SITE
from tests.contract.authorisation.test_doors import named, who
from tests.contract.authorisation.world import World, living

FILE = "installation.yaml"
ELSEWHERE = "LCG.Elsewhere.ch"


@pytest.fixture
async def world(migrated_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """The real application; max of bio looks after the site, which bio may not use."""
    async with living(tmp_path, migrated_url) as world:
        pilot = {"pilot_stamp": "elsewhere", "vo": "astro", "grid_site": ELSEWHERE}
        farmed = {**pilot, "pilot_stamp": "farmed", "grid_site": SITE, "destination_site": NODE_CE}
        for each in (pilot, farmed):
            assert (await world.ask("POST", "/api/pilots/", world.tokens["admin"], each)).is_success
        yield world


async def manage(world: World, managers: str, place: str = "    virtual_organisations: [astro]\n") -> None:
    """Change who looks after the site or, with another place, after what is there."""
    old = (await world.ask("GET", "/api/config/files?name=installation.yaml", world.tokens["service"])).json()
    text = old["files"][0]["text"].replace("    managers: {bio: {users: [max]}}\n", "")
    request = {"files": {FILE: text.replace(place, place + managers)}}
    applied = await world.ask("POST", "/api/config/apply", world.tokens["service"], request)
    assert applied.json()["changes"], applied.text


async def pilots(world: World, role: str = "manager") -> set[str]:
    """Return the pilots that somebody sees."""
    found = await world.ask("POST", "/api/pilots/search", world.tokens[role], {"search": []})
    return {row["PilotStamp"] for row in found.json()}


async def revoke(world: World, kind: str, name: str, role: str = "manager", **more: str) -> httpx.Response:
    """Revoke something."""
    order = {"kind": kind, "name": name, **more}
    return await world.ask("POST", "/api/auth/revocations", world.tokens[role], order)


async def status(world: World, token: str) -> int:
    """Return what a token gets."""
    return (await world.ask("GET", "/api/auth/userinfo", token)).status_code


async def secret(world: World, stamp: str, site: str, ce: str = NODE_CE) -> None:
    """Have a secret for a pilot, which was used."""
    async with DatabaseUnits(world.installation.database, IdentityUnit).write() as unit:
        ends = unit.now + timedelta(days=1)
        await unit.pilot_secrets.add_all(
            [PilotSecretRecord(stamp, "astro", "x" * 64, ends, used=unit.now, site=site, ce=ce)]
        )


async def test_who_looks_after_a_site_sees_all_pilots_there_and_no_others(world: World) -> None:
    assert await pilots(world) == {OWN, OTHER, FOREIGN, "farmed"}
    assert await pilots(world, "other") == {FOREIGN}
    counted = await world.ask(
        "POST", "/api/pilots/summary", world.tokens["manager"], {"grouping": ["VO"], "search": []}
    )
    assert {row["VO"]: row["count"] for row in counted.json()} == {"astro": 3, "bio": 1}


async def test_the_right_ends_with_the_configuration(world: World) -> None:
    assert len(await pilots(world)) == 4
    await manage(world, "")
    assert await pilots(world) == {FOREIGN}
    assert (await revoke(world, "site", SITE)).status_code == 403
    holders = await world.ask("GET", f"/api/auth/holders?site={SITE}", world.tokens["manager"])
    assert holders.status_code == 403


async def test_a_group_looks_after_a_site(world: World) -> None:
    await manage(world, "    managers: {bio: {groups: [bio_user]}}\n")
    for role in ("manager", "other"):
        assert await pilots(world, role) == {OWN, OTHER, FOREIGN, "farmed"}
    assert await pilots(world, "otheradm") == {FOREIGN}, "acts in another group"


async def test_a_computing_element_is_less_than_its_site(world: World) -> None:
    place = f"      {NODE_CE}:"
    await manage(world, " {type: node, managers: {bio: {users: [max]}}}\n      other:", place)
    assert await pilots(world) == {FOREIGN, "farmed"}
    assert (await revoke(world, "site", SITE)).status_code == 403
    await secret(world, "farmed", SITE)
    await secret(world, OTHER, SITE, "other")
    assert (await revoke(world, "pilot", "farmed")).json()["vo"] == "astro"
    assert (await revoke(world, "pilot", OTHER)).status_code == 403


async def test_what_is_revoked_at_the_site_is_of_all_vos(world: World) -> None:
    made = world.installation.identity.tokens.pilot_token
    tokens = [
        await made(stamp="a", vo="astro", seconds=600, site=SITE),
        await made(stamp="b", vo="bio", seconds=600, site=SITE),
        await world.installation.identity.nodes.issue(SITE, NODE_CE),
        await made(stamp="c", vo="astro", seconds=600, site=ELSEWHERE),
    ]
    receipt = (await revoke(world, "site", SITE)).json()
    assert (receipt["vo"], receipt["nodes"]) == ("", 3)
    assert [await status(world, token) for token in tokens] == [401, 401, 401, 200]


async def test_a_pilot_at_the_site_is_revoked_and_none_elsewhere(world: World) -> None:
    await secret(world, "here", SITE)
    await secret(world, "there", ELSEWHERE)
    assert (await revoke(world, "pilot", "here")).json()["vo"] == "astro"
    refused = [await revoke(world, "pilot", name, vo="astro") for name in ("there", "nowhere")]
    assert [each.status_code for each in refused] == [403, 403]
    assert refused[0].json()["detail"] == refused[1].json()["detail"], "what is elsewhere is not told"


@pytest.mark.parametrize(
    ("kind", "name", "more"),
    [("vo", "astro", {}), ("user", "alice", {"vo": "astro"}), ("site", ELSEWHERE, {}), ("vo", "bio", {})],
)
async def test_nothing_else_is_revoked(world: World, kind: str, name: str, more: dict[str, str]) -> None:
    assert (await revoke(world, kind, name, **more)).status_code == 403


async def test_holders_at_the_site_are_told_without_logins(world: World) -> None:
    await secret(world, "here", SITE)
    await secret(world, "there", ELSEWHERE)

    async def holders(query: str) -> Any:
        answer = await world.ask("GET", f"/api/auth/holders{query}", world.tokens["manager"])
        return answer.json() if answer.is_success else answer.status_code

    nodes, vo = (await holders(f"?site={SITE}"))["vos"]
    assert (nodes["name"], {one["ce"] for one in nodes["sites"][0]["nodes"]}) == ("", {NODE_CE})
    assert [each["name"] for each in (await holders(f"?site={SITE}&vo=astro"))["vos"]] == ["astro"]
    assert (vo["name"], vo["users"], [site["name"] for site in vo["sites"]]) == ("astro", [], [SITE])
    assert [pilot["stamp"] for pilot in vo["sites"][0]["pilots"]] == ["here"]
    for query in ("", "?vo=bio", "?vo=astro", f"?site={ELSEWHERE}"):
        assert await holders(query) == 403, query


async def test_revoked_credentials_of_nodes_are_held_by_nobody(world: World) -> None:
    path = f"/api/auth/holders?site={SITE}"
    for gone, role in ((False, "manager"), (True, "manager"), (True, "service")):
        if gone:
            await revoke(world, "site", SITE)
        found = (await world.ask("GET", path, world.tokens[role])).json()["vos"]
        assert any(site["nodes"] for vo in found for site in vo["sites"]) is not gone
    seen = (await world.ask("GET", path, world.tokens["voadmin"])).json()["vos"]
    assert [vo["name"] for vo in seen] in ([], ["astro"]), "credentials of nodes are of no VO"


async def test_what_they_do_is_in_the_audit_log(world: World) -> None:
    done = await revoke(world, "site", SITE)
    search = [{"parameter": "RequestID", "operator": "eq", "value": done.headers["x-request-id"]}]
    rows = (await world.ask("POST", "/api/audit/search", world.tokens["service"], {"search": search})).json()
    assert [(row["Actor"], row["Properties"]) for row in rows] == [("bio:max", f"manager:{SITE}")]


async def test_who_can_names_them(world: World) -> None:
    can = await who(world, "service", "revoke", f"site:{SITE}")
    assert "people who look after a site, for that site" in can["open_to"]
    assert ("bio", "max") in named(can)
    assert ("bio", "max") in named(await who(world, "service", "search", f"pilot:{OWN}"))
    assert ("bio", "max") not in named(await who(world, "service", "search", "pilot:elsewhere"))
    assert ("bio", "max") not in named(await who(world, "voadmin", "revoke", f"site:{SITE}")), "another VO's"
    assert await who(world, "other", "revoke", f"site:{SITE}") == 404


async def test_managers_are_seen_by_their_vo_only(world: World) -> None:
    for role, seen in (("owner", False), ("service", True)):
        answer = await world.ask("GET", "/api/config/tree", world.tokens[role])
        managers = answer.json()["tree"]["sites"][SITE]["managers"]
        assert ("bio" in managers) is seen


async def test_who_is_not_there_looks_after_nothing(world: World) -> None:
    old = (await world.ask("GET", "/api/config/files?name=installation.yaml", world.tokens["service"])).json()
    wrong = (("bio: {users: [moritz]}", "user"), ("chem: {}", "VO"), ("bio: {groups: [x]}", "group"))
    for managers, said in wrong:
        text = old["files"][0]["text"].replace("bio: {users: [max]}", managers)
        answer = await world.ask(
            "POST", "/api/config/apply", world.tokens["service"], {"files": {FILE: text}}
        )
        assert answer.status_code == 400
        assert f"there is no {said}" in answer.text
