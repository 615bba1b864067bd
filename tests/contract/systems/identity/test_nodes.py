"""Credentials of worker nodes: good for one computing element, until they are revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from dirac.core.errors import UnauthenticatedError
from dirac.systems.identity.store.tables import nodes

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World

SITE, CE = "DIRAC.Here.org", "farm"


async def test_a_credential_says_where_a_node_is_and_nothing_of_a_vo(world: World) -> None:
    credential = await world.system.nodes.issue(SITE, CE)
    world.clock.advance(timedelta(days=4000).total_seconds())
    identity = await world.system.authenticate(credential)
    assert (identity.kind, identity.site, identity.ce) == ("node", SITE, CE)
    assert (identity.vo, identity.group, identity.properties) == ("", "", frozenset())
    assert await world.events("node", f"{SITE}/{CE}") == ["identity.node.issued"]


async def test_what_the_database_has_opens_no_door(world: World) -> None:
    credential = await world.system.nodes.issue(SITE, CE)
    async with world.database.read() as tx:
        row = (await tx.execute(select(nodes))).one()
    assert credential.rpartition(".")[2] not in str(row)
    for wrong in (
        f"dirac-node.{row.credential_id}.{row.secret_digest[:43]}",
        credential[:-1] + ("A" if credential[-1] != "A" else "B"),
        credential + "\n",
        f"dirac-node.{'0' * 32}.{'A' * 43}",
        "dirac-node.",
    ):
        with pytest.raises(UnauthenticatedError, match="no node's credential"):
            await world.system.authenticate(wrong)


async def test_all_credentials_of_one_element_are_revoked_at_once_in_all_processes(world: World) -> None:
    first, second = await world.system.nodes.issue(SITE, CE), await world.system.nodes.issue(SITE, CE)
    other = await world.system.nodes.issue(SITE, "other")
    process = world.another_process(1)
    await process.authenticate(first)
    assert await world.system.nodes.revoke(SITE, CE, actor="op") == 2
    assert await world.system.nodes.revoke(SITE, CE) == 0
    for credential in (first, second):
        with pytest.raises(UnauthenticatedError, match="revoked"):
            await process.authenticate(credential)
    assert (await process.authenticate(other)).ce == "other"
    assert (await world.system.authenticate(await world.system.nodes.issue(SITE, CE))).ce == CE


async def test_the_routes_of_people_are_closed_to_it(world: World) -> None:
    credential = await world.system.nodes.issue(SITE, CE)
    answer = await world.http.get(
        "/api/auth/refresh-tokens", headers={"Authorization": f"Bearer {credential}"}
    )
    assert answer.status_code in (401, 403)
