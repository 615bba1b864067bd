"""Users by their certificates, and the proxies that they leave here: on each database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import event, select, update

from dirac.core.errors import (
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from dirac.formats.x509 import names, proxy
from dirac.resources.identity.password import PasswordProvider
from dirac.systems.identity.logic import certificates as logic
from dirac.systems.identity.logic.assembly import IdentitySystem
from dirac.systems.identity.logic.certificates import Wish
from dirac.systems.identity.models import (
    Delegation,
    Identity,
    Property,
    RegisteredHost,
    RegisteredVO,
    SignedProxy,
)
from dirac.systems.identity.models_tokens import RevocationOrder
from dirac.systems.identity.store.tables import certificates, proxies, proxy_requests
from dirac.testing.time import FakeClock, FakeEntropy
from dirac.transport.authorities import LOOK_EVERY, Authorities, ChainJudge
from tests.contract.systems.identity.conftest import ASTRO, BIO
from tests.services.authority import Authority

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World

ADA, BOB, NODE = (f"/C=ch/O=DIRAC/CN={name}" for name in ("ada", "bob", "node"))
HOUR = timedelta(hours=1)


def with_dns(vo: RegisteredVO, **dns: tuple[str, ...]) -> RegisteredVO:
    users = [msgspec.structs.replace(user, dns=dns.get(user.username, user.dns)) for user in vo.users]
    return msgspec.structs.replace(vo, users=tuple(users))


@pytest.fixture
def clock() -> FakeClock:
    """The present, because certificates are good in it."""
    return FakeClock(datetime.now(UTC).replace(microsecond=0))


class Grid:
    """The world, with certificates."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.authority = Authority(directory)
        self.judge = ChainJudge(
            Authorities(directory, now=world.clock.now, monotonic=world.clock.monotonic), now=world.clock.now
        )
        self.system = self.process()
        self.people = {name: self.authority.person(name) for name in ("ada", "bob", "node")}
        self._serials = count(50)

    def process(self, **changes: Any) -> IdentitySystem:
        provider = PasswordProvider(memory=8)
        return IdentitySystem(
            units=self.world.units,
            clock=self.world.clock,
            entropy=FakeEntropy(9),
            settings=replace(self.world.settings, **changes),
            providers=lambda _name: provider,
            judge=self.judge,
        )

    def chain(self, name: str = "ada") -> proxy.Chain:
        return proxy.chain([self.people[name][0]])

    def shown(self, chain: proxy.Chain) -> tuple[bytes, ...]:
        return tuple(one.public_bytes(proxy.Encoding.DER) for one in chain.certificates)

    def sign(self, csr: str, name: str = "ada", key: Any = None, **options: Any) -> str:
        given = {"serial": next(self._serials), "now": self.world.clock.now(), "life": 5 * HOUR, **options}
        made = proxy.sign(
            self.chain(name), self.people[name][1], key or proxy.read_request(csr.encode()), **given
        )
        return names.to_pem(made.certificates).decode()

    async def stored(self, caller: Identity, **options: Any) -> str:
        asked = await self.system.proxies.ask(caller)
        chain = SignedProxy(self.sign(asked.csr, caller.username, **options))
        return (await self.system.proxies.store(caller, asked.proxy_id, chain)).proxy_id

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        seen: list[str] = []

        def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        engine = self.world.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
async def grid(world: World, tmp_path: Path) -> Grid:
    await register(world, with_dns(ASTRO, ada=(ADA,), bob=(BOB,)), BIO)
    return Grid(world, tmp_path / "pki")


async def register(world: World, *vos: RegisteredVO, hosts: tuple[RegisteredHost, ...] = ()) -> None:
    async with world.units.write() as unit:
        await world.system.registry.replace(unit, vos, hosts=hosts)


