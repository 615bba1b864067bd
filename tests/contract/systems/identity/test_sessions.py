"""Sessions: refresh, reuse, revocation, and who sees what."""

from __future__ import annotations

import asyncio
import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError

from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.sealing import subkey
from dirac.systems.identity.models import RegisteredUser
from dirac.systems.identity.ports.sessions import RefreshRecord
from dirac.systems.identity.store.tables import refresh_tokens

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World


async def _listed(world: World, tokens: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await world.get("/api/auth/refresh-tokens", tokens["access_token"])
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()
    return found


async def test_a_refresh_replaces_the_token(world: World) -> None:
    first = await world.login("vo:astro group:astro_admin")
    world.clock.advance(1300)
    assert (await world.get("/api/auth/userinfo", first["access_token"])).status_code == 401
    answer = await world.refresh(first["refresh_token"])
    assert answer.status_code == 200
    second = answer.json()
    assert second["refresh_token"] != first["refresh_token"]
    info = (await world.get("/api/auth/userinfo", second["access_token"])).json()
    assert info["dirac_group"] == "astro_admin"
    assert (await world.refresh(second["refresh_token"])).status_code == 200


async def test_a_replaced_token_ends_the_session(world: World) -> None:
    first = await world.login()
    second = (await world.refresh(first["refresh_token"])).json()
    world.clock.advance(31)
    stolen = await world.refresh(first["refresh_token"])
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    assert (await world.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"
    assert "identity.session.reused" in await world.events("user", "sub-ada")


async def test_a_replaced_token_that_is_revoked_ends_the_session(world: World) -> None:
    first = await world.login()
    second = (await world.refresh(first["refresh_token"])).json()
    form = {"token": first["refresh_token"], "client_id": "myDIRACClientID"}
    assert (await world.http.post("/api/auth/revoke", data=form)).status_code == 200
    assert (await world.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"


async def _of_an_older_version(world: World, tokens: dict[str, Any]) -> tuple[RefreshRecord, str]:
    """Make the row and the token of a session what the version before would have made of them."""
    (known,) = await _listed(world, tokens)
    async with world.units.read() as unit:
        record = await unit.sessions.find(known["JTI"])
    assert record is not None
    return record, _old_token(world, record)


def _old_token(world: World, record: RefreshRecord) -> str:
    settings = world.system.settings
    audience = f"{settings.audience}:refresh"
    created, expires = int(record.created.timestamp()), int(record.expires.timestamp())
    claims = {"iss": settings.issuer, "aud": audience, "jti": record.jti, "iat": created, "exp": expires}
    signed = (
        encoded(b'{"alg":"HS256","kid":"refresh","typ":"JWT"}') + b"." + encoded(msgspec.json.encode(claims))
    )
    key = subkey(settings.master_key, "refresh tokens")
    return (signed + b"." + encoded(hmac.digest(key, signed, "sha256"))).decode()


async def _rotated_by_an_older_version(world: World, record: RefreshRecord) -> RefreshRecord:
    """Do what a server of the version before does with a refresh: mark the row, and add another."""
    now = world.clock.now()
    expires = min(now + timedelta(hours=12), record.session_ends)
    successor = msgspec.structs.replace(record, jti="older-successor", created=now, expires=expires)
    async with world.database.write() as tx:
        marked = {"state": "Rotated", "rotated": now, "successor": successor.jti}
        await tx.execute(update(refresh_tokens).where(refresh_tokens.c.jti == record.jti).values(marked))
    async with world.units.write() as unit:
        await unit.sessions.add(successor)
    return successor


async def test_tokens_of_the_version_before_go_on(world: World) -> None:
    record, old = await _of_an_older_version(world, await world.login())
    successor = await _rotated_by_an_older_version(world, record)
    again = await world.refresh(old)
    assert again.status_code == 200, "its answer was lost while servers were replaced"
    newer = await world.refresh(_old_token(world, successor))
    assert newer.status_code == 200
    assert (await world.refresh(newer.json()["refresh_token"])).status_code == 200


async def test_a_token_that_the_version_before_has_replaced_ends_the_session(world: World) -> None:
    record, old = await _of_an_older_version(world, await world.login())
    successor = await _rotated_by_an_older_version(world, record)
    world.clock.advance(31)
    assert (await world.refresh(old)).json()["error"] == "invalid_grant"
    assert (await world.refresh(_old_token(world, successor))).json()["error"] == "invalid_grant"


async def test_other_sessions_of_the_user_go_on(world: World) -> None:
    first, other = await world.login(), await world.login()
    await world.refresh(first["refresh_token"])
    world.clock.advance(31)
    await world.refresh(first["refresh_token"])
    assert (await world.refresh(other["refresh_token"])).status_code == 200


async def test_a_lost_answer_is_given_again(world: World) -> None:
    first = await world.login()
    lost = (await world.refresh(first["refresh_token"])).json()
    world.clock.advance(10)
    again = await world.refresh(first["refresh_token"])
    assert again.status_code == 200
    assert again.json()["refresh_token"] == lost["refresh_token"], "a family has one branch"
    assert (await world.refresh(again.json()["refresh_token"])).status_code == 200


async def test_a_successor_that_was_used_was_not_lost(world: World) -> None:
    first = await world.login()
    second = (await world.refresh(first["refresh_token"])).json()
    third = (await world.refresh(second["refresh_token"])).json()
    assert (await world.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await world.refresh(third["refresh_token"])).json()["error"] == "invalid_grant"


async def test_refreshes_at_the_same_time_agree(world: World) -> None:
    first = await world.login()
    answers = await asyncio.gather(*(world.refresh(first["refresh_token"]) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


@pytest.mark.parametrize(("seconds", "steps"), [(43201, 1), (40000, 16)])
async def test_a_session_ends_when_it_is_not_used_or_too_old(world: World, seconds: int, steps: int) -> None:
    token = (await world.login())["refresh_token"]
    for _ in range(steps - 1):
        world.clock.advance(seconds)
        answer = await world.refresh(token)
        if answer.status_code == 200:
            token = answer.json()["refresh_token"]
    world.clock.advance(seconds)
    answer = await world.refresh(token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_the_client_must_be_the_same(world: World) -> None:
    token = (await world.login())["refresh_token"]
    assert (await world.refresh(token, client_id="dirac")).json()["error"] == "invalid_grant"
    assert (await world.refresh(token, client_id="")).json()["error"] == "invalid_request"
    assert (await world.refresh(token)).status_code == 200


async def test_what_is_no_refresh_token(world: World) -> None:
    tokens = await world.login()
    for token in (tokens["access_token"], "rubbish", "a.b.c", "é.é.é"):
        answer = await world.refresh(token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert (await world.refresh("")).json()["error"] == "invalid_request"
    as_access = await world.get("/api/auth/userinfo", tokens["refresh_token"])
    assert as_access.status_code == 401


@pytest.mark.parametrize(
    "user",
    [
        RegisteredUser("ada", "sub-ada", ("astro_user",), suspended=True),
        RegisteredUser("ada", "sub-ada", ("astro_admin",)),
        RegisteredUser("ada", "another-sub", ("astro_user",)),
    ],
    ids=["suspended", "out of the group", "somebody else"],
)
async def test_who_may_no_longer_cannot_refresh(world: World, user: RegisteredUser) -> None:
    token = (await world.login())["refresh_token"]
    vos = [vo for vo in await world.system.registry.vos() if vo.name == "astro"]
    await world.register(msgspec.structs.replace(vos[0], users=(user,)))
    answer = await world.refresh(token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_group_that_gains_a_property_has_it_at_the_next_refresh(world: World) -> None:
    token = (await world.login())["refresh_token"]
    astro, bio = await world.system.registry.vos()
    groups = tuple(
        msgspec.structs.replace(group, properties=("Operator",)) if group.name == "astro_user" else group
        for group in astro.groups
    )
    await world.register(msgspec.structs.replace(astro, groups=groups), bio)
    access = (await world.refresh(token)).json()["access_token"]
    info = (await world.get("/api/auth/userinfo", access)).json()
    assert info["properties"] == ["Operator"]


async def test_revocation_ends_the_session(world: World) -> None:
    token = (await world.login())["refresh_token"]
    answer = await world.http.post("/api/auth/revoke", data={"token": token})
    assert (answer.status_code, answer.json()) == (200, "Refresh token revoked")
    assert (await world.refresh(token)).json()["error"] == "invalid_grant"
    assert (await world.http.post("/api/auth/revoke", data={"token": token})).status_code == 200


async def test_revocation_of_what_is_no_token_succeeds_and_of_another_clients_does_not(world: World) -> None:
    tokens = await world.login()
    assert (await world.http.post("/api/auth/revoke", data={"token": "rubbish"})).status_code == 200
    missing = await world.http.post("/api/auth/revoke", data={})
    assert (missing.status_code, missing.json()["error"]) == (400, "invalid_request")
    foreign = await world.http.post(
        "/api/auth/revoke", data={"token": tokens["refresh_token"], "client_id": "dirac"}
    )
    assert (foreign.status_code, foreign.json()["error"]) == (400, "invalid_grant")
    assert (await world.refresh(tokens["refresh_token"])).status_code == 200


async def test_users_see_their_own_sessions_and_managers_those_of_their_vo(world: World) -> None:
    ada, bob = await world.login("vo:astro group:astro_admin"), await world.login(username="bob")
    plain = await world.login("vo:astro")
    bio = await world.login("vo:bio")
    assert [row["Sub"] for row in await _listed(world, bob)] == ["astro:sub-bob"]
    assert {row["Sub"] for row in await _listed(world, plain)} == {"astro:sub-ada"}
    assert {row["Sub"] for row in await _listed(world, ada)} == {"astro:sub-ada", "astro:sub-bob"}
    (row,) = await _listed(world, bio)
    assert row["Scope"] == "vo:bio group:bio_user"
    assert (row["Status"], row["ClientID"]) == ("CREATED", "myDIRACClientID")


async def test_sessions_can_be_ended_by_those_who_see_them(world: World) -> None:
    manager, bob = await world.login("vo:astro group:astro_admin"), await world.login(username="bob")
    bio = await world.login("vo:bio")
    (bobs,) = await _listed(world, bob)
    (bios,) = await _listed(world, bio)

    async def end(tokens: dict[str, Any], jti: str) -> int:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return (await world.http.delete(f"/api/auth/refresh-tokens/{jti}", headers=headers)).status_code

    assert await end(bio, bobs["JTI"]) == 404
    assert await end(manager, bios["JTI"]) == 404, "another VO's"
    assert await end(bob, "unknown") == 404
    assert await end(manager, bobs["JTI"]) == 200
    assert (await world.refresh(bob["refresh_token"])).json()["error"] == "invalid_grant"
    assert {row["Sub"] for row in await _listed(world, manager)} == {"astro:sub-ada"}
    assert (await world.get("/api/auth/refresh-tokens", bob["access_token"])).status_code == 401


async def test_pilots_and_jobs_have_no_sessions(world: World) -> None:
    token = await world.system.tokens.pilot_token(stamp="a" * 32, vo="astro", seconds=60)
    assert (await world.get("/api/auth/refresh-tokens", token)).status_code == 403


async def test_what_is_over_is_dropped(world: World) -> None:
    flow = await world.device()
    await world.code()
    await world.login()
    world.clock.advance(600 + 3601)
    assert await world.system.cleaning.clean() == 3, "two logins on devices and a code"
    assert (await world.redeem(flow)).json()["error"] == "invalid_grant"
    world.clock.advance(43200 + 3601)
    assert await world.system.cleaning.clean() == 1, "the session"


async def test_a_refresh_that_fails_anywhere_changes_nothing_and_can_be_repeated(world: World) -> None:
    engine = world.database.engine.sync_engine
    left = 0

    def fail(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OperationalError("a statement", {}, Exception("the database went away"))

    token, failures = (await world.login())["refresh_token"], 0
    for number in range(1, 50):
        left = number
        event.listen(engine, "before_cursor_execute", fail)
        event.listen(engine, "commit", fail)
        answer = await world.refresh(token)
        event.remove(engine, "before_cursor_execute", fail)
        event.remove(engine, "commit", fail)
        if left > 0:
            break
        assert answer.status_code == 503
        assert answer.json()["error"] == "temporarily_unavailable"
        failures += 1
        again = await world.refresh(token)
        assert again.status_code == 200
        token = again.json()["refresh_token"]
    assert failures == 3, "one look, one change, the commit: each costs a tenth of a millisecond"
    async with world.units.read() as unit:
        assert len(await unit.sessions.active("astro", "sub-ada", unit.now)) == 1
