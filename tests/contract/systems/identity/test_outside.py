"""Logins at outside providers, and what has to be accepted, on each database."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from sqlalchemy import event, text

from dirac.core.errors import NotAllowedError
from dirac.resources.identity.outside import ProviderSettings
from dirac.resources.identity.password import PasswordProvider
from dirac.systems.identity.logic.provider_claims import LoginRules
from dirac.systems.identity.models import AcceptableUse
from dirac.systems.identity.store.accounts import AccountStore
from dirac.testing.faults import FailNth
from dirac.testing.identity import FakeOutsideProvider

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World

STARS, CELLS = "https://stars.test", "https://cells.test"
RULES = LoginRules(
    provider=ProviderSettings(issuer=STARS, client_id="dirac"),
    admits="members",
    groups={"/stars": ["astro_user"], "/stars/admin": ["astro_admin"]},
)
USE = AcceptableUse("1", "No mining")


@dataclass
class Sky:
    """The world with a provider for the VO astro."""

    world: World
    provider: FakeOutsideProvider

    async def at_provider(self, scope: str = "vo:astro") -> tuple[dict[str, Any], str]:
        """Begin a login; return the device's flow and the state at the provider."""
        flow = await self.world.device(scope)
        page = await self.world.http.post("/api/auth/device/confirm", data={"user_code": flow["user_code"]})
        assert page.status_code == 200, page.text
        found = re.search(r"https://\w+\.test/authorize\?state=([\w-]+)", page.text)
        assert found, page.text
        return flow, found[1]

    async def come_back(self, state: str, code: str) -> httpx.Response:
        """Come back from the provider."""
        return await self.world.http.get("/api/auth/device/complete", params={"state": state, "code": code})

    async def decide(self, state: str, **form: str) -> httpx.Response:
        """Say whether the login is wanted."""
        return await self.world.http.post("/api/auth/login/confirm", data={"state": state, **form})

    async def login(self, sub: str, scope: str = "vo:astro") -> dict[str, Any]:
        """Log in and return the tokens."""
        flow, state = await self.at_provider(scope)
        assert (await self.come_back(state, sub)).status_code == 200
        assert (await self.decide(state, decision="allow")).status_code == 303
        answer = await self.world.redeem(flow)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def username(self, tokens: dict[str, Any]) -> str:
        """Return whose token this is."""
        info = await self.world.get("/api/auth/userinfo", tokens["access_token"])
        return str(info.json()["preferred_username"])


@pytest.fixture
async def sky(world: World) -> Sky:
    world.rules["astro"] = RULES
    await world.system.accounts.provider("astro")
    provider = world.outside[STARS]
    provider.add("sub-eve", "/stars", username="eve")
    return Sky(world, provider)


async def test_who_is_new_is_registered_and_recorded(sky: Sky) -> None:
    tokens = await sky.login("sub-eve")
    assert await sky.username(tokens) == "eve"
    events = await sky.world.events("user", "sub-eve")
    assert events[:1] == ["identity.user.registered"]
    await sky.login("sub-eve")
    assert (await sky.world.events("user", "sub-eve")).count("identity.user.registered") == 1


async def test_people_of_the_provider_outlive_a_new_configuration(sky: Sky) -> None:
    tokens = await sky.login("sub-eve")
    async with sky.world.units.write() as unit:
        declared = await unit.registry.vos()
        await sky.world.system.registry.replace(unit, declared)
    assert (await sky.world.refresh(tokens["refresh_token"])).status_code == 200


async def test_subjects_that_differ_in_case_only_are_two_people(sky: Sky) -> None:
    sky.provider.add("SUB-EVE", "/stars", username="other")
    small, large = await sky.login("sub-eve"), await sky.login("SUB-EVE")
    assert [await sky.username(small), await sky.username(large)] == ["eve", "other"]
    sky.provider.known["SUB-EVE"] = None
    assert (await sky.world.refresh(large["refresh_token"])).status_code == 400
    again = await sky.world.refresh(small["refresh_token"])
    assert again.status_code == 200
    assert await sky.username(again.json()) == "eve"


@pytest.mark.parametrize("sub", ["pilot:1", "job:1:1", "node:x", "a\nb", "x" * 260])
async def test_a_subject_that_nobody_can_have_is_refused(sky: Sky, sub: str) -> None:
    sky.provider.add(sub, "/stars")
    flow, state = await sky.at_provider()
    assert (await sky.come_back(state, sub)).status_code == 400
    assert (await sky.world.redeem(flow)).json()["error"] == "authorization_pending"