def person(name: str = "ada", group: str = "astro_user", *properties: str, **more: Any) -> Identity:
    known = {
        "vo": "astro",
        "sub": f"sub-{name}",
        "username": name,
        "group": group,
        "properties": frozenset(properties),
        "kind": "user",
        "token_id": "t",
        "expires": datetime(9999, 1, 1, tzinfo=UTC),
    }
    return Identity(**{**known, **more})


CSR = proxy.make_request(proxy.make_key()).decode()


async def test_another_vo_that_names_a_certificate_takes_nobody_s_place(grid: Grid) -> None:
    """Else an administrator of one VO could lock members of another out who do not say which they mean."""
    world, shown = grid.world, grid.shown(grid.chain())
    assert (await grid.process().certificates.authenticate(shown)).vo == "astro"
    world.clock.advance(60)
    mine = with_dns(ASTRO, ada=(ADA,), bob=(BOB,))
    await register(world, mine, with_dns(BIO, ada=(ADA,)))
    world.clock.advance(60)
    renamed = [msgspec.structs.replace(user, groups=("astro_user",)) for user in mine.users]
    await register(world, msgspec.structs.replace(mine, users=tuple(renamed)), with_dns(BIO, ada=(ADA,)))
    system = grid.process()
    assert (await system.certificates.authenticate(shown)).vo == "astro", "also after a change of hers"
    assert (await system.certificates.authenticate(shown, Wish(vo="bio"))).vo == "bio"
    async with world.units.write() as unit:
        await unit.registry._tx.execute(update(certificates).values(since=None))  # as older versions do
    with pytest.raises(NotAllowedError, match="several VOs: astro, bio"):
        await grid.process().certificates.authenticate(shown)


async def test_names_of_certificates_follow_the_registry(world: World) -> None:
    host = RegisteredHost("node", NODE, ("TrustedHost",))
    given = (with_dns(ASTRO, ada=("/CN=z", ADA)), with_dns(BIO, ada=(ADA,)))
    await register(world, *given, hosts=(host,))
    async with world.units.read() as unit:
        assert [(one.vo, one.sub) for one in await unit.registry.bearers(ADA)] == [
            ("astro", "sub-ada"),
            ("bio", "sub-ada"),
        ]
        (found,) = await unit.registry.bearers(NODE)
        assert (found.vo, found.sub, found.properties) == ("", "host:node", ("TrustedHost",))
        assert await unit.registry.hosts() == [host]
        assert await unit.registry.bearers(ADA.upper()) == []
    seen = len(await world.events("user", "sub-ada"))
    await register(world, with_dns(ASTRO, ada=(ADA, "/CN=z")), given[1], hosts=(host,))
    assert len(await world.events("user", "sub-ada")) == seen
    assert await world.events("host", "node") == ["identity.host.added"]
    await register(world, ASTRO, BIO)
    assert await world.events("host", "node") == ["identity.host.added", "identity.host.removed"]
    async with world.database.read() as tx:
        assert (await tx.execute(select(certificates))).all() == []


@pytest.mark.parametrize(
    ("vos", "hosts"),
    [
        ((with_dns(ASTRO, ada=(ADA,), bob=(ADA,)),), ()),
        ((with_dns(ASTRO, ada=(NODE,)),), (RegisteredHost("node", NODE),)),
        ((with_dns(ASTRO, ada=("CN=ada",)),), ()),
        ((), (RegisteredHost("a", NODE), RegisteredHost("b", NODE))),
    ],
)
async def test_a_certificate_is_one_user_s(
    world: World, vos: tuple[RegisteredVO, ...], hosts: tuple[RegisteredHost, ...]
) -> None:
    with pytest.raises(InvalidInputError, match="certificate"):
        await register(world, *vos, hosts=hosts)


async def test_who_somebody_is_is_remembered_for_a_minute(grid: Grid) -> None:
    shown = grid.shown(grid.chain())
    with grid.statements() as first:
        identity = await grid.system.certificates.authenticate(shown)
    assert (identity.subject, identity.group, identity.certificate) == ("astro:sub-ada", "astro_user", ADA)
    assert len([one for one in first if one.startswith("SELECT")]) <= 5, first
    with grid.statements() as then:
        assert await grid.system.certificates.authenticate(shown) is identity
    assert then == []
    grid.world.clock.advance(61)
    with grid.statements() as later:
        await grid.system.certificates.authenticate(shown)
    assert later != []


