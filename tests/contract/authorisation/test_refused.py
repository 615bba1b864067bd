"""No route takes what is no credential, or is one no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.tokens import forge_all
from tests.contract.authorisation.fresh import login
from tests.contract.authorisation.matrix import guarded
from tests.contract.authorisation.refused import (
    WAYS,
    Shown,
    certificates,
    refreshed,
    shut_out,
    status_of,
    user_token,
)
from tests.contract.authorisation.world import World

WHOAMI = "GET /api/auth/userinfo"


async def taken(world: World, name: str, shown: Shown) -> list[str]:
    """Return the routes that do not refuse something as they should."""
    answer = await status_of(world, WHOAMI, shown)
    found = [] if shown.says in answer.text else [f"{name} is refused for another reason: {answer.text}"]
    for route in guarded(world.app):
        status = (await status_of(world, route, shown)).status_code
        if status != shown.status:
            found.append(f"{route}, {name}: {status}")
    return found


def test_no_route_takes_a_token_that_is_none(world: World, loop: asyncio.AbstractEventLoop) -> None:
    """Expired, of another issuer, for another audience, not signed, signed with the public key, ..."""
    forged = forge_all(world.installation.settings)
    assert len(forged) > 12
    for name, token in forged.items():
        assert (
            loop.run_until_complete(taken(world, f"a token {name}", Shown(token, says="unauthenticated")))
            == []
        )


@pytest.mark.parametrize("way", WAYS)
def test_no_route_takes_a_token_that_is_revoked(
    world: World, loop: asyncio.AbstractEventLoop, way: str
) -> None:
    shown = loop.run_until_complete(WAYS[way](world))
    assert loop.run_until_complete(taken(world, f"a token {way}", shown)) == []


def test_what_is_refused_was_good_before(world: World, loop: asyncio.AbstractEventLoop) -> None:
    token = loop.run_until_complete(user_token(world, "adam"))
    answer = loop.run_until_complete(status_of(world, WHOAMI, Shown(token)))
    assert (answer.status_code, answer.json()["sub"]) == (200, "astro:adam")


def test_no_route_takes_a_certificate_that_is_no_good(
    world: World, loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    for name, shown in certificates(world, tmp_path / "other").items():
        assert loop.run_until_complete(taken(world, name, shown)) == []


@pytest.fixture(scope="module")
def suspended(world: World, loop: asyncio.AbstractEventLoop) -> dict[str, Shown]:
    """What adam, who is suspended, and eve, who is removed, had; adam's session is `refresh`."""
    record = loop.run_until_complete(login(world, "astro", "adam", "astro_user"))
    session = Shown(world.installation.identity.tokens.refresh_token(record))
    return {"refresh": session, **loop.run_until_complete(shut_out(world))}


def test_who_is_shut_out_has_no_token_and_gets_no_other(
    world: World, loop: asyncio.AbstractEventLoop, suspended: dict[str, Shown]
) -> None:
    for name, shown in suspended.items():
        if name != "refresh":
            assert loop.run_until_complete(taken(world, name, shown)) == []
    refused = loop.run_until_complete(refreshed(world, suspended["refresh"].token or ""))
    assert refused["error"] == "invalid_grant"
    assert "suspended" in str(refused)