async def test_the_same_subject_at_the_next_provider_is_somebody_else(sky: Sky) -> None:
    tokens = await sky.login("sub-eve")
    new = msgspec.structs.replace(RULES, provider=ProviderSettings(issuer=CELLS, client_id="dirac"))
    sky.world.rules["astro"] = new
    refused = await sky.world.refresh(tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    await sky.world.system.accounts.provider("astro")
    sky.world.outside[CELLS].add("sub-eve", "/stars", username="steve")
    assert await sky.username(await sky.login("sub-eve")) == "steve"


async def test_sessions_end_where_a_vo_has_no_provider_any_more(sky: Sky) -> None:
    tokens = await sky.login("sub-eve")
    sky.provider.add("sub-ada", "/stars")
    declared = await sky.login("sub-ada")
    sky.world.rules["astro"] = LoginRules()
    assert (await sky.world.refresh(tokens["refresh_token"])).status_code == 400
    assert (await sky.world.refresh(declared["refresh_token"])).status_code == 200, "she is declared"


async def test_a_refresh_that_fails_anywhere_can_be_repeated(sky: Sky) -> None:
    faults, lost = FailNth(sky.world.database), 0
    for number in itertools.count(1):
        tokens = await sky.login("sub-eve")
        with faults.failing(number):
            answer = await sky.world.refresh(tokens["refresh_token"])
        if not faults.fired:
            assert answer.status_code == 200
            break
        assert answer.status_code == 503, answer.text
        again = await sky.world.refresh(tokens["refresh_token"])
        assert again.status_code == 200, again.text
        # Whoever asked is not there any more; what the provider gave then may be lost.
        sky.world.clock.advance(31)
        later = await sky.world.refresh(again.json()["refresh_token"])
        assert later.status_code in (200, 400), later.text
        lost += later.status_code == 400
    assert number > 10
    assert 1 <= lost <= 2, "only between the provider's answer and the commit of the token that it gave"


async def test_a_login_that_fails_anywhere_can_be_begun_again(sky: Sky) -> None:
    faults = FailNth(sky.world.database)
    for number in itertools.count(1):
        flow, state = await sky.at_provider()
        with faults.failing(number):
            back = await sky.come_back(state, "sub-eve")
            answer = await sky.decide(state, decision="allow") if back.status_code == 200 else back
        confirmed = (await sky.world.redeem(flow)).status_code == 200
        assert confirmed == (answer.status_code == 303), "confirmed for those only who were told so"
        await sky.login("sub-eve")
        if not faults.fired:
            assert confirmed
            break
        assert answer.status_code == 503, answer.text
    assert number > 10
    events = await sky.world.events("user", "sub-eve")
    assert events.count("identity.user.registered") == 1


async def test_two_refreshes_at_once_ask_once(sky: Sky) -> None:
    first, second = await sky.login("sub-eve"), await sky.login("sub-eve")
    answers = await asyncio.gather(
        *(sky.world.refresh(tokens["refresh_token"]) for tokens in (first, second))
    )
    assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
    assert 1 <= sky.provider.asked <= 2
    answers = [await sky.world.refresh(answer.json()["refresh_token"]) for answer in answers]
    assert [answer.status_code for answer in answers] == [200, 200], "nobody used a token twice"


async def test_who_asks_shows_what_the_one_before_was_given(
    sky: Sky, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sky.world.database.dialect == "sqlite":
        pytest.skip("it has one writer at a time")
    first, second = await sky.login("sub-eve"), await sky.login("sub-eve")
    claim, late = AccountStore.claim, [first]

    async def claim_late(self: AccountStore, *given: Any) -> bool:
        while late:
            assert (await sky.world.refresh(late.pop()["refresh_token"])).status_code == 200
        return await claim(self, *given)

    monkeypatch.setattr(AccountStore, "claim", claim_late)
    answer = await sky.world.refresh(second["refresh_token"])
    assert answer.status_code == 200, answer.text


async def test_who_asks_has_it_to_himself_until_the_lease_ends(sky: Sky) -> None:
    tokens = await sky.login("sub-eve")
    async with sky.world.units.write() as unit:
        assert await unit.accounts.claim("astro", "sub-eve", unit.now, unit.now.replace(minute=1))
        assert not await unit.accounts.claim("astro", "sub-eve", unit.now, unit.now.replace(minute=1))
    tokens = (await sky.world.refresh(tokens["refresh_token"])).json()
    assert sky.provider.asked == 0
    sky.world.clock.advance(61)
    assert (await sky.world.refresh(tokens["refresh_token"])).status_code == 200
    assert sky.provider.asked == 1


async def test_what_was_said_last_is_good_for_a_while_only(sky: Sky) -> None:
    tokens = await sky.login("sub-eve")
    sky.provider.away = True
    sky.world.clock.advance(RULES.offline_seconds - 60)
    answer = await sky.world.refresh(tokens["refresh_token"])
    assert answer.status_code == 200
    sky.world.clock.advance(120)
    late = await sky.world.refresh(answer.json()["refresh_token"])
    assert (late.status_code, late.json()["error"]) == (503, "temporarily_unavailable")
    sky.provider.away = False
    assert (await sky.world.refresh(answer.json()["refresh_token"])).status_code == 200, "it was kept"


async def test_what_a_provider_gave_before_it_stumbled_is_kept(sky: Sky) -> None:
    tokens = await sky.login("sub-eve")
    sky.provider.stumbles = True
    answer = await sky.world.refresh(tokens["refresh_token"])
    assert answer.status_code == 200, "it stood by her a moment ago"
    sky.provider.stumbles = False
    again = await sky.world.refresh(answer.json()["refresh_token"])
    assert again.status_code == 200, "the token before it would have been taken for a thief's"
    async with sky.world.units.write() as unit:
        await unit.accounts.end("astro", "sub-eve")
        await unit.accounts.regrant("astro", "sub-eve", b"sealed")
        assert (await unit.accounts.find("astro", "sub-eve")).sealed is None, "what was ended stays so"


async def test_nothing_of_a_provider_is_readable_in_the_database(sky: Sky) -> None:
    await sky.login("sub-eve")
    _, state = await sky.at_provider()
    cookie = sky.world.http.cookies["dirac_login"]
    async with sky.world.database.engine.connect() as connection:
        kept = [
            repr(row)
            for table in ("identity_account", "identity_login")
            for row in await connection.execute(text(f"SELECT * FROM {table}"))
        ]
    assert len(kept) == 3
    assert not any(secret in row for row in kept for secret in ("sub-eve 1", state, cookie))


async def test_what_was_sealed_by_another_key_or_for_somebody_else_is_not_used(sky: Sky) -> None:
    sky.provider.add("sub-max", "/stars")
    eve, max_ = await sky.login("sub-eve"), await sky.login("sub-max")
    async with sky.world.units.write() as unit:
        mine, other = [await unit.accounts.find("astro", sub) for sub in ("sub-eve", "sub-max")]
        assert mine
        assert other
        await unit.accounts.put(msgspec.structs.replace(mine, sealed=other.sealed))
    assert (await sky.world.refresh(eve["refresh_token"])).status_code == 400
    assert (await sky.world.refresh(max_["refresh_token"])).status_code == 200


async def test_the_list_of_users_suspends_and_restores(sky: Sky) -> None:
    sky.provider.add("sub-max", "/stars")
    eve, max_ = await sky.login("sub-eve"), await sky.login("sub-max")
    person = sky.provider.known.pop("sub-eve")
    assert await sky.world.system.people.follow() == 1
    assert "identity.user.suspended" in await sky.world.events("user", "sub-eve")
    assert (await sky.world.refresh(eve["refresh_token"])).status_code == 400
    assert (await sky.world.refresh(max_["refresh_token"])).status_code == 200
    sky.provider.away = True
    assert await sky.world.system.people.follow() == 0
    sky.provider.away = False
    sky.provider.known["sub-eve"] = person
    assert await sky.world.system.people.follow() == 1
    await sky.login("sub-eve")


async def test_who_came_after_the_list_was_read_is_not_missed_on_it(sky: Sky) -> None:
    tokens = await sky.login("sub-eve")
    listed = sky.provider.people

    async def an_old_list() -> dict[str, bool] | None:
        found = await listed()
        sky.world.clock.advance(1)
        sky.provider.add("sub-new", "/stars")
        await sky.login("sub-new")
        return found

    sky.provider.people = an_old_list  # type: ignore[method-assign]
    assert await sky.world.system.people.follow() == 0
    assert (await sky.world.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_declared_user_who_is_suspended_stays_so(sky: Sky) -> None:
    sky.provider.add("sub-sam", "/stars")
    _, state = await sky.at_provider()
    answer = await sky.come_back(state, "sub-sam")
    assert (answer.status_code, "suspended" in answer.text) == (403, True)


async def test_a_password_is_no_way_past_the_provider(sky: Sky) -> None:
    flow = await sky.world.device()
    page = await sky.world.confirm(flow["user_code"])
    assert "stars.test" in page.text, "the form leads to the provider, whatever was typed"
    assert (await sky.world.redeem(flow)).json()["error"] == "authorization_pending"


async def test_an_answer_without_the_browsers_cookie_is_refused(sky: Sky) -> None:
    flow, state = await sky.at_provider()
    sky.world.http.cookies.clear()
    assert (await sky.come_back(state, "sub-eve")).status_code == 400
    assert (await sky.decide(state, decision="allow")).status_code == 404
    assert (await sky.world.redeem(flow)).json()["error"] == "authorization_pending"


async def test_a_login_that_takes_too_long_is_over(sky: Sky) -> None:
    _, state = await sky.at_provider()
    sky.world.clock.advance(601)
    assert (await sky.come_back(state, "sub-eve")).status_code == 404
    sky.world.clock.advance(3601)
    assert await sky.world.system.cleaning.clean() >= 1


async def test_who_types_a_password_accepts_what_is_to_be_accepted_once(world: World) -> None:
    world.rules["astro"] = LoginRules(policy=USE)
    sky = Sky(world, FakeOutsideProvider(ProviderSettings(issuer=STARS, client_id="x"), world.clock))
    flow = await world.device()
    page = await world.confirm(flow["user_code"])
    assert (page.status_code, "No mining" in page.text) == (200, True)
    assert (await world.redeem(flow)).json()["error"] == "authorization_pending"
    state = re.search(r'name="state" value="([\w-]+)"', page.text)
    assert state
    assert (await sky.decide(state[1], decision="allow", accept="0")).status_code == 400
    assert (await sky.decide(state[1], decision="allow", accept="1")).status_code == 303
    assert (await sky.decide(state[1], decision="allow", accept="1")).status_code == 404
    world.clock.advance(20)
    assert (await world.redeem(flow)).status_code == 200
    assert "identity.user.policy-accepted" in await world.events("user", "sub-ada")
    await world.login()
    world.rules["astro"] = LoginRules(policy=AcceptableUse("2", "No gaming"))
    flow = await world.device()
    assert "No gaming" in (await world.confirm(flow["user_code"])).text


@pytest.mark.parametrize("rules", [LoginRules(policy=USE), RULES], ids=["policy", "provider"])
async def test_a_program_is_told_what_only_a_person_can_do(world: World, rules: LoginRules) -> None:
    world.rules["astro"] = rules
    flow = await world.device()
    form = {"user_code": flow["user_code"], "username": "ada", "password": "password-ada"}
    wants = {"Accept": "application/json"}
    refused = await world.http.post("/api/auth/device/confirm", data=form, headers=wants)
    assert (refused.status_code, refused.json()["error"]) == (403, "not_allowed")
    form |= world.authorization()
    refused = await world.http.post("/api/auth/authorize/confirm", data=form, headers=wants)
    assert (refused.status_code, refused.json()["error"]) == (403, "not_allowed")


async def test_no_way_leads_past_what_is_to_be_accepted(world: World) -> None:
    world.rules["astro"] = LoginRules(policy=USE)
    flow = await world.device()
    member = await world.system.devices.check(flow["user_code"], "ada", "password-ada")
    with pytest.raises(NotAllowedError, match="was not accepted"):
        await world.system.devices.approve(flow["user_code"], member)


async def test_a_digest_of_old_is_replaced_at_the_next_good_login(world: World) -> None:
    old = PasswordProvider(memory=16).keep("password-ada")
    async with world.units.write() as unit:
        await unit.passwords.put("astro", "sub-ada", old, unit.now)
    flow = await world.device()
    await world.confirm(flow["user_code"], password="a wrong one")
    assert await _digest(world) == old
    await world.login()
    new = await _digest(world)
    assert new.startswith("$argon2id$v=19$m=8,")
    await world.login()
    assert await _digest(world) == new, "and not each time"


async def _digest(world: World) -> str:
    async with world.units.read() as unit:
        return await unit.passwords.digest("astro", "sub-ada") or ""


async def test_a_refresh_of_who_types_a_password_costs_no_more_for_all_this(world: World) -> None:
    tokens = await world.login()
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    engine = world.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    assert (await world.refresh(tokens["refresh_token"])).status_code == 200
    event.remove(engine, "before_cursor_execute", count)
    asked = [one for one in statements if "identity_" in one]
    assert len(asked) == 2, asked  # the token with its user and groups, its successor
