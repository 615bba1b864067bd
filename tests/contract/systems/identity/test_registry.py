"""The registry follows the configuration, and the history tells how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.core.tasks import Execution
from dirac.db.outbox import Outbox
from dirac.systems.identity.models import RegisteredGroup, RegisteredUser, RegisteredVO
from dirac.systems.identity.tasks import TASKS

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World


def _vo(*users: RegisteredUser) -> RegisteredVO:
    return RegisteredVO("astro", "user", (RegisteredGroup("user", ("NormalUser",)),), users)


async def test_what_is_put_in_comes_out(world: World) -> None:
    before = await world.system.registry.vos()
    await world.register(*before)
    assert await world.system.registry.vos() == before
    await world.register()
    assert await world.system.registry.vos() == []


async def test_changes_are_recorded_and_the_same_again_is_none(world: World) -> None:
    old = _vo(RegisteredUser("ada", "sub-ada", ("user",)), RegisteredUser("new", "sub-new", ("user",)))
    await world.register(old)
    assert (await world.events("user", "sub-bob"))[-1] == "identity.user.removed"
    assert await world.events("user", "sub-new") == ["identity.user.added"]
    assert (await world.events("group", "astro/astro_user"))[-1] == "identity.group.removed"
    count = len(await world.events("user", "sub-ada"))
    await world.register(old)
    assert len(await world.events("user", "sub-ada")) == count
    suspended = msgspec.structs.replace(old.users[0], suspended=True)
    await world.register(_vo(suspended, old.users[1]))
    assert (await world.events("user", "sub-ada"))[-1] == "identity.user.changed"


async def test_only_what_may_differ_is_looked_at(world: World) -> None:
    astro, bio = await world.system.registry.vos()
    more = msgspec.structs.replace(astro, users=(*astro.users, RegisteredUser("new", "sub-new", ())))
    async with world.units.write() as unit:
        await world.system.registry.replace(unit, [more], scope={"astro"})
    assert [len(vo.users) for vo in await world.system.registry.vos()] == [len(more.users), len(bio.users)]
    assert await world.events("user", "sub-new") == ["identity.user.added"]
    async with world.units.write() as unit:
        await world.system.registry.replace(unit, [], scope={"astro", "gone"})
    assert await world.system.registry.vos() == [bio]
    other = msgspec.structs.replace(astro, name="BIO")
    async with world.units.write() as unit:
        with pytest.raises(InvalidInputError, match="twice"):
            await world.system.registry.replace(unit, [other], scope={"BIO"})


async def test_users_can_swap_their_names(world: World) -> None:
    await world.register(_vo(RegisteredUser("a", "1", ("user",)), RegisteredUser("b", "2", ("user",))))
    await world.register(_vo(RegisteredUser("b", "1", ("user",)), RegisteredUser("a", "2", ("user",))))
    (vo,) = await world.system.registry.vos()
    assert {user.sub: user.username for user in vo.users} == {"1": "b", "2": "a"}


async def test_a_long_subject_has_a_history_too(world: World) -> None:
    await world.register(_vo(RegisteredUser("a", "x" * 200, ("user",))))
    async with world.units.read() as unit:
        found = await unit.registry.member("astro", sub="x" * 200)
    assert found is not None
    assert found.username == "a"


@pytest.mark.parametrize(
    "users",
    [
        [("a", "1"), ("a", "2")],
        [("a", "1"), ("A", "2")],
        [("a", "x"), ("b", "x")],
        [("a", "x" * 256)],
        [("a", "")],
        [("a", "pilot:1")],
        [("a", "job:1:1")],
    ],
)
async def test_what_would_confuse_people_is_refused(world: World, users: list[tuple[str, str]]) -> None:
    before = await world.system.registry.vos()
    with pytest.raises(InvalidInputError):
        await world.register(_vo(*(RegisteredUser(name, sub, ("user",)) for name, sub in users)))
    assert await world.system.registry.vos() == before


async def test_a_user_is_found_by_the_exact_subject_and_name_only(world: World) -> None:
    async with world.units.read() as unit:
        assert await unit.registry.member("astro", sub="sub-ada") is not None
        assert await unit.registry.member("astro", sub="SUB-ADA") is None
        assert await unit.registry.member_called("astro", username="ADA") is None
        assert await unit.registry.member_called("bio", username="bob") is None


async def test_passwords_are_for_users_that_exist(world: World) -> None:
    with pytest.raises(NotFoundError):
        await world.system.passwords.set("astro", "nobody", "long enough")
    with pytest.raises(InvalidInputError):
        await world.system.passwords.set("astro", "sub-ada", "short")
    await world.system.passwords.set("astro", "sub-ada", "another password", actor="admin")
    assert (await world.system.passwords.check("astro", "ada", "another password")).sub == "sub-ada"
    assert (await world.events("user", "sub-ada"))[-1] == "identity.user.password-set"


async def test_the_same_name_in_two_vos_is_two_people(world: World) -> None:
    await world.system.passwords.set("bio", "sub-ada", "another password")
    assert (await world.system.passwords.check("astro", "ada", "password-ada")).vo == "astro"


async def test_the_published_metadata_has_no_users(world: World) -> None:
    metadata = (await world.http.get("/.well-known/dirac-metadata")).json()
    assert metadata["virtual_organizations"]["astro"] == {
        "groups": {
            "astro_admin": {"properties": ["JobAdministrator", "NormalUser", "ProxyManagement"]},
            "astro_user": {"properties": ["NormalUser"]},
        },
        "support": {"message": "Ask Ada", "webpage": None, "email": "ada@astro.test"},
        "default_group": "astro_user",
    }


async def test_the_server_describes_itself(world: World) -> None:
    found = (await world.http.get("/.well-known/openid-configuration")).json()
    assert found["issuer"] == "https://dirac.test"
    assert "refresh_token" in found["grant_types_supported"]
    assert len(found["scopes_supported"]) == len(set(found["scopes_supported"]))
    assert {"vo:astro", "vo:bio", "group:bio_user", "property:NormalUser"} <= set(found["scopes_supported"])
    assert found["device_authorization_endpoint"] == "https://dirac.test/api/auth/device"


async def test_whom_to_tell_about_a_weakness(world: World) -> None:
    answer = await world.http.get("/.well-known/security.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "Contact: mailto:security@dirac.test\n" in answer.text
    assert "Expires: 2027-05-19T00:00:00Z\n" in answer.text


async def test_the_periodic_tasks_do_their_work(world: World) -> None:
    declared = {task.name: task for task in TASKS}
    outbox = Outbox(world.database, declared)
    provided = world.system.provided()
    world.clock.advance(31 * 86400)
    await outbox.tick()
    taken = await outbox.take(10)
    assert len(taken) == len(TASKS)
    for entry_id in taken:
        entry = await outbox.begin(entry_id)
        assert entry is not None
        await declared[entry.name].run(Execution(entry.id, entry.args, provided.__getitem__))
        assert await outbox.begin(entry_id) is None, "done in the transaction of the effect"
    assert len(await world.system.keys.published()) == 2


async def test_the_api_has_the_operations_that_clients_of_diracx_call(world: World) -> None:
    document = (await world.http.get("/api/openapi.json")).json()
    operations = {
        operation["operationId"] for path in document["paths"].values() for operation in path.values()
    }
    assert operations >= {
        ".well-known_get_openid_configuration",
        ".well-known_get_jwks",
        ".well-known_get_installation_metadata",
        ".well-known_get_security_txt",
        "auth_initiate_device_flow",
        "auth_do_device_flow",
        "auth_finish_device_flow",
        "auth_finished",
        "auth_initiate_authorization_flow",
        "auth_complete_authorization_flow",
        "auth_get_oidc_token",
        "auth_get_refresh_tokens",
        "auth_revoke_refresh_token_by_jti",
        "auth_revoke_refresh_token_by_refresh_token",
        "auth_userinfo",
    }