async def test_who_is_suspended_is_refused_within_seconds(grid: Grid) -> None:
    shown, others = grid.shown(grid.chain()), grid.shown(grid.chain("bob"))
    bob = await grid.system.certificates.authenticate(others)
    await grid.system.certificates.authenticate(shown)
    suspended = msgspec.structs.replace(ASTRO.users[0], suspended=True, dns=(ADA,))
    left = msgspec.structs.replace(ASTRO.users[1], dns=(BOB,))
    await register(grid.world, msgspec.structs.replace(ASTRO, users=(suspended, left)))
    grid.world.clock.advance(5)
    with pytest.raises(NotAllowedError, match="suspended"):
        await grid.system.certificates.authenticate(shown)
    assert await grid.system.certificates.authenticate(others) is bob, "this was not about him"


async def test_what_was_made_of_a_kept_proxy_ends_with_the_revocation_of_its_user(grid: Grid) -> None:
    await grid.stored(person())
    await grid.stored(person("bob"))
    await grid.system.proxies.ask(person())
    made = {}
    for name in ("ada", "bob"):
        delegated = await grid.system.proxies.delegate(person(name), Delegation(csr=CSR))
        made[name] = grid.shown(proxy.chain(names.certificates(delegated.chain.encode())))
        await grid.system.certificates.authenticate(made[name])
    token = (await grid.system.proxies.token(person(certificate=ADA))).access_token
    manager = person("bob", "astro_admin", Property.PROXY_MANAGEMENT)
    receipt = await grid.system.revoking.revoke(manager, RevocationOrder("user", "ada"))
    assert (receipt.proxies, receipt.certificates) == (1, 1)
    assert await grid.system.proxies.listed(person()) == []
    async with grid.world.units.read() as unit:
        assert await unit.proxies.waiting("astro", "sub-ada", unit.now) == 0
    for _ in range(2):
        with pytest.raises(UnauthenticatedError, match="was revoked"):
            await grid.system.certificates.authenticate(made["ada"])
    with pytest.raises(UnauthenticatedError, match="was revoked"):
        await grid.system.authenticate(token)
    assert (await grid.system.certificates.authenticate(made["bob"])).username == "bob"
    assert len(await grid.system.proxies.listed(person("bob"))) == 1
    assert (await grid.system.certificates.authenticate(grid.shown(grid.chain()))).username == "ada", (
        "her own certificate is not ours to revoke"
    )


async def test_with_a_vo_all_of_its_kept_proxies_end(grid: Grid) -> None:
    for name in ("ada", "bob"):
        await grid.stored(person(name))
    manager = person("bob", "astro_admin", Property.PROXY_MANAGEMENT)
    receipt = await grid.system.revoking.revoke(manager, RevocationOrder("vo", "astro"))
    assert (receipt.proxies, receipt.certificates) == (2, 2)
    assert await grid.system.proxies.listed(manager) == []


async def test_a_proxy_ends_for_a_connection_that_lives_on(grid: Grid) -> None:
    found, key = grid.people["ada"]
    now = grid.world.clock.now()
    made = proxy.sign(
        proxy.chain([found]), key, key.public_key(), serial=3, now=now, life=timedelta(seconds=30)
    )
    shown = grid.shown(made)
    await grid.system.certificates.authenticate(shown)
    grid.world.clock.advance(31)
    with pytest.raises(UnauthenticatedError, match="was good until"):
        await grid.system.certificates.authenticate(shown)


