"""Logins at real OpenID providers, over HTTP, as people and programs go through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from dirac.server.doctor import people
from dirac.server.doctor.model import Finding, Patient, examine
from tests.integration.identity.conftest import ADA, CALLBACK, MEMBERS, Site, astro, person
from tests.services.browser import Browser
from tests.services.dex import PASSWORD, Dex
from tests.services.oidc import CLIENT_ID, OidcProvider


def test_a_device_is_logged_in_at_the_provider_of_its_vo(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    flow = site.device("vo:astro")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"])
        assert "password" not in browser.form.inputs, "we want no passwords of other people's accounts"
        assert flow["user_code"][:4] in browser.text
        browser.submit(decision="allow")
        assert browser.address.startswith(stars.url)
        browser.log_in_there("sub-ada")
        assert "You are ada" in browser.text
        assert flow["user_code"][:4] in browser.text, "the code that the device shows is there to compare"
        assert site.redeem(flow).json()["error"] == "authorization_pending", "nobody has said yes yet"
        browser.submit(decision="allow")
        assert "You are logged in" in browser.text
    with Browser() as browser:
        assert browser.open(flow["verification_uri_complete"]).status == 404, "a code is good once"
    site_tokens = redeemed(site, flow)
    assert site.who(site_tokens) == {
        "sub": "astro:sub-ada",
        "vo": "astro",
        "dirac_group": "astro_user",
        "policies": {},
        "properties": ["NormalUser"],
        "preferred_username": "ada",
    }


def redeemed(site: Site, flow: dict[str, Any]) -> dict[str, Any]:
    """Return the tokens of a device that has asked too early once."""
    answer = site.redeem(flow)
    while answer.json().get("error") == "slow_down":
        answer = site.redeem(flow)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_program_with_a_browser_is_logged_in(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    with Browser(CALLBACK) as browser:
        site.authorize(browser, "vo:astro group:astro_user").submit(decision="allow").log_in_there("sub-ada")
        browser.submit(decision="allow")
        assert browser.address.startswith(CALLBACK), browser.text
        assert browser.query["state"] == "its state"
        assert browser.query["iss"] == site.url
        code = browser.query["code"]
    answer = site.exchange(code)
    assert answer.status_code == 200, answer.text
    assert site.who(answer.json())["sub"] == "astro:sub-ada"
    assert site.exchange(code).json()["error"] == "invalid_grant"


def test_one_subject_at_two_providers_is_two_people(
    site: Site, stars: OidcProvider, cells: OidcProvider, atoms: Dex
) -> None:
    with Browser() as browser:
        flow = site.device("vo:chem")
        browser.open(flow["verification_uri_complete"]).submit(decision="allow")
        assert browser.address.startswith(atoms.url)
        browser.submit(login="carol@chem.example.org", password=PASSWORD)
        while browser.address.startswith(atoms.url):
            browser.submit(approval="approve")
        assert "You are carol" in browser.text
        browser.submit(decision="allow")
    carol = site.who(redeemed(site, flow))
    subject = carol["sub"].removeprefix("chem:")
    stars.change({subject: person(preferred_username="stella", eduperson_entitlement=[MEMBERS])})
    cells.change({subject: person(preferred_username="cyte")})
    stella, cyte = site.login("astro", subject), site.login("bio", subject)
    found = [site.who(stella), site.who(cyte), carol]
    assert [one["sub"] for one in found] == [f"{vo}:{subject}" for vo in ("astro", "bio", "chem")]
    assert [one["preferred_username"] for one in found] == ["stella", "cyte", "carol"]
    stars.change({})
    assert site.refresh(stella).status_code == 400, "gone at one provider"
    assert site.refresh(cyte).status_code == 200, "and not at the other"


def test_a_session_of_dex_goes_on_with_its_rotating_tokens(site: Site, atoms: Dex) -> None:
    with Browser() as browser:
        flow = site.device("vo:chem")
        browser.open(flow["verification_uri_complete"]).submit(decision="allow")
        browser.submit(login="carol@chem.example.org", password=PASSWORD)
        while browser.address.startswith(atoms.url):
            browser.submit(approval="approve")
        browser.submit(decision="allow")
    tokens = redeemed(site, flow)
    for _ in range(3):
        answer = site.refresh(tokens)
        assert answer.status_code == 200, answer.text
        tokens = answer.json()


def test_groups_follow_the_provider_at_each_refresh(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    tokens = site.login("astro", "sub-ada")
    more = person(eduperson_entitlement=[MEMBERS], **{"wlcg.groups": ["/stars", "/stars/production"]})
    stars.change({"sub-ada": more})
    answer = site.refresh(tokens)
    assert answer.status_code == 200, answer.text
    flow = site.device("vo:astro group:astro_admin")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there("sub-ada")
        browser.submit(decision="allow")
    admin = redeemed(site, flow)
    assert site.who(admin)["properties"] == ["JobAdministrator", "NormalUser"]
    stars.change({"sub-ada": ADA})
    refused = site.refresh(admin)
    assert refused.json()["error"] == "invalid_grant"
    assert "astro_admin" in refused.json()["error_description"]
    assert site.refresh(answer.json()).status_code == 200, "the other session is one for a group that stays"


def test_who_is_in_no_group_is_turned_away_and_told_what_the_provider_says(
    site: Site, stars: OidcProvider
) -> None:
    other = MEMBERS.replace("stars", "planets")
    stars.change({"sub-eve": person(preferred_username="eve", eduperson_entitlement=[other])})
    flow = site.device("vo:astro")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there("sub-eve")
        assert browser.status == 403
        assert "planets" in browser.text
    assert site.redeem(flow).json()["error"] == "authorization_pending"


def test_who_came_from_a_provider_works_like_anybody_else(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA, "sub-bob": person()})
    headers = {"Authorization": f"Bearer {site.login('astro', 'sub-ada')['access_token']}"}
    jdl = 'Executable = "/bin/true";'
    submitted = httpx.post(f"{site.url}/api/jobs/jdl", json=[jdl], headers=headers)
    assert submitted.status_code == 201, submitted.text
    found = httpx.post(f"{site.url}/api/jobs/search", json={}, headers=headers).json()
    assert [(job["Owner"], job["OwnerGroup"], job["VO"]) for job in found] == [("ada", "astro_user", "astro")]
    bob = {"Authorization": f"Bearer {site.login('astro', 'sub-bob')['access_token']}"}
    assert httpx.post(f"{site.url}/api/jobs/search", json={}, headers=bob).json() == []


def test_declared_users_have_the_groups_of_the_configuration(site: Site, stars: OidcProvider) -> None:
    claims = {"preferred_username": "robert", "wlcg.groups": ["/stars/production"]}
    stars.change({"sub-bob": person(**claims), "sub-ada": ADA})
    found = site.who(site.login("astro", "sub-bob"))
    assert (found["preferred_username"], found["dirac_group"]) == ("bob", "astro_user")
    site.configure(astro=astro(site, stars, admits="declared"))
    site.login("astro", "sub-bob")
    flow = site.device("vo:astro")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there("sub-ada")
        assert browser.status == 403


def test_a_login_ends_with_the_account_at_the_provider(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    first, second = site.login("astro", "sub-ada"), site.login("astro", "sub-ada")
    stars.change({"sub-ada": ADA | {"active": False}})
    refused = site.refresh(second)
    assert refused.json()["error"] == "invalid_grant"
    assert "identity provider" in refused.json()["error_description"]
    stars.change({"sub-ada": ADA})
    assert site.refresh(first).json()["error"] == "invalid_grant", "all sessions have ended, not one"
    site.login("astro", "sub-ada")


def test_a_provider_that_is_away_costs_nobody_a_session(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    tokens = site.login("astro", "sub-ada")
    stars.stop()
    answer = site.refresh(tokens)
    assert answer.status_code == 200, answer.text
    site.configure(astro=astro(site, stars, offline_hours=0))
    refused = site.refresh(answer.json())
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")


def test_new_keys_of_a_provider_are_believed_without_a_restart(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    site.login("astro", "sub-ada")
    stars.restart()  # which makes new ones
    site.login("astro", "sub-ada")


def test_what_is_to_be_accepted_is_asked_for_once_a_version(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    use = {"version": "1", "text": "No mining.\n<b>Really</b> none."}
    site.configure(astro=astro(site, stars) | {"acceptable_use": use})
    flow = site.device("vo:astro")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there("sub-ada")
        assert "&lt;b&gt;Really" in browser.text
        browser.submit(decision="allow")
        assert (browser.status, "has to be accepted" in browser.text) == (400, True)
        assert site.redeem(flow).json()["error"] == "authorization_pending"
        browser.submit("accept", decision="allow")
        assert "You are logged in" in browser.text
    redeemed(site, flow)
    site.login("astro", "sub-ada")  # is not asked again
    site.configure(astro=astro(site, stars) | {"acceptable_use": use | {"version": "2"}})
    with Browser(CALLBACK) as browser:
        site.authorize(browser, "vo:astro").submit(decision="allow").log_in_there("sub-ada")
        browser.submit(decision="allow", accept="1")
        assert "has to be accepted" in browser.text, "that was the old one"
        browser.submit("accept", decision="allow")
        assert site.exchange(browser.query["code"]).status_code == 200


async def test_the_doctor_asks_the_providers(site: Site, stars: OidcProvider) -> None:
    async def outside() -> Finding:
        found = await examine(Patient(site.directory / "dirac.toml", site.settings), people.checks(None))
        return next(one for one in found if one.check == "identity.outside")

    well = await outside()
    assert (well.ok, stars.url in well.detail) == (True, True), well
    site.configure(astro=astro(site, stars, issuer=f"{stars.url}/"))
    wrong = await outside()
    assert (wrong.ok, "letter by letter" in wrong.detail) == (False, True), wrong
    site.configure(astro=astro(site, stars, client_secret_file="/nowhere"))
    lost = await outside()
    assert (lost.ok, "client_secret_file: /nowhere cannot be read" in lost.detail) == (False, True), lost
    stars.stop()
    site.configure(astro=astro(site, stars))
    away = await outside()
    assert (away.ok, "astro: " in away.detail) == (False, True), away


def test_a_wrong_secret_is_the_operators_business(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    wrong = site.secret("wrong", "not the secret")
    site.configure(astro=astro(site, stars, client_secret_file=wrong))
    flow = site.device("vo:astro")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there("sub-ada")
        assert (browser.status, "does not know this installation" in browser.text) == (503, True)
    Path(wrong).write_text(stars.password)
    site.login("astro", "sub-ada")


def test_a_secret_may_be_in_the_environment(
    site: Site, stars: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    stars.change({"sub-ada": ADA})
    monkeypatch.setenv("SECRET_OF_STARS", stars.password)
    vo = astro(site, stars, client_secret_variable="SECRET_OF_STARS")
    del vo["identity_provider"]["client_secret_file"]
    site.configure(astro=vo)
    assert site.refresh(site.login("astro", "sub-ada")).status_code == 200


def test_a_client_without_a_secret_and_groups_in_the_depth_of_a_claim(site: Site) -> None:
    with OidcProvider(site.redirect_uri, public=True) as keys:
        keys.change({"sub-kim": person(realm_access={"roles": ["player", "other"]})})
        provider = {"issuer": keys.url, "client_id": CLIENT_ID, "group_claims": ["realm_access.roles"]}
        site.configure(
            music={
                "default_group": "music_user",
                "groups": {"music_user": {}},
                "identity_provider": provider | {"groups": {"player": ["music_user"]}},
            }
        )
        tokens = site.login("music", "sub-kim")
        assert site.who(tokens)["dirac_group"] == "music_user"
        answer = site.refresh(tokens)
        assert answer.status_code == 200, answer.text
        keys.change({"sub-kim": person(realm_access={"roles": ["other"]})})
        assert site.refresh(answer.json()).json()["error"] == "invalid_grant"


def test_what_a_provider_says_of_people_may_be_signed(site: Site) -> None:
    with OidcProvider(site.redirect_uri, signed=True) as signing:
        signing.change({"sub-ada": ADA})
        site.configure(astro=astro(site, signing))
        tokens = site.login("astro", "sub-ada")
        assert site.who(tokens)["preferred_username"] == "ada"
        signing.change({"sub-ada": person(eduperson_entitlement=[])})
        assert site.refresh(tokens).status_code == 400, "the claims of the signed answer count"


def test_a_provider_that_does_not_know_its_newest_token_ends_no_session(
    site: Site, stars: OidcProvider
) -> None:
    """Of several servers of a provider one may be behind: that is no word about the person."""
    stars.change({"sub-ada": ADA})
    site.configure(astro=astro(site, stars, offline_hours=0))
    tokens = site.login("astro", "sub-ada")
    stars.change({"sub-ada": ADA | {"unknown_at": "userinfo"}})
    refused = site.refresh(tokens)
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable"), refused.text
    stars.change({"sub-ada": ADA})
    assert site.refresh(tokens).status_code == 200


async def test_the_doctor_says_what_answers_that_is_no_provider(site: Site, stars: OidcProvider) -> None:
    site.configure(astro=astro(site, stars, issuer=f"{stars.url}/elsewhere"))
    found = await examine(Patient(site.directory / "dirac.toml", site.settings), people.checks(None))
    said = next(one for one in found if one.check == "identity.outside")
    assert (said.ok, "openid-configuration answered: " in said.detail) == (False, True), said
    assert "DIRAC server" not in said.detail


def test_somebody_elses_browser_cannot_be_made_to_confirm(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    flow = site.device("vo:astro")
    with Browser(site.redirect_uri) as thief, Browser() as victim:
        thief.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there("sub-ada")
        answer = thief.address
        assert answer.startswith(site.redirect_uri)
        victim.open(answer)
        assert (victim.status, "another browser" in victim.text) == (400, True)
    assert site.redeem(flow).json()["error"] == "authorization_pending"


@pytest.mark.parametrize("waits", ["device", "program"])
def test_a_login_that_nobody_wanted_is_refused(site: Site, stars: OidcProvider, waits: str) -> None:
    stars.change({"sub-ada": ADA})
    flow = site.device("vo:astro")
    with Browser(CALLBACK) as browser:
        if waits == "device":
            browser.open(flow["verification_uri_complete"])
        else:
            site.authorize(browser, "vo:astro")
        browser.submit(decision="allow").log_in_there("sub-ada").submit(decision="deny")
        if waits == "device":
            assert "refused" in browser.text
            assert site.redeem(flow).json()["error"] == "access_denied"
        else:
            assert browser.query["error"] == "access_denied"


def test_an_answer_is_good_once_and_a_forged_one_never(site: Site, stars: OidcProvider) -> None:
    stars.change({"sub-ada": ADA})
    with Browser(site.redirect_uri) as browser:
        flow = site.device("vo:astro")
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there("sub-ada")
        answer, query = browser.address, browser.query
        cookies = {"dirac_login": browser.cookie("dirac_login")}
        assert query["iss"] == stars.url
        elsewhere = httpx.get(answer.replace(query["state"], "A" * 43), cookies=cookies)
        assert elsewhere.status_code == 404
        mixed = httpx.get(site.redirect_uri, params=query | {"iss": "https://other.test"}, cookies=cookies)
        assert mixed.status_code == 401, "a provider answers for itself only"
        assert httpx.get(answer, cookies=cookies).status_code == 404, "and a state is good once"
