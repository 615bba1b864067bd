"""Following lists of users and groups, those of a real server: it chooses the identifiers of users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dirac.server.composition import build
from dirac.systems.identity.logic.people import People
from tests.integration.identity.conftest import ADA, Site, astro, person
from tests.services.browser import Browser
from tests.services.oidc import OidcProvider
from tests.services.scim import ScimServer


async def _follow(site: Site) -> int:
    installation = build(site.settings)
    try:
        people: People = installation.provide(People)
        return await people.follow()
    finally:
        await installation.close()


def _turned_away(site: Site, subject: str) -> str:
    """Return what the page says to somebody who may not log in."""
    flow = site.device("vo:astro")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there(subject)
        assert browser.status >= 400
        return browser.text


def _elsewhere(site: Site, listing: ScimServer, **more: Any) -> dict[str, Any]:
    """Return the options of a list that another server has, with a token of its own."""
    token = {"file": site.secret("list", listing.password)}
    return {"scim_url": listing.url, "scim_token": token} | more


@pytest.mark.parametrize("whose", ["the provider's", "another server's"])
async def test_who_is_gone_from_the_list_of_users_is_suspended(
    site: Site, stars: OidcProvider, listing: ScimServer, whose: str
) -> None:
    if whose == "another server's":
        site.configure(astro=astro(site, stars, **_elsewhere(site, listing)))
    listing.clear()
    for number in range(101):
        listing.add(f"number-{number}")
    ada, bob = listing.add("ada"), listing.add("bob")  # they are on the second page
    stars.change({ada: ADA, bob: ADA})
    await _follow(site)  # what other tests left
    sessions = [site.login("astro", one) for one in (ada, bob)]
    assert await _follow(site) == 0
    listing.activate(ada, active=False)
    listing.remove("Users", bob)
    assert await _follow(site) == 2
    assert await _follow(site) == 0
    assert [site.refresh(tokens).status_code for tokens in sessions] == [400, 400]
    assert "suspended" in _turned_away(site, ada)
    assert "suspended" in _turned_away(site, bob)
    listing.activate(ada, active=True)
    assert await _follow(site) == 1
    site.login("astro", ada)


async def test_a_list_that_cannot_be_read_suspends_nobody(
    site: Site, stars: OidcProvider, listing: ScimServer
) -> None:
    listing.clear()
    await _follow(site)  # what other tests left
    stars.change({"sub-cat": ADA})
    tokens = site.login("astro", "sub-cat")
    site.configure(astro=astro(site, stars, scim_scopes=["openid"]))
    assert await _follow(site) == 0
    wrong = {"file": site.secret("wrong", "not the token")}
    site.configure(astro=astro(site, stars, **_elsewhere(site, listing, scim_token=wrong)))
    assert await _follow(site) == 0
    assert site.refresh(tokens).status_code == 200
    Path(wrong["file"]).write_text(listing.password)
    assert await _follow(site) == 1, "with the right one it can be read, and there is no such user"


@pytest.mark.parametrize("whose", ["the provider's", "another server's"])
async def test_groups_may_be_those_of_the_list(
    site: Site, stars: OidcProvider, listing: ScimServer, whose: str
) -> None:
    listing.clear()
    cat, dan = listing.add("cat"), listing.add("dan")
    observers, managers = listing.add_group("observers", cat), listing.add_group("managers", cat)
    options = {"scim_groups": True, "groups": {"observers": ["astro_user"], managers: ["astro_admin"]}}
    if whose == "another server's":
        options |= _elsewhere(site, listing)
    site.configure(astro=astro(site, stars, **options))
    stars.change({cat: person(preferred_username="cat"), dan: person(), "sub-eve": person()})
    user = site.login("astro", cat)
    assert site.who(user)["dirac_group"] == "astro_user"
    flow = site.device("vo:astro group:astro_admin")
    with Browser() as browser:
        browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there(cat)
        browser.submit(decision="allow")
    admin = site.redeem(flow).json()
    assert site.who(admin)["dirac_group"] == "astro_admin", "named by its identifier, which is its own"
    assert "not a member" in _turned_away(site, dan), "in no group"
    assert "no such person" in _turned_away(site, "sub-eve")
    listing.remove("Groups", managers)
    assert "astro_admin" in site.refresh(admin).json()["error_description"]
    answer = site.refresh(user)
    assert answer.status_code == 200, answer.text
    listing.activate(cat, active=False)
    assert "inactive" in site.refresh(answer.json()).json()["error_description"], (
        "before the list is followed"
    )
    listing.activate(cat, active=True)
    listing.remove("Groups", observers)
    assert "not a member" in _turned_away(site, cat)


async def test_a_token_that_the_provider_has_forgotten_is_replaced(
    site: Site, stars: OidcProvider, listing: ScimServer
) -> None:
    listing.clear()
    cat = listing.add("cat")
    listing.add_group("observers", cat)
    site.configure(astro=astro(site, stars, scim_groups=True, groups={"observers": ["astro_user"]}))
    stars.change({cat: person()})
    site.login("astro", cat)
    stars.restart()
    site.login("astro", cat)


async def test_groups_of_a_list_that_is_away_are_those_of_the_last_time(
    site: Site, stars: OidcProvider
) -> None:
    with ScimServer() as other:
        cat = other.add("cat")
        other.add_group("observers", cat)
        options = {"scim_groups": True, "groups": {"observers": ["astro_user"]}}
        site.configure(astro=astro(site, stars, **_elsewhere(site, other, **options)))
        stars.change({cat: person()})
        tokens = site.login("astro", cat)
    answer = site.refresh(tokens)
    assert answer.status_code == 200, answer.text
    assert "observers" not in _turned_away(site, cat), "nobody new is let in on trust"