async def test_what_is_remembered_is_bounded_and_for_one_wish(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logic, "_MOST_KNOWN", 2)
    shown = grid.shown(grid.chain())
    for group in ("astro_user", "astro_admin", "astro_user"):
        identity = await grid.system.certificates.authenticate(shown, Wish(group=group))
        assert identity.group == group
    await grid.system.certificates.authenticate(shown, Wish(vo="astro"))
    with grid.statements() as again:
        await grid.system.certificates.authenticate(shown, Wish(group="astro_admin"))
    assert again == []
    with grid.statements() as forgotten:
        await grid.system.certificates.authenticate(shown, Wish(group="astro_user"))
    assert forgotten != []


async def test_a_certificate_that_is_revoked_is_not_remembered(grid: Grid) -> None:
    shown = grid.shown(grid.chain())
    await grid.system.certificates.authenticate(shown)
    grid.authority.revoke(grid.people["ada"][0])
    grid.world.clock.advance(LOOK_EVERY)
    with pytest.raises(UnauthenticatedError, match="is revoked"):
        await grid.system.certificates.authenticate(shown)


async def test_a_user_has_few_keys_that_wait(grid: Grid) -> None:
    for _ in range(10):
        await grid.system.proxies.ask(person())
    with pytest.raises(TooManyRequestsError):
        await grid.system.proxies.ask(person())
    await grid.system.proxies.ask(person("bob"))
    grid.world.clock.advance(601)
    await grid.system.proxies.ask(person())


async def test_without_authorities_no_certificate_is_anybody(grid: Grid) -> None:
    with pytest.raises(UnauthenticatedError, match="not accepted here"):
        await grid.world.system.certificates.authenticate(grid.shown(grid.chain()))
    with pytest.raises(NotAllowedError, match="accepts no certificates"):
        await grid.world.system.proxies.ask(person())


async def test_a_proxy_is_kept_sealed_and_replaces_the_older_one(grid: Grid) -> None:
    first = await grid.stored(person(), group="astro_user")
    second = await grid.stored(person(), group="astro_user")
    other = await grid.stored(person())
    listed = await grid.system.proxies.listed(person())
    assert [(one.proxy_id, one.dirac_group) for one in listed] == [(other, ""), (second, "astro_user")]
    assert first != second
    async with grid.world.database.read() as tx:
        rows = (await tx.execute(select(proxies))).all()
        assert (await tx.execute(select(proxy_requests))).all() == []
    for row in rows:
        assert b"PRIVATE" not in row.chain
        assert b"PRIVATE" not in row.sealed
    stranger = grid.process(master_key=b"another master key, as long as it must be")
    with pytest.raises(NotFoundError, match="that this master key opens"):
        await stranger.proxies.delegate(person(), Delegation(csr=CSR))
    assert (await grid.world.events("user", "sub-ada"))[-3:] == ["identity.proxy.stored"] * 3


async def test_the_answer_to_an_upload_may_be_lost(grid: Grid) -> None:
    asked = await grid.system.proxies.ask(person())
    signed = SignedProxy(grid.sign(asked.csr))
    kept = await grid.system.proxies.store(person(), asked.proxy_id, signed)
    assert await grid.system.proxies.store(person(), asked.proxy_id, signed) == kept
    assert (await grid.world.events("user", "sub-ada"))[-1:] == ["identity.proxy.stored"]
    assert len(await grid.system.proxies.listed(person())) == 1


async def test_what_is_not_the_caller_s_is_not_kept(grid: Grid) -> None:
    store, ask = grid.system.proxies.store, grid.system.proxies.ask
    asked = await ask(person())
    other_key = proxy.make_key().public_key()
    with pytest.raises(InvalidInputError, match="not a proxy of the key"):
        await store(person(), asked.proxy_id, SignedProxy(grid.sign(asked.csr, key=other_key)))
    with pytest.raises(InvalidInputError, match=f"{BOB} is none of 'ada'"):
        await store(person(), asked.proxy_id, SignedProxy(grid.sign(asked.csr, "bob")))
    with pytest.raises(NotAllowedError, match="not in the group 'bio_user'"):
        await store(person(), asked.proxy_id, SignedProxy(grid.sign(asked.csr, group="bio_user")))
    for stranger in (person("bob"), person(vo="bio")):
        with pytest.raises(NotFoundError):
            await store(stranger, asked.proxy_id, SignedProxy(grid.sign(asked.csr)))
    with pytest.raises(InvalidInputError):
        await store(person(), asked.proxy_id, SignedProxy("rubbish"))
    await store(person(), asked.proxy_id, SignedProxy(grid.sign(asked.csr)))


async def test_a_proxy_of_an_authority_that_nobody_knows_is_not_kept(grid: Grid, tmp_path: Path) -> None:
    asked = await grid.system.proxies.ask(person())
    grid.people["ada"] = Authority(tmp_path / "other").person("ada")
    with pytest.raises(UnauthenticatedError, match="not trusted here"):
        await grid.system.proxies.store(person(), asked.proxy_id, SignedProxy(grid.sign(asked.csr)))


async def test_a_request_waits_for_minutes_only(grid: Grid) -> None:
    asked = await grid.system.proxies.ask(person())
    grid.world.clock.advance(601)
    with pytest.raises(NotFoundError, match="waits"):
        await grid.system.proxies.store(person(), asked.proxy_id, SignedProxy(grid.sign(asked.csr)))
    grid.world.clock.advance(3700)
    assert await grid.system.cleaning.clean() >= 1


async def test_a_delegated_proxy_is_its_owner_s_for_the_group_and_a_while(grid: Grid) -> None:
    await grid.stored(person())
    with grid.statements() as statements:
        answer = await grid.system.proxies.delegate(person(), Delegation(csr=CSR, seconds=600))
    assert len(statements) <= 8, statements
    chain = proxy.chain(names.certificates(answer.chain.encode()))
    assert (chain.subject, chain.group, chain.limited) == (ADA, "astro_user", False)
    assert answer.expires == grid.world.clock.now() + timedelta(seconds=600)
    day = await grid.system.proxies.delegate(person(), Delegation(csr=CSR, seconds=10**9))
    assert day.expires <= grid.world.clock.now() + timedelta(days=1)
    assert (await grid.system.certificates.authenticate(grid.shown(chain))).subject == "astro:sub-ada"


async def test_who_acts_in_one_group_gets_nothing_for_another_one(grid: Grid) -> None:
    await grid.stored(person(), group="astro_admin")
    with pytest.raises(NotAllowedError, match="acts in the group 'astro_user'"):
        await grid.system.proxies.delegate(person(), Delegation(csr=CSR, dirac_group="astro_admin"))
    with pytest.raises(NotFoundError):
        await grid.system.proxies.delegate(person(), Delegation(csr=CSR))


JOB = {"kind": "job", "sub": "job:7:1", "owner_sub": "sub-ada"}


async def test_a_job_gets_a_limited_proxy_of_its_owner_and_of_nobody_else(grid: Grid) -> None:
    await grid.stored(person())
    answer = await grid.system.proxies.delegate(person(**JOB), Delegation(csr=CSR))
    assert proxy.chain(names.certificates(answer.chain.encode())).limited
    with pytest.raises(NotAllowedError, match="of its owner only"):
        await grid.system.proxies.delegate(person(**JOB), Delegation(csr=CSR, sub="sub-bob"))


@pytest.mark.parametrize(
    ("caller", "limited"),
    [
        (person("bob", "g", Property.FULL_DELEGATION), False),
        (person("bob", "g", Property.LIMITED_DELEGATION), True),
        (person("bob", "g", Property.LIMITED_DELEGATION, vo="", kind="service", sub="host:node"), True),
        (person("bob", "g"), None),
        (person("bob", "g", Property.FULL_DELEGATION, limited=True), None),
        (person("bob", "g", Property.FULL_DELEGATION, kind="pilot"), None),
    ],
)
async def test_proxies_of_others_are_a_matter_of_properties(
    grid: Grid, caller: Identity, limited: bool | None
) -> None:
    await grid.stored(person())
    vo = "astro" if caller.kind == "service" else None
    wanted = Delegation(csr=CSR, sub="sub-ada", vo=vo)
    if limited is None:
        with pytest.raises(NotAllowedError, match="gets no proxies of others"):
            await grid.system.proxies.delegate(caller, wanted)
        return
    answer = await grid.system.proxies.delegate(caller, wanted)
    assert proxy.chain(names.certificates(answer.chain.encode())).limited is limited


async def test_no_property_reaches_into_another_vo(grid: Grid) -> None:
    await grid.stored(person())
    stranger = person("ada", "bio_user", Property.FULL_DELEGATION, Property.PROXY_MANAGEMENT, vo="bio")
    assert await grid.system.proxies.listed(stranger) == []
    with pytest.raises(NotFoundError):
        await grid.system.proxies.delegate(stranger, Delegation(csr=CSR))
    with pytest.raises(NotAllowedError, match="not of the VO 'astro'"):
        await grid.system.proxies.delegate(stranger, Delegation(csr=CSR, vo="astro", sub="sub-ada"))


async def test_who_has_lost_a_group_is_no_reason_for_a_proxy(grid: Grid) -> None:
    await grid.stored(person(), group="astro_user")
    gone = msgspec.structs.replace(ASTRO.users[0], groups=("astro_admin",), dns=(ADA,))
    await register(grid.world, msgspec.structs.replace(ASTRO, users=(gone,)))
    with pytest.raises(NotAllowedError, match="is not in the group 'astro_user'"):
        await grid.system.proxies.delegate(person(**JOB), Delegation(csr=CSR))


async def test_limited_proxies_become_nothing_else(grid: Grid) -> None:
    limited = person(limited=True, certificate=ADA)
    for refused in (grid.system.proxies.ask(limited), grid.system.proxies.token(limited)):
        with pytest.raises(NotAllowedError, match="a limited proxy cannot"):
            await refused
    await grid.stored(person())
    answer = await grid.system.proxies.delegate(limited, Delegation(csr=CSR))
    assert proxy.chain(names.certificates(answer.chain.encode())).limited


async def test_proxies_are_destroyed_by_their_owner_or_a_manager_of_the_vo(grid: Grid) -> None:
    manager = person("bob", "astro_admin", Property.PROXY_MANAGEMENT)
    for caller in (person(), manager):
        proxy_id = await grid.stored(person())
        assert [one.proxy_id for one in await grid.system.proxies.listed(caller)] == [proxy_id]
        for stranger in (person("bob"), person(vo="bio"), person("x", "g", "ProxyManagement", vo="bio")):
            with pytest.raises(NotFoundError):
                await grid.system.proxies.destroy(stranger, proxy_id)
        await grid.system.proxies.destroy(caller, proxy_id)
        with pytest.raises(NotFoundError):
            await grid.system.proxies.destroy(caller, proxy_id)


async def test_what_has_expired_is_not_handed_out_and_dropped_later(grid: Grid) -> None:
    await grid.stored(person(), life=HOUR)
    grid.world.clock.advance(3601)
    assert await grid.system.proxies.listed(person()) == []
    with pytest.raises(NotFoundError):
        await grid.system.proxies.delegate(person(), Delegation(csr=CSR))
    grid.world.clock.advance(3601)
    await grid.system.cleaning.clean()
    async with grid.world.database.read() as tx:
        assert (await tx.execute(select(proxies))).all() == []


async def test_the_routes_are_closed_to_pilots(grid: Grid) -> None:
    world = grid.world
    pilot = await world.system.tokens.pilot_token(stamp="a" * 32, vo="astro", seconds=600)
    for method, path in (("POST", "/requests"), ("GET", ""), ("DELETE", "/x"), ("POST", "/delegations")):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {pilot}"}
        content = json.dumps({"csr": CSR})
        answer = await world.http.request(method, f"/api/proxies{path}", content=content, headers=headers)
        assert answer.status_code == 403, answer.text
